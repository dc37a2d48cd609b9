//! Netlink sockets, and the form of the messages on them (netlink(7)).
//!
//! The kernel processes a request within sendto(2), and each further part of a dump within recvmsg(2): a reply is there
//! when the call returns, or it is lost. So nothing here waits, except for the kernel's own locks.

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use netlink_packet_core::{
    DecodeError, NLM_F_DUMP_INTR, NLM_F_MULTIPART, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer,
    NlaBuffer, NlasIterator,
};
use socket2::{Domain, Protocol, SockFilter, Type};

use crate::net::sys;

/// Opens netlink sockets: the kernel's, or in tests ones that lose replies.
pub(super) trait Netlink: Send + Sync {
    /// A socket for requests.
    fn open(&self) -> io::Result<Box<dyn NetlinkSocket>>;

    /// A socket that receives a notification of every change of links and addresses, and of the routes of interfaces to
    /// IPv6 groups. It is used for nothing else: if
    /// notifications overflowed its buffer, a reply would be lost with them.
    fn subscribe_to_interfaces(&self) -> io::Result<Box<dyn NetlinkSocket>>;

    /// A socket that receives a notification of every change that can choose another route, up to a few: then it
    /// overflows.
    fn subscribe_to_routes(&self) -> io::Result<Box<dyn NetlinkSocket>>;
}

/// A non-blocking socket. Only the kernel, and processes that may change interfaces anyway, can send to it.
pub(super) trait NetlinkSocket: AsFd + Send {
    fn send(&self, request: &[u8]) -> io::Result<()>;

    /// Receives one datagram of messages and returns its length; `ENOBUFS` when the socket has lost some.
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize>;
}

/// Size of a buffer for any datagram: the kernel makes those of a dump up to 32 KiB long.
pub(super) const DATAGRAM_BYTES: usize = 64 * 1024;

/// Bytes of `struct nlmsghdr`.
const HEADER_BYTES: usize = 16;

/// The kernel's own sockets.
pub(super) struct KernelNetlink;

impl Netlink for KernelNetlink {
    fn open(&self) -> io::Result<Box<dyn NetlinkSocket>> {
        Ok(Box::new(KernelSocket::open()?))
    }

    fn subscribe_to_interfaces(&self) -> io::Result<Box<dyn NetlinkSocket>> {
        /// For a storm of changes; the kernel may grant less, depending on `net.core.rmem_max` and our rights.
        const BUFFER_BYTES: i32 = 4 << 20;
        let groups = [&INTERFACE_GROUPS[..], &[libc::RTNLGRP_IPV6_ROUTE]].concat();
        let socket = KernelSocket::subscribed(&groups, BUFFER_BYTES)?;
        socket.0.attach_filter(&only_routes_to_groups())?;
        Ok(Box::new(socket))
    }

    fn subscribe_to_routes(&self) -> io::Result<Box<dyn NetlinkSocket>> {
        /// A page: the kernel grants one message at least.
        const BUFFER_BYTES: i32 = 4096;
        let groups = [&INTERFACE_GROUPS[..], &ROUTE_GROUPS].concat();
        Ok(Box::new(KernelSocket::subscribed(&groups, BUFFER_BYTES)?))
    }
}

const INTERFACE_GROUPS: [u32; 4] =
    [libc::RTNLGRP_LINK, libc::RTNLGRP_IPV4_IFADDR, libc::RTNLGRP_IPV6_IFADDR, libc::RTNLGRP_IPV6_IFINFO];
const ROUTE_GROUPS: [u32; 5] = [
    libc::RTNLGRP_IPV4_ROUTE,
    libc::RTNLGRP_IPV4_RULE,
    libc::RTNLGRP_IPV6_ROUTE,
    libc::RTNLGRP_IPV6_RULE,
    RTNLGRP_NEXTHOP,
];
// include/uapi/linux/rtnetlink.h
const RTNLGRP_NEXTHOP: u32 = 32;

