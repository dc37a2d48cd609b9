//! Groups, and the interfaces of the host, as clients see them.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::field_errors::{FieldError, FieldErrors};
use super::fields::{decimal, parse_group};
use super::lists::{CURSOR_HINT, default_limit, list_limit};
use super::notation::Notation;
use crate::control::{GroupQuery, GroupView};
use crate::model::{self, Id, InterfaceTable};

/// Parameters of the list of groups.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct GroupParams {
    /// The `next_cursor` of the previous page: show the entries after it.
    #[param(nullable = false, min_length = 1)]
    after: Option<String>,
    /// The most entries in a page.
    #[serde(default = "default_limit", deserialize_with = "decimal")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: u64,
    /// Show only this group.
    #[param(nullable = false, min_length = 1)]
    group: Option<String>,
}

/// A group with its memberships and responders.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "group": "239.1.2.3:10000", "memberships": ["monitor"], "responders": ["lamp"], "interfaces": ["lo"],
    "datagrams": 4, "bytes": 76, "dropped_buffers": 0
})))]
pub struct Group {
    /// The group, as `ADDRESS:PORT` or `[ADDRESS]:PORT`.
    pub group: String,
    /// Ids of the memberships of the group.
    memberships: Vec<String>,
    /// Ids of the responders of the group.
    responders: Vec<String>,
    /// Interfaces on which at least one of them is joined.
    interfaces: Vec<String>,
    /// Datagrams appended to the logs of all of them.
    datagrams: u64,
    /// Payload bytes of these datagrams.
    bytes: u64,
    /// Buffers that the kernel dropped before the service could read them.
    dropped_buffers: u64,
}

/// All interfaces of the host.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NetworkInterfaceList)]
pub struct Interfaces {
    /// The interfaces.
    pub items: Vec<Interface>,
}

/// A network interface of the service's host.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NetworkInterface, examples(json!({
    "name": "lo", "index": 1, "mtu": 65536, "up": true, "running": true, "loopback": true,
    "addresses": ["127.0.0.1/8", "::1/128"], "multicast": true
})))]
#[expect(clippy::struct_excessive_bools, reason = "the kernel's flags, each on its own")]
pub struct Interface {
    /// The name of the interface.
    name: String,
    /// The index of the interface; an interface that is made again gets another one.
    index: u32,
    /// The largest IP packet that the interface sends, in bytes.
    mtu: u32,
    /// Whether the interface is up.
    up: bool,
    /// Whether the interface has a carrier.
    running: bool,
    /// Whether what is sent on the interface stays on the host.
    loopback: bool,
    /// Addresses with prefix lengths.
    addresses: Vec<String>,
    /// Whether memberships without `interfaces` join on this interface.
    multicast: bool,
    /// Why they do not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    detail: Option<String>,
    /// Use `detail`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, deprecated)]
    reason: Option<String>,
}

impl GroupParams {
    /// `errors`: those that were found before.
    pub fn query(&self, mut errors: FieldErrors) -> Result<GroupQuery, Vec<FieldError>> {
        let after = self.after.as_deref().map(|text| {
            let cursor = model::Group::parse(text).map(|(group, _)| group).map_err(|_| CURSOR_HINT);
            errors.read("/after", text, cursor)
        });
        let group = self.group.as_deref().map(|text| parse_group(&mut errors, "/group", text));
        let limit = list_limit(&mut errors, self.limit);
        let query = || {
            let group = group.transpose()?.map(|(group, _)| group);
            Ok(GroupQuery { after: after.transpose()?, group, limit })
        };
        errors.finish(query())
    }
}

/// Reads a group in a path.
pub fn path_group(text: &str) -> Result<model::Group, Vec<FieldError>> {
    let mut errors = FieldErrors::in_structure(Vec::new(), Notation::Query);
    let group = parse_group(&mut errors, "/group", text).map(|(group, _)| group);
    errors.finish(group)
}

impl Group {
    pub fn new(group: model::Group, view: GroupView) -> Self {
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

impl Interface {
    pub fn new(interface: &model::Interface, table: &InterfaceTable) -> Self {
        let usable = table.usable(interface);
        let detail = usable.as_ref().err().map(ToString::to_string);
        Self {
            name: interface.name.to_string(),
            index: interface.index,
            mtu: interface.mtu,
            up: interface.up,
            running: interface.running,
            loopback: interface.loopback,
            addresses: interface.addresses.iter().map(|(ip, prefix)| format!("{ip}/{prefix}")).collect(),
            multicast: usable.is_ok(),
            reason: detail.clone(),
            detail,
        }
    }
}
