//! Derived views: groups, and the interfaces of the host.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::problem::{Kind, Problem};
use crate::control::Control;
use crate::model::InterfaceTable;

pub(super) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::new().routes(routes!(groups)).routes(routes!(interfaces))
}

#[derive(Debug, Serialize, ToSchema)]
struct Groups {
    items: Vec<Group>,
}

/// A group, as the memberships and responders here make it up.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "group": "239.1.2.3:10000", "memberships": ["monitor"], "responders": ["lamp"], "interfaces": ["lo"],
    "datagrams": 4, "bytes": 76, "dropped_buffers": 0
})))]
#[expect(clippy::struct_field_names, reason = "the field's name is the contract's")]
struct Group {
    group: String,
    /// Ids of memberships.
    memberships: Vec<String>,
    /// Ids of responders.
    responders: Vec<String>,
    /// Interfaces on which at least one of them is joined.
    interfaces: Vec<String>,
    /// Datagrams in all their logs.
    datagrams: u64,
    /// Their payload bytes.
    bytes: u64,
    /// Buffers that the kernel dropped before they could be read.
    dropped_buffers: u64,
}

#[derive(Debug, Serialize, ToSchema)]
struct Interfaces {
    items: Vec<Interface>,
}

/// A network interface of the service's host.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "name": "lo", "index": 1, "mtu": 65536, "up": true, "running": true, "loopback": true,
    "addresses": ["127.0.0.1/8", "::1/128"], "multicast": true
})))]
#[expect(clippy::struct_excessive_bools, reason = "the kernel's flags, each on its own")]
struct Interface {
    name: String,
    index: u32,
    mtu: u32,
    up: bool,
    /// It has a carrier.
    running: bool,
    loopback: bool,
    /// With prefix lengths.
    addresses: Vec<String>,
    /// Whether a membership without `interfaces` joins here.
    multicast: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<String>,
}

/// Who is a member of what
#[utoipa::path(get, path = "/v1/groups", tag = "overview", operation_id = "list_groups",
    responses(
        (status = 200, description = "All groups that something here has joined", body = Groups),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn groups(State(control): State<Control>) -> Json<Groups> {
    let items = control.groups().into_iter().map(|(group, view)| Group {
        group: group.to_string(),
        memberships: view.memberships.iter().map(ToString::to_string).collect(),
        responders: view.responders.iter().map(ToString::to_string).collect(),
        interfaces: view.interfaces.iter().map(ToString::to_string).collect(),
        datagrams: view.datagrams,
        bytes: view.bytes,
        dropped_buffers: view.dropped_buffers,
    });
    Json(Groups { items: items.collect() })
}

/// The host's interfaces, and whether multicast works there
#[utoipa::path(get, path = "/v1/interfaces", tag = "overview", operation_id = "list_interfaces",
    responses(
        (status = 200, description = "All interfaces", body = Interfaces),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn interfaces(State(control): State<Control>) -> Result<Json<Interfaces>, Problem> {
    let table = control.interfaces().await;
    let table = table.map_err(|error| Problem::new(Kind::NetworkFailure, error.to_string()))?;
    Ok(Json(Interfaces {
        items: table.interfaces.iter().map(|interface| Interface::new(interface, &table)).collect(),
    }))
}

impl Interface {
    fn new(interface: &crate::model::Interface, table: &InterfaceTable) -> Self {
        let usable = table.usable(interface);
        Self {
            name: interface.name.to_string(),
            index: interface.index,
            mtu: interface.mtu,
            up: interface.up,
            running: interface.running,
            loopback: interface.loopback,
            addresses: interface.addresses.iter().map(|(ip, prefix)| format!("{ip}/{prefix}")).collect(),
            multicast: usable.is_ok(),
            reason: usable.err().map(|reason| reason.to_string()),
        }
    }
}