/// A filter (`SO_ATTACH_FILTER`, socket(7)) that drops messages about routes, but for those to `ff00::/8` in the local
/// table: a router announces thousands of others.
fn only_routes_to_groups() -> [SockFilter; 9] {
    const LOAD_HALF: u32 = libc::BPF_LD | libc::BPF_H | libc::BPF_ABS;
    const LOAD_BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
    const IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    // Offsets of `nlmsg_type` in `struct nlmsghdr`, and of `rtm_dst_len` and `rtm_table` in `struct rtmsg` after it.
    const KIND: u32 = 4;
    const PREFIX: u32 = 17;
    const TABLE: u32 = 20;
    let step = |code: u32, jump_true, jump_false, value| {
        SockFilter::new(u16::try_from(code).expect("codes are bytes"), jump_true, jump_false, value)
    };
    // The filter loads in network order.
    let loaded = |kind: u16| u32::from(u16::from_be_bytes(kind.to_ne_bytes()));
    [
        step(LOAD_HALF, 0, 0, KIND),
        step(IF_EQUAL, 1, 0, loaded(libc::RTM_NEWROUTE)),
        step(IF_EQUAL, 0, 4, loaded(libc::RTM_DELROUTE)),
        step(LOAD_BYTE, 0, 0, PREFIX),
        step(IF_EQUAL, 0, 3, 8),
        step(LOAD_BYTE, 0, 0, TABLE),
        step(IF_EQUAL, 0, 1, libc::RT_TABLE_LOCAL.into()),
        step(RETURN, 0, 0, u32::MAX),
        step(RETURN, 0, 0, 0),
    ]
}

struct KernelSocket(socket2::Socket);

impl KernelSocket {
    fn open() -> io::Result<Self> {
        let (domain, protocol) = (Domain::from(libc::AF_NETLINK), Protocol::from(libc::NETLINK_ROUTE));
        socket2::Socket::new(domain, Type::RAW.nonblocking(), Some(protocol)).map(Self)
    }

    /// Opens a socket for the notifications of these groups (`RTNLGRP_*`).
    fn subscribed(groups: &[u32], buffer_bytes: i32) -> io::Result<Self> {
        let socket = Self::open()?;
        let set_buffer =
            |name| sys::set_option(socket.as_fd(), libc::SOL_SOCKET, name, &buffer_bytes.to_ne_bytes());
        set_buffer(libc::SO_RCVBUFFORCE).or_else(|_| set_buffer(libc::SO_RCVBUF))?;
        // An unbound socket would receive nothing: with port 0, which is the kernel's own, it counts as the sender.
        sys::bind_netlink(socket.as_fd(), groups.iter().map(|group| 1 << (group - 1)).sum())?;
        Ok(socket)
    }
}

impl NetlinkSocket for KernelSocket {
    fn send(&self, request: &[u8]) -> io::Result<()> {
        self.0.send(request).map(drop)
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.0).read(buffer)
    }
}

impl AsFd for KernelSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// One netlink message.
pub(super) struct NetlinkMessage<'a> {
    pub(super) kind: u16,
    flags: u16,
    sequence: u32,
    pub(super) payload: &'a [u8],
}

/// The messages of one datagram. A malformed or truncated message gives an error and is the last.
pub(super) fn messages(datagram: &[u8]) -> impl Iterator<Item = io::Result<NetlinkMessage<'_>>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let message = NetlinkBuffer::new_checked(rest);
        // Each message begins at a multiple of four bytes (`NLMSG_ALIGN`).
        let length = message.as_ref().map_or(rest.len(), |message| message.length() as usize);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message.map_err(malformed).map(|message| NetlinkMessage {
            kind: message.message_type(),
            flags: message.flags(),
            sequence: message.sequence_number(),
            payload: message.payload(),
        }))
    })
}

