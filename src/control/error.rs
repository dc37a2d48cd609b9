//! Why operations are refused.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::resource_kind::ResourceKind;
use crate::model::{Family, Group, Id, InterfaceRef, NotHearing, Revision};
use crate::net::{SocketError, SocketErrorKind, host_limits};
use crate::store::DiskError;

/// Why the store cannot confirm that something is on disk.
#[derive(Debug, thiserror::Error)]
pub enum DurabilityError {
    #[error("the service keeps nothing on disk")]
    NoStore,
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    TimedOut(Box<ControlError>),
}

/// Why an operation was refused. It has changed nothing, except after [`TimedOut`](Self::TimedOut).
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("there is no {kind} `{id}`")]
    NotFound { kind: ResourceKind, id: Id, elsewhere: Option<ResourceKind> },
    #[error("the {kind} `{id}` exists already")]
    Exists { kind: ResourceKind, id: Id },
    #[error("{}the {kind} `{id}` {}", condition(*.revision), at_revision(*.revision))]
    OtherRevision { kind: ResourceKind, id: Id, revision: Option<Revision> },
    #[error("the {kind} `{id}` has no lease")]
    NoLease { kind: ResourceKind, id: Id },
    #[error("there are {max} {kind}s{}, the most that the service takes", collecting(*.kind))]
    TooMany { kind: ResourceKind, max: usize },
    #[error(
        "memberships and responders take at most {max} bytes besides their logs, and this {kind} would exceed that"
    )]
    TooLarge { kind: ResourceKind, max: usize },
    #[error("a message tells at most {max} responders apart, and {expect} are expected")]
    ExpectsTooMany { expect: u64, max: usize },
    #[error("message `{id}` was sent with another body: use a new id for another message")]
    OtherBody { id: Id },
    #[error("{}", named(.unknown))]
    UnknownInterfaces { unknown: Vec<UnknownInterface>, purpose: Purpose },
    #[error("the group names the interface `{zone}`, and the request names another")]
    ZoneDiffers { zone: Arc<str> },
    #[error("{interface} is down: `ip link set {interface} up`, or name another interface")]
    InterfaceDown { interface: Arc<str> },
    /// The interface has no carrier, or no multicast in this address family.
    #[error(transparent)]
    Unusable(NotHearing),
    #[error("{interface} is gone")]
    InterfaceGone { interface: Arc<str> },
    #[error("the send buffer of {interface} was full for {} s", .after.as_secs())]
    NoRoom { interface: Arc<str>, after: Duration },
    #[error(
        "a message on {interface} with hop limit 0 stays on this host, and without loopback no program here receives it"
    )]
    ReachesNobody { interface: Arc<str> },
    #[error(
        "{interface} has no {family} address to send from: give it one{}, or name another interface",
        detection(*.family)
    )]
    NoAddress { interface: Arc<str>, family: Family },
    #[error("no route to {group}{}", while_down(.down))]
    NoRoute {
        group: Group,
        candidates: Vec<Arc<str>>,
        /// Interfaces that are down, which takes their routes away.
        down: Vec<Arc<str>>,
    },
    #[error("the routing table refuses datagrams to {group} ({})", .error.source)]
    RouteRefused { group: Group, error: SocketError },
    #[error("{interface} has no route to {group}, or a rule forbids it: add a route with `{}`, look at `ip {}rule`, or name another interface", route(.group, .interface), if .group.family() == Family::V6 { "-6 " } else { "" })]
    NoRouteBy { group: Group, interface: Arc<str> },
    #[error("{source_address} is not an address of {}", interfaces_or_host(.interfaces))]
    SourceNotThere { source_address: IpAddr, interfaces: Vec<Arc<str>> },
    #[error("{source_address} is an address of {}", .interfaces.join(" and "))]
    SourceAmbiguous { source_address: IpAddr, interfaces: Vec<Arc<str>> },
    #[error("{address} is not an address of this host")]
    AddressNotLocal { address: IpAddr },
    #[error("replies to {group} must come from an {} address, and {address} is not one", group.family())]
    AddressFamily { group: Group, address: IpAddr },
    #[error(
        "another socket has {address} for itself (of a program, or of a message that still collects or lingers): close that socket, or choose another port"
    )]
    PortInUse { address: SocketAddr, purpose: Purpose },
    #[error("the kernel takes fewer sources than the {count} given: raise {}", sysctl(*.family))]
    TooManySources { family: Family, count: usize },
    #[error(
        "port {port} needs the right to bind ports below {}: run with CAP_NET_BIND_SERVICE or choose a higher port",
        host_limits::first_unprivileged_port()
    )]
    PortDenied { port: u16, purpose: Purpose },
    #[error("the system refused: {0}; check the service's rights, the firewall, and `ip rule`")]
    Denied(#[source] SocketError),
    #[error(
        "out of file descriptors: raise the limit (`ulimit -n`, `LimitNOFILE=`) or delete resources that are not needed"
    )]
    Descriptors(#[source] SocketError),
    #[error("a datagram of {length} bytes does not fit through {interface}: shorten the payload")]
    TooLong { length: usize, interface: Arc<str> },
    #[error(
        "with the MTU of {mtu} of {interface}, a datagram of {length} bytes needs more fragments than the send buffer holds: shorten the payload, or raise the MTU or net.core.wmem_default"
    )]
    TooManyFragments { length: usize, interface: Arc<str>, mtu: u32 },
    #[error("the kernel lets a socket join no group: {}", join_limit(*.family))]
    TooManyGroups { family: Family },
    #[error(
        "the patterns of all responders use the {max} bytes that they may: delete responders, share patterns between them, or raise `--pattern-bytes`"
    )]
    PatternMemory { max: usize },
    #[error("{count} times every {} ms is longer than {} ms, for which a message may be repeated: lower `count` or `interval_ms`, or raise `--longest-repeat-ms`", .interval.as_millis(), .max.as_millis())]
    RepeatTooLong { count: u32, interval: Duration, max: Duration },
    #[error("{0}")]
    Failed(#[source] SocketError),
    #[error("the service is stopping: try again once it is back")]
    Stopping,
    #[error("the request did not finish within {} s", WAIT_LIMIT.as_secs())]
    TimedOut { done: Done },
}

