//! The bare loops: the same system calls as the service's, and nothing else.
#![expect(unsafe_code, reason = "bare system calls are what the service is compared with")]

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;

use socket2::{Domain, Protocol, Socket, Type};

pub(crate) const BUFFERS: usize = 32;
const BUFFER_BYTES: usize = 65_536;
const CONTROL_BYTES: usize = 128;

/// Asked for as receive buffer on both sides.
pub(crate) const RECEIVE_BUFFER: usize = 4 << 20;

/// A socket joined on `lo` and bound to the group, as the service's are.
pub(crate) fn join(group: SocketAddr, coalesce: bool) -> io::Result<Socket> {
    let domain = Domain::for_address(group);
    let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    set(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, i32::try_from(RECEIVE_BUFFER).unwrap_or(i32::MAX))
        .or_else(|_| socket.set_recv_buffer_size(RECEIVE_BUFFER))?;
    if coalesce {
        set(&socket, libc::SOL_UDP, libc::UDP_GRO, 1)?;
    }
    set(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)?;
    match group {
        SocketAddr::V4(v4) => {
            set(&socket, libc::IPPROTO_IP, libc::IP_RECVTTL, 1)?;
            socket.join_multicast_v4_n(v4.ip(), &socket2::InterfaceIndexOrAddress::Index(1))?;
        }
        SocketAddr::V6(v6) => {
            set(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT, 1)?;
            socket.join_multicast_v6(v6.ip(), 1)?;
        }
    }
    socket.bind(&group.into())?;
    Ok(socket)
}

/// A socket that sends to groups on `lo`.
pub(crate) fn sender(group: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(group), Type::DGRAM, Some(Protocol::UDP))?;
    match group {
        SocketAddr::V4(_) => {
            socket.set_multicast_if_v4(&Ipv4Addr::LOCALHOST)?;
            socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        }
        SocketAddr::V6(_) => {
            socket.set_multicast_if_v6(1)?;
            socket.bind(&SocketAddr::from((Ipv6Addr::LOCALHOST, 0)).into())?;
        }
    }
    Ok(socket)
}

pub(crate) fn dropped(socket: &Socket) -> u64 {
    let mut info = [0_u32; 9];
    let mut length = 36;
    // SAFETY: `info` is writable for the 36 bytes that `length` says.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result == 0 { info[8].into() } else { 0 }
}

fn set(socket: &Socket, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: the option is an int, and `value` lives until the call returns.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), 4) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Room for one recvmmsg(2).
pub(crate) struct Room {
    payloads: Vec<u8>,
    addresses: Vec<libc::sockaddr_in6>,
    controls: Vec<[u64; CONTROL_BYTES / 8]>,
    vectors: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

impl Room {
    pub(crate) fn new() -> Self {
        // SAFETY: all-zero is valid for these C structures.
        let (address, header) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        let mut room = Self {
            payloads: vec![0; BUFFERS * BUFFER_BYTES],
            addresses: vec![address; BUFFERS],
            controls: vec![[0; CONTROL_BYTES / 8]; BUFFERS],
            vectors: Vec::with_capacity(BUFFERS),
            headers: vec![header; BUFFERS],
        };
        for payload in room.payloads.chunks_exact_mut(BUFFER_BYTES) {
            room.vectors.push(libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: BUFFER_BYTES });
        }
        for slot in 0..BUFFERS {
            let header = &mut room.headers[slot].msg_hdr;
            header.msg_name = (&raw mut room.addresses[slot]).cast();
            header.msg_iov = &raw mut room.vectors[slot];
            header.msg_iovlen = 1;
            header.msg_control = (&raw mut room.controls[slot]).cast();
        }
        room
    }

    /// Receives the queued datagrams; calls back with each buffer and the datagrams' size in it.
    pub(crate) fn receive(
        &mut self,
        socket: &Socket,
        mut each: impl FnMut(&[u8], usize, &libc::sockaddr_in6),
    ) -> usize {
        for header in &mut self.headers {
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
            header.msg_hdr.msg_controllen = CONTROL_BYTES as _;
        }
        // SAFETY: every header points into vectors owned by `self`, with their true lengths.
        let result = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                BUFFERS as u32,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        let filled = usize::try_from(result).unwrap_or(0);
        for slot in 0..filled {
            let length = self.headers[slot].msg_len as usize;
            let start = slot * BUFFER_BYTES;
            let segment = segment_size(&self.headers[slot].msg_hdr).unwrap_or(length);
            each(&self.payloads[start..start + length], segment, &self.addresses[slot]);
        }
        filled
    }
}

