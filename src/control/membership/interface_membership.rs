//! A membership on one interface: joined there, or the reason why not.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::sink::InterfaceCounters;
use crate::control::error::ControlError;
use crate::control::views::{InterfaceView, JoinState};
use crate::model::{
    Family, Interface, InterfaceTable, Interfaces, MembershipSpec, NotHearing, PatternError, SourceFilter,
};
use crate::net::{BufferSize, Registration, SocketError};

pub(super) struct InterfaceMembership {
    pub(super) name: Arc<str>,
    pub(super) status: Status,
    /// Shared with the sinks, so that the counts continue when a socket is opened again.
    pub(super) counters: Arc<InterfaceCounters>,
    pub(super) loopback: bool,
    /// Buffers dropped at sockets that are closed now.
    dropped_before: u64,
}

pub(super) enum Status {
    Joined(Joined),
    /// Not joined yet; the service retries.
    Pending(NotJoinedReason),
    /// Was joined, until the interface went away or the kernel forgot the membership.
    Lost(NotJoinedReason),
    /// Closed because the service's own code failed; opened again after a pause.
    Failed(NotJoinedReason),
}

pub(super) struct Joined {
    pub(super) id: SocketId,
    /// The interface as the kernel described it last.
    pub(super) interface: Arc<Interface>,
    pub(super) registration: Registration,
    pub(super) buffer: BufferSize,
    /// Why nothing can arrive, if nothing can.
    pub(super) hearing: Result<(), NotHearing>,
}

/// Identifies a socket among those of all memberships.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::control) struct SocketId(u64);

impl SocketId {
    pub(super) fn fresh() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A joined socket, as the kernel's lists should show it.
pub(in crate::control) struct JoinedSocket<'a> {
    pub(in crate::control) id: SocketId,
    pub(in crate::control) interface_index: u32,
    /// Whether the interface is up, according to the kernel's last announcement.
    pub(in crate::control) is_up: bool,
    pub(in crate::control) group: IpAddr,
    pub(in crate::control) sources: &'a SourceFilter,
}

/// Why a membership is not joined on an interface, or why a responder cannot reply there.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotJoinedReason {
    #[error("there is no such interface: the group is joined once there is one")]
    NotThere,
    #[error("it is being joined")]
    BeingJoined,
    #[error("{0}")]
    NotHearing(NotHearing),
    #[error("the kernel has forgotten that the group was joined on {0}; it is joined again")]
    Forgotten(Arc<str>),
    #[error("{interface} is changing, and is tried again: {error}")]
    InterfaceChanging { interface: Arc<str>, error: SocketError },
    #[error("{0}")]
    Refused(ControlError),
    #[error("{address}, the source address of replies, is not an address of this host")]
    ReplyAddressGone { address: IpAddr },
    #[error("it replies to nothing, because its pattern is refused: {0}")]
    PatternRefused(PatternError),
    #[error(
        "an internal error, which the log describes, closed the socket; it is opened again after a pause"
    )]
    Failed,
}

impl NotJoinedReason {
    pub(super) fn of_replies(error: ControlError) -> Self {
        match error {
            ControlError::AddressNotLocal { address } => Self::ReplyAddressGone { address },
            error => Self::Refused(error),
        }
    }

    /// Whether a retry cannot help, but only a change of the request.
    pub(super) fn is_permanent(&self) -> bool {
        matches!(self, Self::PatternRefused(_))
    }
}

impl InterfaceMembership {
    pub(super) fn new(
        name: Arc<str>,
        status: Status,
        counters: Arc<InterfaceCounters>,
        loopback: bool,
    ) -> Self {
        Self { name, status, counters, loopback, dropped_before: 0 }
    }

    pub(super) fn joined(&self) -> Option<&Joined> {
        match &self.status {
            Status::Joined(joined) => Some(joined),
            _ => None,
        }
    }

    pub(super) fn is_joined(&self) -> bool {
        self.joined().is_some()
    }

    /// Whether a join has failed although the interface table does not show why.
    pub(super) fn needs_retry(&self) -> bool {
        match &self.status {
            Status::Joined(_)
            | Status::Pending(NotJoinedReason::NotThere | NotJoinedReason::NotHearing(_))
            | Status::Lost(NotJoinedReason::NotThere | NotJoinedReason::NotHearing(_)) => false,
            Status::Pending(_) | Status::Lost(_) | Status::Failed(_) => true,
        }
    }

    pub(super) fn hears(&self) -> bool {
        self.joined().is_some_and(|joined| joined.hearing.is_ok())
    }

    /// `replies`: why a responder cannot reply, if it cannot.
    pub(super) fn state(&self, replies: Result<(), &NotJoinedReason>) -> JoinState {
        match &self.status {
            Status::Joined(_) => match replies {
                Ok(()) => JoinState::Joined,
                Err(reason) if reason.is_permanent() => JoinState::Failed,
                Err(_) => JoinState::Pending,
            },
            Status::Pending(_) => JoinState::Pending,
            Status::Lost(_) => JoinState::Lost,
            Status::Failed(_) => JoinState::Failed,
        }
    }

    /// Why the membership is not joined or does not hear here; none if it is joined and hears.
    pub(super) fn reason(&self, replies: Result<(), &NotJoinedReason>) -> Option<String> {
        match &self.status {
            Status::Joined(Joined { hearing: Err(reason), .. }) => Some(reason.to_string()),
            Status::Joined(_) => replies.err().map(ToString::to_string),
            Status::Pending(reason) | Status::Lost(reason) | Status::Failed(reason) => {
                Some(reason.to_string())
            }
        }
    }