/// An interface that a request names, and that does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownInterface {
    pub reference: InterfaceRef,
    /// Its place in the list; none of the zone of the group.
    pub position: Option<usize>,
}

impl fmt::Display for UnknownInterface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reference {
            InterfaceRef::Name(name) => write!(f, "there is no interface `{name}`"),
            InterfaceRef::Index(index) => write!(f, "there is no interface with index {index}"),
        }
    }
}

/// How long a request waits in all: long enough for a busy disk, and shorter than most clients wait.
pub(super) const WAIT_LIMIT: Duration = Duration::from_secs(10);

/// The state in which a request that ran out of time has left its resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    Nothing,
    /// The resource exists, and may not be on disk yet.
    Created,
    /// The resource is as requested, and may not be on disk yet.
    Changed,
    /// This many copies were sent; the message exists, and may not be on disk yet.
    Sent(u32),
    /// The resource is not in the registry any more; its sockets may not be closed yet, or it may still be on disk.
    DeletionUnderWay,
}

/// Why a socket was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Join,
    Send,
    Reply,
}

/// What a socket was used for when it failed; the error text derives its advice from it.
pub(super) struct SocketUse<'a> {
    pub(super) purpose: Purpose,
    pub(super) group: &'a Group,
    pub(super) interface: &'a Arc<str>,
    /// The local address to bind.
    pub(super) bind: SocketAddr,
    pub(super) sources: usize,
    pub(super) payload: usize,
}

