//! Sockets that send: with collecting, without, and for replies. None is bound to the wildcard address
//! with a port that a group may want: that would hear other sockets' multicast and block joins.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use super::error::{Action, SocketError};
use super::socket::Socket;
use super::wire::ControlWriter;

use crate::model::{Family, Group, HopLimit, Interface};

/// Sends a message on one interface and hears the answers to it.
///
/// Bound to the interface's own address, so that only unicast reaches it, and to a port of its own, so
/// that answers to different messages never meet. Not bound to the device: an answer from the same host
/// comes in by `lo`, and one from afar by whichever interface the way back leads to.
pub struct MessageSocket;

#[derive(Debug, Clone, Copy)]
pub struct MessageSocketSpec<'a> {
    pub group: Group,
    pub interface: &'a Interface,
    pub source: IpAddr,
    /// None: a free port of the kernel's choice.
    pub port: Option<u16>,
    pub hop_limit: HopLimit,
    pub loopback: bool,
    pub receive_buffer: usize,
}

impl MessageSocket {
    pub fn open(spec: &MessageSocketSpec<'_>) -> Result<Socket, SocketError> {
        let socket = Socket::open(Family::of(spec.source))?;
        if spec.port.is_some() {
            // A well-known port may be shared with a daemon that listens on the wildcard address.
            socket.share_port(true)?;
        }
        socket.set_multicast_interface(spec.interface.index)?;
        if spec.hop_limit.0 != 1 {
            socket.set_multicast_hop_limit(spec.hop_limit.0)?;
        }
        if !spec.loopback {
            socket.set_loopback(false)?;
        }
        if spec.hop_limit.0 == 0 && !spec.interface.loopback {
            // The kernel keeps hop limit 0 on this host only where somebody here is a member (ip_mc_output,
            // ip6_finish_output): so the sender becomes one. Bound to a unicast address, it hears nothing of it.
            socket.join_source(spec.group.ip(), spec.interface.index, spec.source)?;
        }
        socket.ask_for_times_and_hops()?;
        socket.ask_for_interface()?;
        socket.set_receive_buffer(spec.receive_buffer)?;
        socket.bind(scoped(spec.source, spec.port.unwrap_or(0), spec.interface.index))?;
        if spec.port.is_some() {
            // But with no later message: their answers would mix.
            socket.share_port(false)?;
        }
        Ok(socket)
    }
}

/// Sends messages whose answers nobody collects; shared by all of one family and loopback setting.
pub struct SharedSendSocket {
    pub(super) socket: Socket,
    pub(super) port: u16,
}

impl SharedSendSocket {
    pub fn open(family: Family, loopback: bool) -> Result<Self, SocketError> {
        let socket = Socket::open(family)?;
        socket.set_loopback(loopback)?;
        socket.hear_only_own_groups()?;
        socket.drop_all_input()?;
        let wildcard: IpAddr = match family {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
        };
        socket.bind(SocketAddr::new(wildcard, 0))?;
        // Shared only after the bind: the port is our own, and still a group on it can be joined.
        socket.share_port(true)?;
        let port = socket.local_addr()?.port();
        Ok(Self { socket, port })
    }

    /// Sends one datagram; interface, source and hop limit travel with it. IPv4 refuses hop limit 0 here.
    pub fn send(
        &self,
        interface: &Interface,
        source: IpAddr,
        hop_limit: HopLimit,
        destination: SocketAddr,
        payload: &[u8],
    ) -> Result<(), SocketError> {
        let control = Self::control(interface, source, hop_limit);
        self.socket.send(destination, control.as_slice(), payload)
    }

    /// Sends up to `count` copies without waiting; returns how many the socket took.
    pub fn send_copies(
        &self,
        interface: &Interface,
        source: IpAddr,
        hop_limit: HopLimit,
        destination: SocketAddr,
        payload: &[u8],
        count: usize,
    ) -> Result<usize, SocketError> {
        let control = Self::control(interface, source, hop_limit);
        self.socket.send_copies(destination, control, payload, count, interface.mtu)
    }

    fn control(interface: &Interface, source: IpAddr, hop_limit: HopLimit) -> ControlWriter {
        let mut control = ControlWriter::default();
        control.leave_by(interface.index, source);
        control.hop_limit(hop_limit.0, source.is_ipv6());
        control
    }

    /// The port that its datagrams leave from.
    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn socket(&self) -> &Socket {
        &self.socket
    }
}

/// Sends replies from an address and port of choice; hears nothing.
pub struct ReplySocket;

impl ReplySocket {
    /// Discard (RFC 863): nobody sends from there.
    const SILENT_PORT: u16 = 9;

    /// `port` 0 asks for a fresh one.
    pub fn open(interface_index: u32, source: IpAddr, port: u16) -> Result<Socket, SocketError> {
        let socket = Socket::open(Family::of(source))?;
        if port != 0 {
            socket.share_port(true)?;
        }
        socket.drop_all_input()?;
        socket.bind(scoped(source, port, interface_index))?;
        // Otherwise it would take, and drop, what others hear that share the port: a daemon, or a message
        // with this source port. A socket with a peer takes only what that peer sends, and sends to all.
        socket.connect(scoped(source, Self::SILENT_PORT, interface_index))?;
        Ok(socket)
    }
}

impl Socket {
    /// Sends one datagram without waiting; a full send buffer is [`super::FaultKind::Busy`].
    pub fn send_to(&self, destination: SocketAddr, payload: &[u8]) -> Result<(), SocketError> {
        self.send(destination, &[], payload)
    }

    /// Sends up to `count` copies by the interface without waiting; returns how many the socket took.
    pub fn send_copies_to(
        &self,
        interface: &Interface,
        destination: SocketAddr,
        payload: &[u8],
        count: usize,
    ) -> Result<usize, SocketError> {
        self.send_copies(destination, ControlWriter::default(), payload, count, interface.mtu)
    }
}

fn scoped(ip: IpAddr, port: u16, interface_index: u32) -> SocketAddr {
    match ip {
        IpAddr::V6(ip) if ip.is_unicast_link_local() => {
            SocketAddrV6::new(ip, port, 0, interface_index).into()
        }
        _ => SocketAddr::new(ip, port),
    }
}

impl SocketError {
    /// The fault of a send from a socket that was closed in the meantime.
    pub fn socket_closed() -> Self {
        Self { action: Action::Send, source: std::io::Error::from_raw_os_error(libc::EBADF) }
    }
}
