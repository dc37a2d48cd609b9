//! A membership's sockets: one port for each interface it wants, joined or with the reason why not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::control::answering::Answering;
use crate::control::refusal::{Attempt, Purpose, Refusal};
use crate::control::views::JoinState;
use crate::model::{Group, Heard, Interface, InterfaceTable, Interfaces, MembershipSpec, Timestamp};
use crate::net::{
    Batch, BufferSize, Closed, Fault, FaultKind, GroupSocket, ReceiveOptions, RegisteredSocket, Registration,
    Sink, SocketBackend,
};
use crate::store::{Log, Run};

pub(in crate::control) struct Port {
    pub(in crate::control) interface: Arc<str>,
    pub(in crate::control) state: PortState,
}

pub(in crate::control) enum PortState {
    Joined {
        interface: Arc<Interface>,
        registration: Registration,
        buffer: BufferSize,
    },
    /// Not joined yet; tried again.
    Pending {
        reason: String,
    },
    /// Was joined until the interface went away.
    Lost {
        reason: String,
    },
}

impl PortState {
    pub(in crate::control) fn join_state(&self) -> JoinState {
        match self {
            Self::Joined { .. } => JoinState::Joined,
            Self::Pending { .. } => JoinState::Pending,
            Self::Lost { .. } => JoinState::Lost,
        }
    }
}

impl Port {
    #[expect(clippy::needless_pass_by_value, reason = "callers hand over what they have just made")]
    fn pending(interface: Arc<str>, reason: impl ToString) -> Self {
        Self { interface, state: PortState::Pending { reason: reason.to_string() } }
    }

    #[expect(clippy::needless_pass_by_value, reason = "callers hand over what they have just made")]
    fn lost(interface: Arc<str>, reason: impl ToString) -> Self {
        Self { interface, state: PortState::Lost { reason: reason.to_string() } }
    }

    /// Joined, and on this very interface: one that was made anew has another index.
    fn is_joined_on(&self, interface: &Interface) -> bool {
        matches!(&self.state, PortState::Joined { interface: joined, .. } if joined.index == interface.index && joined.name == interface.name)
    }

    pub(in crate::control) fn is_joined(&self) -> bool {
        matches!(self.state, PortState::Joined { .. })
    }

    /// Gives up its socket, if it has one.
    pub(in crate::control) fn close(self) -> Option<Closed> {
        match self.state {
            PortState::Joined { registration, .. } => Some(registration.close()),
            _ => None,
        }
    }

    pub(in crate::control) fn dropped_buffers(&self) -> u64 {
        match &self.state {
            PortState::Joined { registration, .. } => registration.socket().dropped_buffers().into(),
            _ => 0,
        }
    }
}

/// What a port delivers to, and where it gets its socket served.
#[derive(Clone)]
pub(in crate::control) struct Delivery {
    pub(in crate::control) sockets: Arc<dyn SocketBackend>,
    pub(in crate::control) receive_buffer: usize,
    pub(in crate::control) log: Arc<Log>,
    pub(in crate::control) answering: Option<Arc<Answering>>,
    /// How many ports are joined: with one alone there are no copies to suppress.
    pub(in crate::control) joined: Arc<AtomicUsize>,
}

/// The interfaces that a membership should be joined on now, with what the table knows of each.
pub(in crate::control) fn wanted(
    interfaces: &Interfaces,
    table: &InterfaceTable,
    ports: &[Port],
) -> Vec<(Arc<str>, Option<Arc<Interface>>)> {
    match interfaces {
        Interfaces::Named(names) => {
            names.iter().map(|name| (name.clone(), table.by_name(name).cloned())).collect()
        }
        Interfaces::Default => table
            .interfaces
            .iter()
            .filter(|interface| {
                // The kernel keeps memberships while an interface is down: so do we.
                let still_joined = !interface.up && ports.iter().any(|port| port.is_joined_on(interface));
                still_joined || table.usable(interface).is_ok()
            })
            .map(|interface| (interface.name.clone(), Some(interface.clone())))
            .collect(),
    }
}

/// Joins on every wanted interface where none of `kept` is joined. An interface that is not there, or
/// a port that somebody holds for himself, is pending; any other failure of a named one is a refusal.
pub(in crate::control) fn open_missing(
    spec: &MembershipSpec,
    table: &InterfaceTable,
    kept: &[Port],
    delivery: &Delivery,
) -> Result<Vec<Port>, Refusal> {
    let mut opened = Vec::new();
    for (name, interface) in wanted(&spec.interfaces, table, kept) {
        let Some(interface) = interface else {
            if kept.iter().any(|port| port.interface == name) {
                continue;
            }
            opened.push(Port::pending(name, NOT_THERE));
            continue;
        };
        if kept.iter().any(|port| port.is_joined_on(&interface)) {
            continue;
        }
        match open(spec, &interface, delivery) {
            Ok(port) => opened.push(port),
            Err(fault) if is_final(&fault, &spec.interfaces) => return Err(refusal(fault, spec, &interface)),
            Err(fault) => opened.push(Port::pending(name, refusal(fault, spec, &interface))),
        }
    }
    Ok(opened)
}