impl ControlError {
    pub(super) fn of(error: SocketError, socket_use: &SocketUse<'_>) -> Self {
        match error.kind() {
            SocketErrorKind::PortInUse => {
                Self::PortInUse { address: socket_use.bind, purpose: socket_use.purpose }
            }
            SocketErrorKind::Denied
                if socket_use.bind.port() != 0
                    && socket_use.bind.port() < host_limits::first_unprivileged_port() =>
            {
                Self::PortDenied { port: socket_use.bind.port(), purpose: socket_use.purpose }
            }
            // The kernel returns "denied" for a broadcast address.
            SocketErrorKind::Denied | SocketErrorKind::AddressNotLocal
                if socket_use.purpose == Purpose::Reply =>
            {
                Self::AddressNotLocal { address: socket_use.bind.ip() }
            }
            SocketErrorKind::Denied => Self::Denied(error),
            SocketErrorKind::Descriptors => Self::Descriptors(error),
            SocketErrorKind::NoRoute => {
                Self::NoRouteBy { group: *socket_use.group, interface: socket_use.interface.clone() }
            }
            SocketErrorKind::TooManySources => {
                Self::TooManySources { family: socket_use.group.family(), count: socket_use.sources }
            }
            SocketErrorKind::TooLong => {
                Self::TooLong { length: socket_use.payload, interface: socket_use.interface.clone() }
            }
            SocketErrorKind::TooManyGroups => Self::TooManyGroups { family: socket_use.group.family() },
            SocketErrorKind::NoAddress => {
                Self::NoAddress { interface: socket_use.interface.clone(), family: socket_use.group.family() }
            }
            SocketErrorKind::AddressNotLocal
            | SocketErrorKind::NoDevice
            | SocketErrorKind::Down
            | SocketErrorKind::Busy
            | SocketErrorKind::NoBuffers
            | SocketErrorKind::TimedOut
            | SocketErrorKind::Refused
            | SocketErrorKind::Other => Self::Failed(error),
        }
    }

    /// Whether an interface is the cause; the kernel may have announced a change of that interface since.
    pub(super) fn is_of_interface(&self) -> bool {
        matches!(
            self,
            Self::UnknownInterfaces { .. }
                | Self::InterfaceGone { .. }
                | Self::InterfaceDown { .. }
                | Self::Unusable(_)
                | Self::NoAddress { .. }
                | Self::NoRoute { .. }
                | Self::NoRouteBy { .. }
                | Self::SourceNotThere { .. }
        )
    }
}

fn named(unknown: &[UnknownInterface]) -> String {
    unknown.iter().map(UnknownInterface::to_string).collect::<Vec<_>>().join("; ")
}

/// Of what does not exist, only `If-Match` does not hold.
fn condition(revision: Option<Revision>) -> &'static str {
    if revision.is_none() { "`if-match` is given, and " } else { "" }
}

fn at_revision(revision: Option<Revision>) -> String {
    match revision {
        Some(revision) => {
            format!("is at revision {}, which the request does not allow", revision.number())
        }
        None => "does not exist".to_owned(),
    }
}

fn collecting(kind: ResourceKind) -> &'static str {
    if kind == ResourceKind::Message { " that are sent or collect" } else { "" }
}

fn while_down(interfaces: &[Arc<str>]) -> String {
    match interfaces {
        [] => String::new(),
        [one] => format!(" while {one} is down"),
        several => format!(" while {} are down", several.join(" and ")),
    }
}

fn interfaces_or_host(interfaces: &[Arc<str>]) -> String {
    if interfaces.is_empty() { "this host".to_owned() } else { interfaces.join(" or ") }
}

/// What else gives an interface an address to send from: IPv6 tests a new one first (RFC 4862 section 5.4).
fn detection(family: Family) -> &'static str {
    match family {
        Family::V4 => "",
        Family::V6 => ", wait until duplicate address detection is over",
    }
}

/// What keeps a socket from joining its one group.
fn join_limit(family: Family) -> &'static str {
    if family == Family::V4 && host_limits::forbids_ipv4_groups() {
        "net.ipv4.igmp_max_memberships is 0: `sysctl -w net.ipv4.igmp_max_memberships=20` (20 is its default)"
    } else {
        "raise net.core.optmem_max, the memory for the options of a socket"
    }
}

/// The command that adds a route to multicast groups. For IPv6, the kernel adds one on every interface but lo, where
/// only a route of type `local` delivers (measured).
fn route(group: &Group, interface: &str) -> String {
    match (group.family(), interface) {
        (Family::V4, _) => format!("ip route add 224.0.0.0/4 dev {interface}"),
        (Family::V6, "lo") => "ip -6 route add local ff00::/8 dev lo table local".to_owned(),
        (Family::V6, _) => format!("ip -6 route add multicast ff00::/8 dev {interface} table local"),
    }
}

fn sysctl(family: Family) -> &'static str {
    match family {
        Family::V4 => "net.ipv4.igmp_max_msf (10 by default)",
        Family::V6 => "net.ipv6.mld_max_msf (64 by default)",
    }
}
