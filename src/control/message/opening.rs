//! Opening a message's sockets in three steps: open, enter the ports into the collection, register. Each step takes the
//! result of the previous one, so that no datagram is delivered for an unknown port.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::collection::{Collection, PortKey};
use super::sink::ResponseSink;
use super::state::{Message, MessageContext};
use crate::control::error::ControlError;
use crate::model::{Interface, MessageSpec, socket_addr_on};
use crate::net::{MessageSocketSpec, RegisteredSocket, SendHandle, SharedSendSocket, Socket, SocketError};

/// Sockets to send by one interface; the kernel queues datagrams for them, but nothing reads them yet.
pub(in crate::control) struct OpenedSockets {
    pub(super) interface: Arc<Interface>,
    pub(super) source: IpAddr,
    /// Address and port of the first socket.
    pub(super) local: SocketAddr,
    sockets: OwnOrShared<Socket>,
}

/// Opened sockets whose ports are in the message's collection.
pub(in crate::control) struct SocketsWithPorts {
    opened: OpenedSockets,
    ports: Vec<PortKey>,
}

/// The registered sockets by which a message is sent on one interface.
pub(super) struct InterfaceSockets {
    pub(super) interface: Arc<Interface>,
    pub(super) source: IpAddr,
    sockets: OwnOrShared<SendSocket>,
    /// One port for each socket.
    ports: Vec<PortKey>,
}

enum OwnOrShared<S> {
    /// The message's own sockets: one, or one for each tracked attempt.
    Own(Vec<S>),
    Shared(Arc<SharedSendSocket>),
}