/// Applies what can change without a new socket; on refusal all ports are as before.
pub(in crate::control) fn update_in_place(
    ports: &[Port],
    previous: &MembershipSpec,
    next: &MembershipSpec,
) -> Result<(), Refusal> {
    for (at, port) in ports.iter().enumerate() {
        let PortState::Joined { interface, registration, .. } = &port.state else {
            continue;
        };
        let socket = registration.socket();
        let apply = |from: &MembershipSpec, to: &MembershipSpec| {
            if from.sources != to.sources {
                GroupSocket::set_sources(socket, &to.group, interface.index, &to.sources)?;
            }
            if from.exact_drops != to.exact_drops {
                socket.set_coalescing(!to.exact_drops)?;
            }
            Ok::<_, Fault>(())
        };
        if let Err(fault) = apply(previous, next) {
            let _ = apply(next, previous);
            let _ = update_in_place(&ports[..at], next, previous);
            return Err(refusal(fault, next, interface));
        }
    }
    Ok(())
}

/// Brings one port in line with its interface as it is now.
pub(in crate::control) fn follow(
    spec: &MembershipSpec,
    name: Arc<str>,
    known: Option<Port>,
    interface: Option<&Arc<Interface>>,
    delivery: &Delivery,
    dropped_before: &mut u64,
) -> Port {
    let was_joined = known.as_ref().is_some_and(Port::is_joined);
    let Some(interface) = interface else {
        *dropped_before += known.as_ref().map_or(0, Port::dropped_buffers);
        return match known {
            Some(port) if was_joined => {
                Port::lost(port.interface, "the interface is gone; it is joined again when it is back")
            }
            Some(port) => port,
            None => Port::pending(name, NOT_THERE),
        };
    };
    match known {
        Some(port) if port.is_joined_on(interface) => port,
        known => {
            // The interface was made anew: the old socket holds a membership that the kernel has forgotten.
            *dropped_before += known.as_ref().map_or(0, Port::dropped_buffers);
            drop(known);
            match open(spec, interface, delivery) {
                Ok(port) => port,
                Err(fault) if was_joined => Port::lost(name, refusal(fault, spec, interface)),
                Err(fault) => Port::pending(name, refusal(fault, spec, interface)),
            }
        }
    }
}

const NOT_THERE: &str = "there is no such interface yet";

/// Joins on one interface.
fn open(spec: &MembershipSpec, interface: &Arc<Interface>, delivery: &Delivery) -> Result<Port, Fault> {
    let options = ReceiveOptions { receive_buffer: delivery.receive_buffer, coalesce: !spec.exact_drops };
    let opened = delivery.sockets.open_group_socket(&spec.group, interface, &spec.sources, options)?;
    let sink = PortSink {
        log: delivery.log.clone(),
        interface: interface.name.clone(),
        index: interface.index,
        group: spec.group,
        answering: delivery.answering.clone(),
        joined: delivery.joined.clone(),
    };
    let registration = delivery.sockets.register(opened.socket, Box::new(sink))?;
    let state = PortState::Joined { interface: interface.clone(), registration, buffer: opened.buffer };
    Ok(Port { interface: interface.name.clone(), state })
}

/// Whether a failed join is a reason to refuse the request and not to wait: it concerns the whole
/// service, or an interface that was asked for by name.
fn is_final(fault: &Fault, interfaces: &Interfaces) -> bool {
    match fault.kind() {
        FaultKind::PortInUse => false,
        FaultKind::Denied | FaultKind::Descriptors | FaultKind::TooManySources => true,
        _ => matches!(interfaces, Interfaces::Named(_)),
    }
}

fn refusal(fault: Fault, spec: &MembershipSpec, interface: &Interface) -> Refusal {
    let bind = spec.group.socket_addr(interface.index);
    let sources = spec.sources.len();
    Refusal::of(
        fault,
        &Attempt {
            purpose: Purpose::Join,
            group: &spec.group,
            interface: &interface.name,
            bind,
            sources,
            payload: 0,
        },
    )
}

struct PortSink {
    log: Arc<Log>,
    interface: Arc<str>,
    index: u32,
    group: Group,
    answering: Option<Arc<Answering>>,
    joined: Arc<AtomicUsize>,
}

impl Sink for PortSink {
    fn deliver(&mut self, socket: &Arc<RegisteredSocket>, batch: &Batch<'_>) {
        let destination = self.group.socket_addr(self.index);
        self.log.append(batch.iter().map(|received| Run {
            heard: Heard {
                received_at: received.received_at.unwrap_or_else(Timestamp::now),
                source: received.source,
                destination,
                interface: &self.interface,
                hop_limit: received.hop_limit,
                truncated: received.truncated,
            },
            answer: None,
            segment: received.segment,
            bytes: received.bytes,
        }));
        if let Some(answering) = &self.answering {
            let alone = self.joined.load(Ordering::Relaxed) < 2;
            answering.answer(socket, self.index, alone, batch);
        }
    }
}
