//! Derived views: groups, and the interfaces of the host.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::Query;
use super::lists::{List, default_limit, list_limit};
use super::problem::{Problem, ProblemKind};
use crate::control::{Control, GroupView};
use crate::model::{self, Id, InterfaceTable};

type GroupList = List<Group>;

pub(super) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::new().routes(routes!(groups)).routes(routes!(interfaces))
}

/// Which part of the groups to show.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct GroupParams {
    /// The list's `next_cursor`: show what comes after it.
    #[param(nullable = false)]
    after: Option<String>,
    /// How many at most.
    #[serde(default = "default_limit")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: u64,
    /// Only this group.
    #[param(nullable = false, example = "239.1.2.3:10000")]
    group: Option<String>,
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
    params(GroupParams),
    responses(
        (status = 200, description = "A part of the groups that something here has joined", body = GroupList),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn groups(
    State(control): State<Control>,
    Query(params): Query<GroupParams>,
) -> Result<Json<GroupList>, Problem> {
    let read = |pointer, text: Option<&String>| {
        let parsed = text.map(|text| model::Group::parse(text)).transpose();
        let parsed = parsed
            .map_err(|error| Problem::new(ProblemKind::InvalidParameter, error.to_string()).at(pointer));
        parsed.map(|parsed| parsed.map(|(group, _)| group))
    };
    let (after, only) = (read("/after", params.after.as_ref())?, read("/group", params.group.as_ref())?);
    let limit = list_limit(params.limit)?;
    let mut matching = control.groups().into_iter().filter(|(group, _)| {
        after.is_none_or(|after| *group > after) && only.is_none_or(|only| *group == only)
    });
    let items: Vec<_> = matching.by_ref().take(limit).map(|(group, view)| Group::new(group, view)).collect();
    let last = items.last().map(|last| last.group.clone());
    Ok(Json(List::new(items, last, matching.next().is_some())))
}

impl Group {
    fn new(group: model::Group, view: GroupView) -> Self {
        let texts = |ids: Vec<Id>| ids.iter().map(ToString::to_string).collect();
        Self {
            group: group.to_string(),
            memberships: texts(view.memberships),
            responders: texts(view.responders),
            interfaces: view.interfaces.iter().map(ToString::to_string).collect(),
            datagrams: view.datagrams,
            bytes: view.bytes,
            dropped_buffers: view.dropped_buffers,
        }
    }
}

/// The host's interfaces, and whether multicast works there
#[utoipa::path(get, path = "/v1/interfaces", tag = "overview", operation_id = "list_interfaces",
    responses(
        (status = 200, description = "All interfaces", body = Interfaces),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn interfaces(State(control): State<Control>) -> Result<Json<Interfaces>, Problem> {
    let table = control.interfaces().await;
    let table = table.map_err(|error| Problem::new(ProblemKind::NetworkFailure, error.to_string()))?;
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