fn segment_size(header: &libc::msghdr) -> Option<usize> {
    // SAFETY: the kernel has filled the control buffer and its length; the macros stay inside it.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while !message.is_null() {
            if (*message).cmsg_level == libc::SOL_UDP && (*message).cmsg_type == libc::UDP_GRO {
                return usize::try_from(ptr::read_unaligned(libc::CMSG_DATA(message).cast::<i32>())).ok();
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    None
}

/// Sends `sends` datagrams, or with `segments` above 1 as many coalesced buffers, each to the next of `groups`.
pub(crate) fn send(
    socket: &Socket,
    groups: &[SocketAddr],
    payload: &[u8],
    segments: usize,
    sends: usize,
) -> usize {
    const AT_ONCE: usize = 32;
    let mut done = 0;
    let addresses: Vec<socket2::SockAddr> = groups.iter().map(|group| (*group).into()).collect();
    let mut control = [0_u64; 4];
    // SAFETY: all-zero is a valid msghdr.
    let mut template: libc::msghdr = unsafe { std::mem::zeroed() };
    template.msg_control = control.as_mut_ptr().cast();
    // SAFETY: the control buffer of 32 bytes holds one header and a u16.
    unsafe {
        template.msg_controllen = libc::CMSG_SPACE(2) as _;
        let message = libc::CMSG_FIRSTHDR(&raw const template);
        (*message).cmsg_level = libc::SOL_UDP;
        (*message).cmsg_type = libc::UDP_SEGMENT;
        (*message).cmsg_len = libc::CMSG_LEN(2) as _;
        ptr::write_unaligned(libc::CMSG_DATA(message).cast::<u16>(), payload.len() as u16);
    }
    let vector = libc::iovec { iov_base: payload.as_ptr().cast_mut().cast(), iov_len: payload.len() };
    let mut vectors = vec![vector; segments];
    while done < sends {
        let now = AT_ONCE.min(sends - done);
        // SAFETY: all-zero is a valid mmsghdr.
        let mut headers: [libc::mmsghdr; AT_ONCE] = unsafe { std::mem::zeroed() };
        for (position, header) in headers[..now].iter_mut().enumerate() {
            let address = &addresses[(done + position) % addresses.len()];
            header.msg_hdr.msg_name = address.as_ptr().cast_mut().cast();
            header.msg_hdr.msg_namelen = address.len();
            header.msg_hdr.msg_iov = vectors.as_mut_ptr();
            header.msg_hdr.msg_iovlen = segments as _;
            if segments > 1 {
                header.msg_hdr.msg_control = template.msg_control;
                header.msg_hdr.msg_controllen = template.msg_controllen;
            }
        }
        // SAFETY: the first `now` headers point to live buffers with their true lengths.
        let result = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), now as u32, 0) };
        done += usize::try_from(result).unwrap_or(1);
    }
    done
}

/// Answers each of these peers.
pub(crate) fn answer(socket: &Socket, peers: &[libc::sockaddr_in6], payload: &[u8]) {
    let mut vector = libc::iovec { iov_base: payload.as_ptr().cast_mut().cast(), iov_len: payload.len() };
    // SAFETY: all-zero is a valid mmsghdr.
    let mut headers: [libc::mmsghdr; BUFFERS] = unsafe { std::mem::zeroed() };
    for (header, peer) in headers.iter_mut().zip(peers) {
        header.msg_hdr.msg_name = ptr::from_ref(peer).cast_mut().cast();
        header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        header.msg_hdr.msg_iov = &raw mut vector;
        header.msg_hdr.msg_iovlen = 1;
    }
    // SAFETY: the first headers point to live buffers with their true lengths.
    unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            peers.len().min(BUFFERS) as u32,
            libc::MSG_DONTWAIT as _,
        )
    };
}

/// An epoll(7) instance over many sockets.
pub(crate) struct Epoll(OwnedFd);

impl Epoll {
    pub(crate) fn over(sockets: &[Socket]) -> io::Result<Self> {
        use std::os::fd::FromRawFd;
        // SAFETY: a fresh descriptor without another owner.
        let epoll = unsafe { OwnedFd::from_raw_fd(libc::epoll_create1(libc::EPOLL_CLOEXEC)) };
        for (position, socket) in sockets.iter().enumerate() {
            let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: position as u64 };
            // SAFETY: both descriptors are open and `event` is live.
            if unsafe {
                libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, socket.as_raw_fd(), &raw mut event)
            } != 0
            {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(Self(epoll))
    }

    /// Waits up to 100 ms for sockets to be readable.
    pub(crate) fn wait(&self, mut each: impl FnMut(usize)) {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
        // SAFETY: `events` has room for 64.
        let ready = unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), 64, 100) };
        for event in &events[..usize::try_from(ready).unwrap_or(0)] {
            each(usize::try_from(event.u64).unwrap_or(0));
        }
    }
}
