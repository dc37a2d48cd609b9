//! How a message leaves: by which interfaces, from which sockets.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::collection::Route;
use super::{AnswerSink, Message};
use crate::control::Shared;
use crate::control::refusal::{Attempt, Purpose, Refusal};
use crate::model::{Family, Interface, InterfaceTable, Interfaces, MessageSpec};
use crate::net::{
    BlindSocket, CollectSocket, CollectSpec, Fault, FaultKind, Registration, RouteQuery, SendHandle, Socket,
};

/// One interface that a message leaves by.
pub(in crate::control) struct Outlet {
    pub(in crate::control) interface: Arc<Interface>,
    way: Way,
}

enum Way {
    /// Sockets of the message's own: one, or one for each tracked attempt.
    Own(Vec<OwnSocket>),
    Blind {
        socket: Arc<BlindSocket>,
        source: IpAddr,
    },
    /// Nothing can be sent there, for the reason that the result shows.
    Closed,
}

/// A socket of one message.
pub(in crate::control) enum OwnSocket {
    /// It hears answers; the message owns its registration.
    Collecting(SendHandle),
    Sending(Arc<Socket>),
}

impl OwnSocket {
    /// Does something with the socket unless it is closed already.
    fn with<R>(&self, act: impl FnOnce(&Socket) -> Result<R, Fault>) -> Result<R, Fault> {
        match self {
            Self::Collecting(handle) => {
                let socket = handle.open().ok_or_else(Fault::socket_closed)?;
                act(&socket)
            }
            Self::Sending(socket) => act(socket),
        }
    }
}

impl Outlet {
    /// The source port that this attempt uses, counted within the outlet.
    pub(in crate::control) fn port(&self, attempt: u32) -> usize {
        match &self.way {
            Way::Own(sockets) if sockets.len() > 1 => (attempt as usize - 1).min(sockets.len() - 1),
            _ => 0,
        }
    }

    pub(in crate::control) fn is_open(&self) -> bool {
        !matches!(self.way, Way::Closed)
    }

    /// Sends one copy without waiting.
    pub(in crate::control) fn send(&self, spec: &MessageSpec, attempt: u32) -> Result<(), Fault> {
        let destination = spec.group.socket_addr(self.interface.index);
        match &self.way {
            Way::Own(sockets) => {
                sockets[self.port(attempt)].with(|socket| socket.send_to(destination, &spec.payload))
            }
            Way::Blind { socket, source } => {
                socket.send(&self.interface, *source, spec.hop_limit, destination, &spec.payload)
            }
            Way::Closed => Err(Fault::no_address()),
        }
    }

    /// Sends up to `count` copies without waiting, the next of them as this attempt; how many were sent.
    pub(in crate::control) fn send_copies(
        &self,
        spec: &MessageSpec,
        attempt: u32,
        count: usize,
    ) -> Result<usize, Fault> {
        let (interface, payload) = (&self.interface, &spec.payload);
        let destination = spec.group.socket_addr(interface.index);
        match &self.way {
            Way::Own(sockets) => sockets[self.port(attempt)]
                .with(|socket| socket.send_copies_to(interface, destination, payload, count)),
            Way::Blind { socket, source } => {
                socket.send_copies(interface, *source, spec.hop_limit, destination, payload, count)
            }
            Way::Closed => Err(Fault::no_address()),
        }
    }

    /// Waits until another copy can be sent.
    pub(in crate::control) async fn writable(&self, attempt: u32) -> Result<(), Fault> {
        match &self.way {
            Way::Own(sockets) => match &sockets[self.port(attempt)] {
                OwnSocket::Collecting(handle) => {
                    handle.open().ok_or_else(Fault::socket_closed)?.writable().await
                }
                OwnSocket::Sending(socket) => socket.writable().await,
            },
            Way::Blind { socket, .. } => socket.socket().writable().await,
            Way::Closed => Ok(()),
        }
    }
}

impl Shared {
    /// The interfaces that a message leaves by: those named, or what the routing table says.
    pub(in crate::control) async fn egress(
        &self,
        spec: &MessageSpec,
    ) -> Result<Vec<Arc<Interface>>, Refusal> {
        let mut table = self.interfaces.table();
        match &spec.interfaces {
            Interfaces::Named(names) => names
                .iter()
                .enumerate()
                .map(|(position, name)| {
                    let unknown =
                        || Refusal::UnknownInterface { name: name.to_string(), position: Some(position) };
                    table.by_name(name).cloned().ok_or_else(unknown)
                })
                .collect(),
            Interfaces::Default => {
                let query = RouteQuery {
                    destination: spec.group.socket_addr(0),
                    source_port: spec.source_port,
                    interface: None,
                    source: None,
                };
                let index = match self.interfaces.egress_index(&query) {
                    Ok(index) => Some(index),
                    Err(fault) if fault.kind() == FaultKind::NoRoute => None,
                    Err(fault) => return Err(Refusal::Failed(fault)),
                };
                if index.is_some_and(|index| table.by_index(index).is_none()) {
                    table = self.interfaces.refresh().await.map_err(Refusal::Failed)?;
                }
                match index.and_then(|index| table.by_index(index)) {
                    Some(interface) => Ok(vec![interface.clone()]),
                    None => Err(Refusal::NoRoute { group: spec.group, candidates: candidates(&table, spec) }),
                }
            }
        }
    }

