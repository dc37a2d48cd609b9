//! A UDP socket: its options, and how it sends.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use socket2::{Domain, Protocol, Type};
use tokio::io::Interest;

use super::error::{Action, SocketError, SocketErrorKind, WithAction};
use super::process::leaves_room;
use super::sys;
use super::wire::{self, AddressBytes, ControlWriter};
use crate::model::{Family, Interface, max_payload};

/// A non-blocking UDP socket of one family.
#[derive(Debug)]
pub struct Socket {
    inner: socket2::Socket,
    family: Family,
    #[cfg(test)]
    pub(super) script: Option<super::script::SendScript>,
}

/// A receive buffer as requested and as granted, in bytes (`SO_RCVBUF`; the kernel doubles the request to account for
/// its own overhead, and `granted` is halved again so that the two compare).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BufferSize {
    pub requested: usize,
    pub granted: usize,
}

impl Socket {
    pub(super) fn open(family: Family) -> Result<Self, SocketError> {
        let domain = match family {
            Family::V4 => Domain::IPV4,
            Family::V6 => Domain::IPV6,
        };
        let inner = socket2::Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))
            .context(Action::Open)?;
        if !leaves_room(inner.as_fd()) {
            return Err(io::Error::from_raw_os_error(libc::EMFILE)).context(Action::Open);
        }
        if family == Family::V6 {
            inner.set_only_v6(true).context(Action::Configure)?;
        }
        Ok(Self {
            inner,
            family,
            #[cfg(test)]
            script: None,
        })
    }

    /// The address that the socket is bound to.
    pub fn local_addr(&self) -> Result<SocketAddr, SocketError> {
        #[cfg(test)]
        if let Some(script) = &self.script {
            return Ok(script.local);
        }
        let address = self.inner.local_addr().context(Action::Configure)?;
        address.as_socket().ok_or_else(|| io::Error::other("not an IP socket")).context(Action::Configure)
    }

    /// How many buffers the kernel has dropped at this socket (`SO_MEMINFO`, `SK_MEMINFO_DROPS`).
    pub fn dropped_buffers(&self) -> u32 {
        const DROPS: usize = 8;
        let mut info = [0_u8; 9 * 4];
        match sys::get_option(self.as_fd(), libc::SOL_SOCKET, libc::SO_MEMINFO, &mut info) {
            Ok(length) if length == info.len() => u32::from_ne_bytes([
                info[DROPS * 4],
                info[DROPS * 4 + 1],
                info[DROPS * 4 + 2],
                info[DROPS * 4 + 3],
            ]),
            _ => 0,
        }
    }

    /// Waits until the send buffer has space. Rare, so the runtime watches the socket only while it waits.
    pub async fn writable(&self) -> Result<(), SocketError> {
        #[cfg(test)]
        if self.script.is_some() {
            std::future::pending::<()>().await;
        }
        let watched = sys::watch(self.as_fd(), Interest::WRITABLE).context(Action::Send)?;
        let ready = watched.writable().await.context(Action::Send)?;
        drop(ready);
        Ok(())
    }

    /// Sends one datagram without waiting; a full send buffer is [`SocketErrorKind::Busy`].
    pub fn send_to(&self, destination: SocketAddr, payload: &[u8]) -> Result<(), SocketError> {
        self.send(destination, &[], payload)
    }

    /// Sends up to `count` copies on the interface without waiting; returns how many the socket took.
    pub fn send_copies_to(
        &self,
        interface: &Interface,
        destination: SocketAddr,
        payload: &[u8],
        count: usize,
    ) -> Result<usize, SocketError> {
        self.send_copies(destination, ControlWriter::default(), payload, count, interface.mtu)
    }

    /// Sends one datagram without waiting.
    pub(super) fn send(
        &self,
        destination: SocketAddr,
        control: &[u8],
        payload: &[u8],
    ) -> Result<(), SocketError> {
        #[cfg(test)]
        if let Some(script) = &self.script {
            return script.send(1).map(drop).context(Action::Send);
        }
        let address = AddressBytes::new(destination);
        let outgoing = sys::Outgoing { address: address.as_slice(), control, payload };
        sys::send(self.as_fd(), &[outgoing]).context(Action::Send)?;
        Ok(())
    }

    /// Sends as many of these as the socket takes without waiting; returns how many. An error concerns the first one.
    pub fn send_batch<'a>(
        &self,
        batch: impl IntoIterator<Item = (SocketAddr, &'a [u8])>,
    ) -> Result<usize, SocketError> {
        let batch: Vec<_> = batch
            .into_iter()
            .map(|(destination, payload)| (AddressBytes::new(destination), payload))
            .collect();
        let outgoing: Vec<_> = batch
            .iter()
            .map(|(address, payload)| sys::Outgoing { address: address.as_slice(), control: &[], payload })
            .collect();
        sys::send(self.as_fd(), &outgoing).context(Action::Send)
    }

    /// Sends the same datagram up to `count` times without waiting, coalesced (`UDP_SEGMENT`) where the kernel
    /// can; returns how many datagrams the socket took. `mtu` is the interface's.
    pub(super) fn send_copies(
        &self,
        destination: SocketAddr,
        mut control: ControlWriter,
        payload: &[u8],
        count: usize,
        mtu: u32,
    ) -> Result<usize, SocketError> {
        #[cfg(test)]
        if let Some(script) = &self.script {
            return script.send(count).context(Action::Send);
        }
        let address = AddressBytes::new(destination);
        let max_per_send = max_payload(self.family) / payload.len().max(1);
        let copies = if payload.is_empty() || payload.len() + self.family.header_bytes() > mtu as usize {
            1
        } else {
            max_per_send.min(sys::MAX_SEGMENTS).min(count)
        };
        if copies > 1 {
            let plain = control.clone();
            control.segment(u16::try_from(payload.len()).unwrap_or(u16::MAX));
            let outgoing =
                sys::Outgoing { address: address.as_slice(), control: control.as_slice(), payload };
            match sys::send_copies(self.as_fd(), &outgoing, copies, count / copies) {
                // Interfaces without the offload, and kernels without the option, refuse with these errors.
                Err(error)
                    if matches!(error.raw_os_error(), Some(libc::EMSGSIZE | libc::EINVAL | libc::EIO)) =>
                {
                    control = plain;
                }
                result => return result.map(|sends| sends * copies).context(Action::Send),
            }
        }
        let outgoing = sys::Outgoing { address: address.as_slice(), control: control.as_slice(), payload };
        sys::send_copies(self.as_fd(), &outgoing, 1, count).context(Action::Send)
    }

    pub(super) fn bind(&self, address: SocketAddr) -> Result<(), SocketError> {
        self.inner.bind(&address.into()).context(Action::Bind)
    }

    /// Receives from this peer only.
    pub(super) fn connect(&self, peer: SocketAddr) -> Result<(), SocketError> {
        self.inner.connect(&peer.into()).context(Action::Configure)
    }

    /// Binds to a port that other sockets may hold too, without forming a reuseport group with them.
    ///
    /// Sockets that set `SO_REUSEPORT` before they bind to the same address form such a group, and where source filters
    /// leave a single receiver, recent kernels hand an IPv4 multicast datagram to any socket of that receiver's group,
    /// regardless of its filter (`udp_v4_early_demux`, then `inet_steal_sock`). Set after the bind, the option only admits
    /// sockets that set it alone.
    pub(super) fn bind_shared(&self, address: SocketAddr) -> Result<(), SocketError> {
        self.inner.set_reuse_address(true).context(Action::Configure)?;
        match self.bind(address) {
            // Held by a socket that set `SO_REUSEPORT` and not `SO_REUSEADDR`.
            Err(error) if error.kind() == SocketErrorKind::PortInUse => {
                self.share_port(true)?;
                self.bind(address)
            }
            Err(error) => Err(error),
            Ok(()) => self.share_port(true),
        }
    }

    /// Whether sockets with the same options may hold the port too. Set after the bind, this applies to later sockets.
    pub(super) fn share_port(&self, share: bool) -> Result<(), SocketError> {
        self.inner.set_reuse_address(share).context(Action::Configure)?;
        self.inner.set_reuse_port(share).context(Action::Configure)
    }

    /// Receives from and sends to this interface only (`SO_BINDTOIFINDEX`, needs no privilege).
    pub(super) fn bind_to_interface(&self, index: u32) -> Result<(), SocketError> {
        /// include/uapi/asm-generic/socket.h
        const SO_BINDTOIFINDEX: i32 = 62;
        self.set(libc::SOL_SOCKET, SO_BINDTOIFINDEX, index.cast_signed()).context(Action::Configure)
    }

    /// Receives only groups that this socket itself joined (`IP_MULTICAST_ALL`, `IPV6_MULTICAST_ALL`).
    pub(super) fn receive_only_joined_groups(&self) -> Result<(), SocketError> {
        match self.family {
            Family::V4 => self.set(libc::IPPROTO_IP, libc::IP_MULTICAST_ALL, 0),
            Family::V6 => self.set(libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_ALL, 0),
        }
        .context(Action::Configure)
    }

    /// Joins the group for one source only (`MCAST_JOIN_SOURCE_GROUP`, RFC 3678 section 5.1.2).
    pub(super) fn join_source(
        &self,
        group: IpAddr,
        interface_index: u32,
        source: IpAddr,
    ) -> Result<(), SocketError> {
        let level = if group.is_ipv4() { libc::IPPROTO_IP } else { libc::IPPROTO_IPV6 };
        let request = wire::group_source_request(interface_index, group, source);
        sys::set_option(self.as_fd(), level, libc::MCAST_JOIN_SOURCE_GROUP, &request).context(Action::Join)
    }

    /// Requests kernel receive timestamps and hop limits.
    pub(super) fn enable_timestamps_and_hop_limits(&self) -> Result<(), SocketError> {
        self.set(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1).context(Action::Configure)?;
        match self.family {
            Family::V4 => self.set(libc::IPPROTO_IP, libc::IP_RECVTTL, 1),
            Family::V6 => self.set(libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT, 1),
        }
        .context(Action::Configure)
    }

    /// Requests the interface that each datagram arrives on.
    pub(super) fn enable_packet_info(&self) -> Result<(), SocketError> {
        match self.family {
            Family::V4 => self.set(libc::IPPROTO_IP, libc::IP_PKTINFO, 1),
            Family::V6 => self.set(libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1),
        }
        .context(Action::Configure)
    }

    /// Lets the kernel coalesce equal-sized datagrams of one sender in one buffer (`UDP_GRO`).
    pub fn set_coalescing(&self, on: bool) -> Result<(), SocketError> {
        self.set(libc::SOL_UDP, libc::UDP_GRO, on.into()).context(Action::Configure)
    }

    /// Drops every datagram that arrives.
    pub fn drop_all_input(&self) -> Result<(), SocketError> {
        sys::drop_everything(self.as_fd()).context(Action::Configure)
    }

    pub(super) fn set_loopback(&self, on: bool) -> Result<(), SocketError> {
        match self.family {
            Family::V4 => self.inner.set_multicast_loop_v4(on),
            Family::V6 => self.inner.set_multicast_loop_v6(on),
        }
        .context(Action::Configure)
    }

    pub(super) fn set_multicast_hop_limit(&self, limit: u8) -> Result<(), SocketError> {
        match self.family {
            Family::V4 => self.inner.set_multicast_ttl_v4(limit.into()),
            Family::V6 => self.inner.set_multicast_hops_v6(limit.into()),
        }
        .context(Action::Configure)
    }

    pub(super) fn set_multicast_interface(&self, index: u32) -> Result<(), SocketError> {
        match self.family {
            Family::V4 => {
                // struct ip_mreqn: group, address, interface index
                let mut request = [0; 12];
                request[8..].copy_from_slice(&index.to_ne_bytes());
                sys::set_option(self.as_fd(), libc::IPPROTO_IP, libc::IP_MULTICAST_IF, &request)
            }
            Family::V6 => self.inner.set_multicast_if_v6(index),
        }
        .context(Action::Configure)
    }

    /// Requests a receive buffer of this size, beyond `net.core.rmem_max` if the process has the right.
    pub(super) fn set_receive_buffer(&self, requested: usize) -> Result<BufferSize, SocketError> {
        let granted = || Ok::<_, SocketError>(self.inner.recv_buffer_size().context(Action::Configure)? / 2);
        self.inner.set_recv_buffer_size(requested).context(Action::Configure)?;
        let mut size = BufferSize { requested, granted: granted()? };
        let forced = i32::try_from(requested).unwrap_or(i32::MAX);
        if size.granted < requested && self.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, forced).is_ok() {
            size.granted = granted()?;
        }
        Ok(size)
    }

    fn set(&self, level: i32, name: i32, value: i32) -> io::Result<()> {
        sys::set_option(self.as_fd(), level, name, &value.to_ne_bytes())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.as_raw_fd()
    }
}
