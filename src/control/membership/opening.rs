//! Opening a membership's sockets. If many processes change the network, this takes a while, because the kernel has one
//! lock for all such changes; so the membership's own lock is not held meanwhile.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::interface_membership::{InterfaceMembership, Joined, NotJoinedReason, SocketId, Status};
use super::sink::{InterfaceCounters, MembershipSink};
use crate::control::error::{ControlError, Purpose, SocketUse};
use crate::control::responder::Responder;
use crate::model::{Interface, InterfaceTable, Interfaces, MembershipSpec};
use crate::net::{GroupSocket, ReceiveOptions, Registration, SocketBackend, SocketError, SocketErrorKind};
use crate::store::Log;

/// An interface on which to join.
pub(super) struct JoinTarget {
    pub(super) name: Arc<str>,
    /// None: the interface does not exist.
    pub(super) interface: Option<Arc<Interface>>,
    pub(super) counters: Arc<InterfaceCounters>,
}

/// The specification to open sockets for, and the known interfaces.
#[derive(Clone, Copy)]
pub(super) struct SocketOpener<'a> {
    pub(super) sockets: &'a dyn SocketBackend,
    pub(super) receive_buffer: usize,
    pub(super) spec: &'a MembershipSpec,
    pub(super) table: &'a InterfaceTable,
}

/// Where a membership's sinks deliver their datagrams.
pub(super) struct SinkTarget {
    pub(super) log: Arc<Log>,
    pub(super) responder: Option<Arc<Responder>>,
    pub(super) joined: Arc<AtomicUsize>,
}

/// A socket that has joined, or the reason why there is none. Its datagrams wait in the kernel until the membership is
/// complete and in the registry.
pub(super) struct OpenedSocket {
    target: JoinTarget,
    socket: Result<(Arc<Interface>, GroupSocket), NotJoinedReason>,
}

/// The result of opening, with the socket registered.
pub(super) struct RegisteredInterface {
    pub(super) name: Arc<str>,
    counters: Arc<InterfaceCounters>,
    loopback: bool,
    pub(super) joined: Result<Joined, NotJoinedReason>,
}

impl SocketOpener<'_> {
    /// Joins on these interfaces, for a request. An interface that does not exist, or cannot be joined now, is pending;
    /// any other failure on a named interface refuses the request.
    pub(super) fn open_or_refuse(self, targets: Vec<JoinTarget>) -> Result<Vec<OpenedSocket>, ControlError> {
        let or_refuse = |opened: OpenedSocket| match opened.socket {
            Err(NotJoinedReason::Refused(error)) if self.refuses_request(&error) => Err(error),
            _ => Ok(opened),
        };
        targets.into_iter().map(|target| or_refuse(self.open(target))).collect()
    }

    /// Joins on these interfaces, for a membership that exists already: there is no request to refuse.
    pub(super) fn open_all(self, targets: Vec<JoinTarget>) -> Vec<OpenedSocket> {
        targets.into_iter().map(|target| self.open(target)).collect()
    }

    fn open(self, target: JoinTarget) -> OpenedSocket {
        let socket = match &target.interface {
            None => Err(NotJoinedReason::NotThere),
            Some(interface) => self.open_on(interface).map(|socket| (interface.clone(), socket)),
        };
        OpenedSocket { target, socket }
    }

    fn open_on(self, interface: &Interface) -> Result<GroupSocket, NotJoinedReason> {
        let Self { sockets, receive_buffer, spec, table } = self;
        let family = spec.group.family();
        if let Err(reason) = table.hearing(Some(interface), family)
            && !interface.takes_part_in(family)
        {
            return Err(NotJoinedReason::NotHearing(reason));
        }
        let options = ReceiveOptions { receive_buffer, coalesce: !spec.exact_drops };
        let opened = sockets.open_group_socket(&spec.group, interface, &spec.sources, options);
        opened.map_err(|error| reason(error, spec, interface))
    }

    /// Whether a failure refuses the request, and does not leave the interface pending: it concerns the whole service,
    /// or a named interface.
    fn refuses_request(self, error: &ControlError) -> bool {
        match error {
            ControlError::PortInUse { .. } => false,
            ControlError::Denied(_)
            | ControlError::PortDenied { .. }
            | ControlError::Descriptors(_)
            | ControlError::TooManySources { .. } => true,
            _ => matches!(self.spec.interfaces, Interfaces::Named(_)),
        }
    }

    /// Registers the opened sockets, which deliver from now on.
    pub(super) fn register_all(self, opened: Vec<OpenedSocket>, to: &SinkTarget) -> Vec<RegisteredInterface> {
        opened.into_iter().map(|opened| self.register_one(opened, to)).collect()
    }

    fn register_one(self, opened: OpenedSocket, to: &SinkTarget) -> RegisteredInterface {
        let JoinTarget { name, interface, counters } = opened.target;
        let loopback = interface.is_some_and(|interface| interface.loopback);
        let joined = opened.socket.and_then(|(interface, GroupSocket { socket, buffer })| {
            let sink = MembershipSink {
                log: to.log.clone(),
                interface: interface.name.clone(),
                index: interface.index,
                group: self.spec.group,
                counters: counters.clone(),
                responder: to.responder.clone(),
                joined: to.joined.clone(),
            };
            let registration = self.sockets.register(socket, Box::new(sink));
            let registration = registration.map_err(|error| reason(error, self.spec, &interface))?;
            let hearing = self.table.hearing(Some(&interface), self.spec.group.family());
            Ok(Joined { id: SocketId::fresh(), interface, registration, buffer, hearing })
        });
        RegisteredInterface { name, counters, loopback, joined }
    }
}

impl RegisteredInterface {
    pub(super) fn into_socket(self) -> Option<Registration> {
        self.joined.ok().map(|joined| joined.registration)
    }

    pub(super) fn into_membership(self) -> InterfaceMembership {
        let status = self.joined.map_or_else(Status::Pending, Status::Joined);
        InterfaceMembership::new(self.name, status, self.counters, self.loopback)
    }
}

/// Why the interface is not joined: the kernel's error alone does not show that.
fn reason(error: SocketError, spec: &MembershipSpec, interface: &Interface) -> NotJoinedReason {
    if error.kind() == SocketErrorKind::NoDevice {
        return NotJoinedReason::InterfaceChanging { interface: interface.name.clone(), error };
    }
    NotJoinedReason::Refused(control_error(error, spec, interface))
}

pub(super) fn control_error(
    error: SocketError,
    spec: &MembershipSpec,
    interface: &Interface,
) -> ControlError {
    let socket_use = SocketUse {
        purpose: Purpose::Join,
        group: &spec.group,
        interface: &interface.name,
        bind: spec.group.socket_addr(interface.index),
        sources: spec.sources.len(),
        payload: 0,
    };
    ControlError::of(error, &socket_use)
}