    pub(super) fn view(&self, replies: Result<(), &NotJoinedReason>) -> InterfaceView {
        InterfaceView {
            name: self.name.clone(),
            state: self.state(replies),
            hears: self.hears(),
            reason: self.reason(replies),
            received: self.counters.read(),
            buffer: self.joined().map(|joined| joined.buffer),
            dropped_buffers: self.dropped_buffers(),
        }
    }

    pub(super) fn dropped_buffers(&self) -> u64 {
        self.dropped_before + self.joined().map_or(0, Joined::dropped_buffers)
    }

    pub(super) fn into_socket(self) -> Option<Registration> {
        match self.status {
            Status::Joined(joined) => Some(joined.registration),
            _ => None,
        }
    }

    /// Updates the state from the interface as it is now. If the membership is lost, returns the socket, to be closed.
    /// `forgotten`: the kernel's list of groups lacks the membership.
    pub(super) fn follow(
        &mut self,
        interface: Option<&Arc<Interface>>,
        table: &InterfaceTable,
        family: Family,
        forgotten: bool,
    ) -> Option<Registration> {
        let hearing = table.hearing(interface.map(AsRef::as_ref), family);
        let Some(interface) = interface else {
            if let Status::Pending(reason) = &mut self.status {
                *reason = NotJoinedReason::NotThere;
                return None;
            }
            return self.set(Status::Lost(NotJoinedReason::NotHearing(NotHearing::Gone)));
        };
        let has_list = interface.takes_part_in(family);
        match &mut self.status {
            Status::Joined(joined) if has_list && !forgotten && joined.is_on(interface, family) => {
                joined.interface = interface.clone();
                joined.hearing = hearing;
                None
            }
            Status::Joined(_) => {
                let reason = match hearing {
                    Err(reason) if !has_list => NotJoinedReason::NotHearing(reason),
                    _ => NotJoinedReason::Forgotten(interface.name.clone()),
                };
                self.set(Status::Lost(reason))
            }
            Status::Pending(current) | Status::Lost(current) => {
                if let (false, Err(reason)) = (has_list, hearing) {
                    *current = NotJoinedReason::NotHearing(reason);
                }
                None
            }
            Status::Failed(_) => None,
        }
    }

    /// Adopts the result of opening a socket. Returns the socket that is replaced, or that is not needed.
    pub(super) fn adopt(&mut self, opened: Result<Joined, NotJoinedReason>) -> Option<Registration> {
        let status = match (opened, &self.status) {
            (Ok(joined), Status::Joined(_)) => return Some(joined.registration),
            (Err(_), Status::Joined(_)) => return None,
            (Ok(joined), _) => {
                self.loopback = joined.interface.loopback;
                Status::Joined(joined)
            }
            (Err(reason), Status::Pending(_)) => Status::Pending(reason),
            (Err(reason), Status::Lost(_)) => Status::Lost(reason),
            (Err(reason), Status::Failed(_)) => Status::Failed(reason),
        };
        self.set(status)
    }

    /// Returns the previous socket, to be closed where no lock is held.
    pub(super) fn set(&mut self, status: Status) -> Option<Registration> {
        match std::mem::replace(&mut self.status, status) {
            Status::Joined(joined) => {
                self.dropped_before += joined.dropped_buffers();
                Some(joined.registration)
            }
            _ => None,
        }
    }
}

impl Joined {
    /// Whether the socket is joined on this very interface. A recreated interface has another index, and one that lost
    /// its list of groups since has a new list.
    pub(super) fn is_on(&self, interface: &Interface, family: Family) -> bool {
        self.interface.index == interface.index
            && self.interface.name == interface.name
            && self.interface.list_generation(family) == interface.list_generation(family)
    }

    fn dropped_buffers(&self) -> u64 {
        self.registration.socket().dropped_buffers().into()
    }
}

/// The interfaces on which a membership should be joined now, with each one's entry in the table.
pub(super) fn target_interfaces(
    interfaces: &Interfaces,
    family: Family,
    table: &InterfaceTable,
    current: &[InterfaceMembership],
) -> Vec<(Arc<str>, Option<Arc<Interface>>)> {
    match interfaces {
        Interfaces::Named(names) => {
            names.iter().map(|name| (name.clone(), table.by_name(name).cloned())).collect()
        }
        Interfaces::Default => table
            .interfaces
            .iter()
            .filter(|interface| {
                table.is_usable_for(interface, family) || stays_joined(interface, family, table, current)
            })
            .map(|interface| (interface.name.clone(), Some(interface.clone())))
            .collect(),
    }
}

/// The kernel keeps memberships while an interface is down, or IPv6 is disabled there; so does the service.
fn stays_joined(
    interface: &Interface,
    family: Family,
    table: &InterfaceTable,
    current: &[InterfaceMembership],
) -> bool {
    let hearing = table.hearing(Some(interface), family);
    let is_off = matches!(hearing, Err(NotHearing::Down(_) | NotHearing::Ipv6Disabled { .. }));
    let is_member = || {
        current.iter().filter_map(InterfaceMembership::joined).any(|joined| joined.is_on(interface, family))
    };
    is_off && interface.takes_part_in(family) && table.hearing_master(interface).is_none() && is_member()
}

/// The interfaces of the specification that exist.
pub(super) fn interfaces_there(spec: &MembershipSpec, table: &InterfaceTable) -> Vec<Arc<Interface>> {
    let targets = target_interfaces(&spec.interfaces, spec.group.family(), table, &[]);
    targets.into_iter().filter_map(|(_, interface)| interface).collect()
}