    /// Opens a message's sockets. Fails when no interface can be used at all; an interface that cannot,
    /// beside others that can, is told in its route.
    pub(in crate::control) fn open_outlets(
        &self,
        message: &Arc<Message>,
        interfaces: Vec<Arc<Interface>>,
    ) -> Result<Vec<Outlet>, Refusal> {
        let spec = message.spec();
        let (mut outlets, mut routes, mut registrations) = (Vec::new(), Vec::new(), Vec::new());
        let mut refusal = None;
        for interface in interfaces {
            let mut route = Route {
                interface: interface.name.clone(),
                source: None,
                sent: 0,
                failed: 0,
                first_sent_at: None,
                last_sent_at: None,
                error: None,
                loopback_ignored: interface.loopback && !spec.loopback,
            };
            let first_port = outlets.len() * spec.ports_per_interface() as usize;
            let way = match self.open_way(message, &interface, first_port, &mut registrations) {
                Ok((way, source)) => {
                    route.source = Some(source);
                    way
                }
                Err(error) => {
                    route.error = Some(error.to_string());
                    refusal.get_or_insert(error);
                    Way::Closed
                }
            };
            outlets.push(Outlet { interface, way });
            routes.push(route);
        }
        match refusal {
            Some(refusal) if outlets.iter().all(|outlet| !outlet.is_open()) => Err(refusal),
            _ => {
                message.prepare(routes, registrations);
                Ok(outlets)
            }
        }
    }

    fn open_way(
        &self,
        message: &Arc<Message>,
        interface: &Arc<Interface>,
        first_port: usize,
        registrations: &mut Vec<Registration>,
    ) -> Result<(Way, SocketAddr), Refusal> {
        let spec = message.spec();
        let family = spec.group.family();
        let source = interface
            .source_for(&spec.group)
            .ok_or_else(|| Refusal::NoAddress { interface: interface.name.clone(), family })?;
        let bind = SocketAddr::new(source, spec.source_port.unwrap_or(0));
        let attempt = Attempt {
            purpose: Purpose::Send,
            group: &spec.group,
            interface: &interface.name,
            bind,
            sources: 0,
            payload: spec.payload.len(),
        };
        let refused = |fault| Refusal::of(fault, &attempt);
        if !interface.up {
            return Err(Refusal::InterfaceDown { interface: interface.name.clone() });
        }
        let stays_here = spec.hop_limit.0 == 0;
        if stays_here && !spec.loopback && !interface.loopback {
            return Err(Refusal::ReachesNobody { interface: interface.name.clone() });
        }
        let needs_own = spec.source_port.is_some() || stays_here;
        if spec.window.is_zero() && !needs_own {
            let socket = self.blind_socket(family, spec.loopback).map_err(refused)?;
            let local = SocketAddr::new(source, socket.port());
            return Ok((Way::Blind { socket, source }, local));
        }
        let mut sockets = Vec::new();
        for port in 0..spec.ports_per_interface() as usize {
            let socket = self.open_collecting(spec, interface, source).map_err(refused)?;
            if spec.window.is_zero() {
                sockets.push(OwnSocket::Sending(Arc::new(socket)));
                continue;
            }
            let sink = AnswerSink {
                message: Arc::downgrade(message),
                port: first_port + port,
                local: socket.local_addr().map_err(refused)?,
                egress: (interface.index, interface.name.clone()),
                interfaces: self.interfaces.clone(),
            };
            let registration = self.sockets.register(socket, Box::new(sink)).map_err(refused)?;
            sockets.push(OwnSocket::Collecting(SendHandle::new(registration.socket())));
            registrations.push(registration);
        }
        let local = sockets[0].with(Socket::local_addr).map_err(refused)?;
        Ok((Way::Own(sockets), local))
    }

    /// Opens a collecting socket. Out of descriptors, lingering messages give theirs up first.
    fn open_collecting(
        &self,
        spec: &MessageSpec,
        interface: &Interface,
        source: IpAddr,
    ) -> Result<Socket, Fault> {
        let wanted = CollectSpec {
            group: spec.group,
            interface,
            source,
            port: spec.source_port,
            hop_limit: spec.hop_limit,
            loopback: spec.loopback,
            receive_buffer: self.settings.receive_buffer,
        };
        let opened = CollectSocket::open(&wanted);
        match opened.as_ref().map_err(Fault::kind) {
            Err(FaultKind::Descriptors) => self.clockwork.closing.end_lingering(|_| true),
            // Their time is over, and only the timers' task has not come round to them.
            Err(FaultKind::PortInUse) => self.clockwork.closing.end_lingering(Message::has_lingered),
            _ => return opened,
        }
        CollectSocket::open(&wanted)
    }

    /// The shared socket for messages that collect nothing; opened when first needed.
    fn blind_socket(&self, family: Family, loopback: bool) -> Result<Arc<BlindSocket>, Fault> {
        let mut sockets = self.blind.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(socket) = sockets.get(&(family, loopback)) {
            return Ok(socket.clone());
        }
        let socket = Arc::new(BlindSocket::open(family, loopback)?);
        sockets.insert((family, loopback), socket.clone());
        Ok(socket)
    }
}

/// The interfaces that a message to this group could name.
fn candidates(table: &InterfaceTable, spec: &MessageSpec) -> Vec<Arc<str>> {
    table
        .usable_interfaces()
        .filter(|interface| interface.source_for(&spec.group).is_some())
        // The kernel has no route for IPv6 multicast there.
        .filter(|interface| !(interface.loopback && spec.group.family() == Family::V6))
        .map(|interface| interface.name.clone())
        .collect()
}
