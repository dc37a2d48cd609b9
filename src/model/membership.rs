//! The specification of a membership or responder.

use serde::{Deserialize, Serialize};

use super::{Group, Interfaces, Labels, Retention, SourceFilter};

/// The specification of a membership; its status is reported per interface.
///
/// A new field also goes into `JoinRequest` and `Control::spec_of`, into `contract/join_bodies.rs` and
/// `contract/memberships.rs`, and into `control/membership/changing.rs` if open sockets can adopt it, or have to be
/// replaced. It needs `#[serde(default)]`, because earlier versions stored specifications without it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembershipSpec {
    pub group: Group,
    pub interfaces: Interfaces,
    /// Accept interfaces that do not exist yet: they are joined when they appear.
    pub allow_missing: bool,
    pub sources: SourceFilter,
    /// Receive each datagram on its own, so that the kernel's drop counter counts datagrams and not
    /// buffers of up to 64 (`UDP_GRO`); costs throughput.
    pub exact_drops: bool,
    pub retention: Retention,
    #[serde(default)]
    pub labels: Labels,
}
