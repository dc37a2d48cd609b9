//! Sockets that send: messages that collect responses, messages that do not, and replies. None is bound to the wildcard
//! address on a port that a group may use: it would receive other sockets' multicast and block joins.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::error::SocketError;
use super::socket::Socket;
use super::wire::ControlWriter;
use crate::model::{Family, Group, HopLimit, Interface, socket_addr_on};

/// The socket of a message on one interface, see [`open_message_socket`].
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

/// Opens a socket that sends a message on one interface and receives the responses to it.
///
/// It is bound to the interface's own address, so that only unicast reaches it, and to a port of its own, so that
/// responses to different messages never mix. Not bound to the device: a response from the same host arrives on `lo`,
/// and one from another host on whichever interface the return route leads to.
pub fn open_message_socket(spec: &MessageSocketSpec<'_>) -> Result<Socket, SocketError> {
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
        // The kernel keeps a datagram with hop limit 0 from leaving the host only if a socket here is a member
        // (ip_mc_output, ip6_finish_output), so this one joins. Bound to a unicast address, it receives nothing
        // from the group.
        socket.join_source(spec.group.ip(), spec.interface.index, spec.source)?;
    }
    socket.enable_timestamps_and_hop_limits()?;
    socket.enable_packet_info()?;
    socket.set_receive_buffer(spec.receive_buffer)?;
    socket.bind(socket_addr_on(spec.source, spec.port.unwrap_or(0), spec.interface.index))?;
    if spec.port.is_some() {
        // But not with a later message: their responses would mix.
        socket.share_port(false)?;
    }
    Ok(socket)
}

/// Sends messages whose responses are not collected; shared by all of one family and loopback setting.
pub struct SharedSendSocket {
    pub(super) socket: Socket,
    pub(super) port: u16,
}

impl SharedSendSocket {
    pub fn open(family: Family, loopback: bool) -> Result<Self, SocketError> {
        let socket = Socket::open(family)?;
        socket.set_loopback(loopback)?;
        socket.receive_only_joined_groups()?;
        socket.drop_all_input()?;
        let wildcard: IpAddr = match family {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
        };
        socket.bind(SocketAddr::new(wildcard, 0))?;
        // Shared only after the bind: the port is our own, and a group on it can still be joined.
        socket.share_port(true)?;
        let port = socket.local_addr()?.port();
        Ok(Self { socket, port })
    }

    /// Sends one datagram, with interface, source and hop limit as control messages. IPv4 refuses hop limit 0 there.
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

    /// The source port of its datagrams.
    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn socket(&self) -> &Socket {
        &self.socket
    }
}

/// Opens a socket that sends replies from a chosen address and port, and receives nothing. `port` 0: the kernel chooses
/// a free one.
pub fn open_reply_socket(interface_index: u32, source: IpAddr, port: u16) -> Result<Socket, SocketError> {
    /// Discard (RFC 863): no program sends from this port.
    const SILENT_PORT: u16 = 9;
    let socket = Socket::open(Family::of(source))?;
    if port != 0 {
        socket.share_port(true)?;
    }
    socket.drop_all_input()?;
    socket.bind(socket_addr_on(source, port, interface_index))?;
    // An unconnected socket would take, and drop, datagrams for others that share the port: a daemon, or a message
    // with this source port. A connected one receives from its peer only, and can still send to any address.
    socket.connect(socket_addr_on(source, SILENT_PORT, interface_index))?;
    Ok(socket)
}