fn malformed(error: DecodeError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The `LENGTH` bytes of a message or attribute from this offset on.
pub(super) fn field<const LENGTH: usize>(bytes: &[u8], from: usize) -> io::Result<[u8; LENGTH]> {
    let field = bytes.get(from..).and_then(<[u8]>::first_chunk);
    field.copied().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a netlink message is too short"))
}

/// The attributes after a header.
pub(super) fn attributes(
    payload: &[u8],
    header: usize,
) -> impl Iterator<Item = io::Result<NlaBuffer<&[u8]>>> {
    NlasIterator::new(payload.get(header..).unwrap_or_default()).map(|attribute| attribute.map_err(malformed))
}

/// The address in an attribute of a message of this family; none if the family is not IP.
pub(super) fn ip(family: u8, value: &[u8]) -> io::Result<Option<IpAddr>> {
    Ok(match family {
        AF_INET => Some(Ipv4Addr::from(field::<4>(value, 0)?).into()),
        AF_INET6 => Some(Ipv6Addr::from(field::<16>(value, 0)?).into()),
        _ => None,
    })
}

// As one octet, the form in these messages (include/linux/socket.h).
pub(super) const AF_UNSPEC: u8 = 0;
pub(super) const AF_INET: u8 = 2;
pub(super) const AF_INET6: u8 = 10;

/// A request, which gets its sequence number when it is sent.
pub(super) struct Request(Vec<u8>);

impl Request {
    /// `header`: the fixed header for this kind of message (rtnetlink(7)).
    pub(super) fn new(kind: u16, flags: u16, header: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes.extend(header);
        let mut buffer = NetlinkBuffer::new(&mut bytes);
        buffer.set_message_type(kind);
        buffer.set_flags(NLM_F_REQUEST | flags);
        Self(bytes)
    }

    pub(super) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(4 + value.len()).expect("attributes are a few bytes long");
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub(super) fn numbered(&mut self, sequence: u32) -> &[u8] {
        let length = u32::try_from(self.0.len()).expect("requests are short");
        let mut buffer = NetlinkBuffer::new(&mut self.0);
        buffer.set_length(length);
        buffer.set_sequence_number(sequence);
        &self.0
    }
}

/// The kernel's reply.
pub(super) struct NetlinkReply<T> {
    pub(super) parts: Vec<T>,
    /// Something changed during the dump, so that parts may be missing (`NLM_F_DUMP_INTR`).
    pub(super) interrupted: bool,
}

/// Sends requests one after the other.
pub(super) struct Client {
    netlink: Arc<dyn Netlink>,
    /// None before the first request, and after a lost reply: on a new socket, a late reply cannot be taken for the
    /// next.
    socket: Option<Box<dyn NetlinkSocket>>,
    buffer: Box<[u8]>,
    sequence: u32,
}

enum Failure {
    /// The kernel's own reply.
    Refused(io::Error),
    Lost(io::Error),
}

impl Client {
    pub(super) fn new(netlink: Arc<dyn Netlink>, max_datagram: usize) -> Self {
        Self { netlink, socket: None, buffer: vec![0; max_datagram].into(), sequence: 0 }
    }

    /// Sends a request and returns the parts of the reply that `read` finds. An error is the kernel's own, or of kind
    /// [`io::ErrorKind::TimedOut`] if replies are lost again and again.
    pub(super) fn request<T>(
        &mut self,
        request: &mut Request,
        mut read: impl FnMut(&NetlinkMessage<'_>) -> io::Result<Option<T>>,
    ) -> io::Result<NetlinkReply<T>> {
        const TRIES: usize = 3;
        let mut lost = io::Error::from(io::ErrorKind::TimedOut);
        for _ in 0..TRIES {
            let socket = match self.socket.take() {
                Some(socket) => socket,
                None => self.netlink.open()?,
            };
            let result = match self.try_once(&*socket, request, &mut read) {
                Err(Failure::Lost(error)) => {
                    lost = error;
                    continue;
                }
                Err(Failure::Refused(error)) => Err(error),
                Ok(reply) => Ok(reply),
            };
            self.socket = Some(socket);
            return result;
        }
        let lost = format!("the kernel's reply was lost {TRIES} times: {lost}");
        Err(io::Error::new(io::ErrorKind::TimedOut, lost))
    }

    fn try_once<T>(
        &mut self,
        socket: &dyn NetlinkSocket,
        request: &mut Request,
        read: &mut impl FnMut(&NetlinkMessage<'_>) -> io::Result<Option<T>>,
    ) -> Result<NetlinkReply<T>, Failure> {
        const MAX_WAIT: Duration = Duration::from_secs(1);
        let started = Instant::now();
        self.sequence = self.sequence.wrapping_add(1);
        socket.send(request.numbered(self.sequence)).map_err(Failure::Lost)?;
        let mut reply = NetlinkReply { parts: Vec::new(), interrupted: false };
        while started.elapsed() < MAX_WAIT {
            let length = socket.receive(&mut self.buffer).map_err(Failure::Lost)?;
            for message in messages(&self.buffer[..length]) {
                let message = message.map_err(Failure::Lost)?;
                if message.sequence != self.sequence {
                    continue;
                }
                reply.interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
                if let NLMSG_ERROR | NLMSG_DONE = message.kind {
                    let code = i32::from_ne_bytes(field(message.payload, 0).map_err(Failure::Lost)?);
                    let error = io::Error::from_raw_os_error(code.saturating_neg());
                    return match (message.kind, code) {
                        (NLMSG_DONE, 0) => Ok(reply),
                        (NLMSG_DONE, _) => Err(Failure::Lost(error)),
                        _ => Err(Failure::Refused(error)),
                    };
                }
                reply.parts.extend(read(&message).map_err(Failure::Lost)?);
                if message.flags & NLM_F_MULTIPART == 0 {
                    return Ok(reply);
                }
            }
        }
        Err(Failure::Lost(io::ErrorKind::TimedOut.into()))
    }
}