/// Sends copies of one attempt.
pub(super) enum CopySender<'a> {
    Collecting(Arc<RegisteredSocket>),
    Sending(&'a Socket),
    /// With the source address.
    Shared(&'a SharedSendSocket, IpAddr),
}

/// A socket of one message.
enum SendSocket {
    /// The socket receives responses; the message owns its registration.
    Collecting(SendHandle),
    Sending(Socket),
}

impl MessageContext {
    pub(super) fn open(
        &self,
        spec: &MessageSpec,
        interface: &Arc<Interface>,
        source: IpAddr,
    ) -> Result<OpenedSockets, ControlError> {
        let stays_here = spec.hop_limit.0 == 0;
        if stays_here && !spec.loopback && !interface.loopback {
            return Err(ControlError::ReachesNobody { interface: interface.name.clone() });
        }
        let opened = if spec.window.is_zero() && spec.source_port.is_none() && !stays_here {
            let shared = self.shared_sockets.get(&*self.sockets, spec.group.family(), spec.loopback);
            shared.map(|shared| {
                (socket_addr_on(source, shared.port(), interface.index), OwnOrShared::Shared(shared))
            })
        } else {
            self.open_own(spec, interface, source)
        };
        let refused = |error| self.cause(error, spec, &interface.name, Some(source));
        let (local, sockets) = opened.map_err(refused)?;
        Ok(OpenedSockets { interface: interface.clone(), source, local, sockets })
    }

    fn open_own(
        &self,
        spec: &MessageSpec,
        interface: &Interface,
        source: IpAddr,
    ) -> Result<(SocketAddr, OwnOrShared<Socket>), SocketError> {
        let own = MessageSocketSpec {
            group: spec.group,
            interface,
            source,
            port: spec.source_port,
            hop_limit: spec.hop_limit,
            loopback: spec.loopback,
            receive_buffer: self.receive_buffer,
        };
        let first = self.sockets.open_message_socket(&own)?;
        let local = first.local_addr()?;
        let mut sockets = vec![first];
        for _ in 1..spec.ports_per_interface() {
            sockets.push(self.sockets.open_message_socket(&own)?);
        }
        Ok((local, OwnOrShared::Own(sockets)))
    }
}

impl OpenedSockets {
    /// Adds the ports to the collection, for the interface at this index of the results.
    pub(in crate::control) fn enter_ports(
        self,
        result_index: usize,
        collection: &mut Collection,
    ) -> SocketsWithPorts {
        let count = match &self.sockets {
            OwnOrShared::Own(sockets) => sockets.len(),
            OwnOrShared::Shared(_) => 1,
        };
        let ports = (0..count).map(|_| collection.add_port(result_index)).collect();
        collection.set_source(result_index, self.local);
        SocketsWithPorts { opened: self, ports }
    }
}

impl SocketsWithPorts {
    /// Starts to receive from the sockets, if the message collects; on failure no socket stays open.
    pub(super) fn register_all(self, message: &Arc<Message>) -> Result<InterfaceSockets, SocketError> {
        let Self { opened: OpenedSockets { interface, source, sockets, .. }, ports } = self;
        let sockets = match sockets {
            OwnOrShared::Shared(shared) => OwnOrShared::Shared(shared),
            OwnOrShared::Own(own) if message.spec.window.is_zero() => {
                OwnOrShared::Own(own.into_iter().map(SendSocket::Sending).collect())
            }
            OwnOrShared::Own(own) => {
                let register = |(socket, port)| message.register_one(socket, port, &interface);
                match own.into_iter().zip(ports.iter().copied()).map(register).collect() {
                    Ok(handles) => OwnOrShared::Own(handles),
                    Err(error) => {
                        message.release(&ports);
                        return Err(error);
                    }
                }
            }
        };
        Ok(InterfaceSockets { interface, source, sockets, ports })
    }
}

impl Message {
    fn register_one(
        self: &Arc<Self>,
        socket: Socket,
        port: PortKey,
        interface: &Interface,
    ) -> Result<SendSocket, SocketError> {
        let sink = ResponseSink {
            message: Arc::downgrade(self),
            port,
            local: socket.local_addr()?,
            egress_interface: (interface.index, interface.name.clone()),
        };
        let register = || self.context.sockets.register(socket, Box::new(sink));
        self.sockets().add(port, register).map(SendSocket::Collecting)
    }

    /// Releases the sockets of these ports: they receive nothing more.
    pub(super) fn release(&self, ports: &[PortKey]) {
        let mut sockets = self.sockets();
        for port in ports {
            sockets.release(*port);
        }
        drop(sockets);
        let mut collection = self.collection();
        for port in ports {
            collection.drop_port(*port);
        }
    }
}

impl InterfaceSockets {
    /// The source port that this attempt uses.
    pub(super) fn port(&self, attempt: u32) -> PortKey {
        self.ports[self.nth(attempt)]
    }

    pub(super) fn ports(&self) -> &[PortKey] {
        &self.ports
    }

    /// The socket that sends this attempt. It stays open until the attempt is sent, even if the message ends meanwhile.
    pub(super) fn sender(&self, attempt: u32) -> Result<CopySender<'_>, SocketError> {
        Ok(match &self.sockets {
            OwnOrShared::Own(sockets) => match &sockets[self.nth(attempt)] {
                SendSocket::Collecting(handle) => {
                    CopySender::Collecting(handle.open().ok_or_else(SocketError::socket_closed)?)
                }
                SendSocket::Sending(socket) => CopySender::Sending(socket),
            },
            OwnOrShared::Shared(shared) => CopySender::Shared(shared, self.source),
        })
    }

    /// Waits until another copy can be sent as this attempt. Cancel-safe.
    pub(super) async fn writable(&self, attempt: u32) -> Result<(), SocketError> {
        match &self.sockets {
            OwnOrShared::Own(sockets) => match &sockets[self.nth(attempt)] {
                SendSocket::Collecting(handle) => {
                    handle.open().ok_or_else(SocketError::socket_closed)?.writable().await
                }
                SendSocket::Sending(socket) => socket.writable().await,
            },
            OwnOrShared::Shared(shared) => shared.socket().writable().await,
        }
    }

    fn nth(&self, attempt: u32) -> usize {
        (attempt.max(1) as usize - 1).min(self.ports.len() - 1)
    }
}

impl CopySender<'_> {
    /// Sends up to `count` copies by the interface without waiting; returns how many the socket took.
    pub(super) fn send(
        &self,
        spec: &MessageSpec,
        interface: &Interface,
        count: u32,
    ) -> Result<u32, SocketError> {
        let (payload, hop_limit) = (&spec.payload, spec.hop_limit);
        let destination = spec.group.socket_addr(interface.index);
        let copies = count as usize;
        let own = |socket: &Socket| match count {
            1 => socket.send_to(destination, payload).map(|()| 1),
            _ => socket.send_copies_to(interface, destination, payload, copies),
        };
        let sent = match *self {
            Self::Collecting(ref socket) => own(socket)?,
            Self::Sending(socket) => own(socket)?,
            Self::Shared(shared, source) if count == 1 => {
                shared.send(interface, source, hop_limit, destination, payload).map(|()| 1)?
            }
            Self::Shared(shared, source) => {
                shared.send_copies(interface, source, hop_limit, destination, payload, copies)?
            }
        };
        Ok(u32::try_from(sent).unwrap_or(count).min(count))
    }
}
