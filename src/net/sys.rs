//! The system calls that no crate wraps safely for our use: recvmmsg(2), sendmmsg(2), epoll(7) and
//! socket options by number; and the calls of glibc's allocator. The only module of the crate with `unsafe`.
#![expect(unsafe_code, reason = "no dependency has a safe wrapper for these system calls")]
#![expect(clippy::cast_possible_truncation, reason = "sizes and constants of the kernel, all of them small")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::wire::{ADDRESS_BYTES, CONTROL_BYTES};

pub(super) fn set_option(fd: BorrowedFd<'_>, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    let length = libc::socklen_t::try_from(value.len()).map_err(io::Error::other)?;
    // SAFETY: `value` is readable for `length` bytes, and the kernel only reads it during the call.
    let result = unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, value.as_ptr().cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether there is an interface with this index, without the delay of the kernel's announcements.
pub fn interface_exists(index: u32) -> bool {
    let mut name: [libc::c_char; libc::IF_NAMESIZE] = [0; libc::IF_NAMESIZE];
    // SAFETY: the kernel writes at most `IF_NAMESIZE` bytes to `name`.
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr()) };
    !found.is_null()
}

/// Binds a netlink socket to a port of the kernel's choice and subscribes it to these groups, one bit for each.
pub(super) fn bind_netlink(fd: BorrowedFd<'_>, groups: u32) -> io::Result<()> {
    // SAFETY: all-zero is a valid sockaddr_nl.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    address.nl_groups = groups;
    let length = size_of_val(&address) as libc::socklen_t;
    // SAFETY: `address` is readable for `length` bytes, and the kernel only reads it during the call.
    let result = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Fills `value` and returns how many of its bytes the kernel wrote.
pub(super) fn get_option(fd: BorrowedFd<'_>, level: i32, name: i32, value: &mut [u8]) -> io::Result<usize> {
    let mut length = libc::socklen_t::try_from(value.len()).map_err(io::Error::other)?;
    // SAFETY: `value` is writable for `length` bytes, and the kernel writes at most that many.
    let result =
        unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, value.as_mut_ptr().cast(), &raw mut length) };
    if result == 0 { Ok(length as usize) } else { Err(io::Error::last_os_error()) }
}

/// How many bytes a stream socket holds that its peer has not taken (tcp(7), unix(7): `SIOCOUTQ`).
pub fn unsent_bytes(fd: BorrowedFd<'_>) -> io::Result<usize> {
    queued_bytes(fd, libc::TIOCOUTQ)
}

/// Whether bytes have arrived at a stream socket that were not read.
pub fn has_unread_bytes(fd: BorrowedFd<'_>) -> bool {
    queued_bytes(fd, libc::FIONREAD).is_ok_and(|bytes| bytes > 0)
}

fn queued_bytes(fd: BorrowedFd<'_>, request: libc::Ioctl) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: both requests write one int, to `bytes`, which lives until the call returns.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request, &raw mut bytes) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(usize::try_from(bytes).unwrap_or(0)) }
}

/// Installs a classic BPF program that drops every packet, so that a send-only socket's receive buffer never fills.
pub(super) fn drop_everything(fd: BorrowedFd<'_>) -> io::Result<()> {
    const RETURN_ZERO: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let mut program = [libc::sock_filter { code: RETURN_ZERO, jt: 0, jf: 0, k: 0 }];
    let filter = libc::sock_fprog { len: 1, filter: program.as_mut_ptr() };
    // SAFETY: `filter` points to one instruction that lives until the call returns; the kernel copies it.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const filter).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Buffers for one recvmmsg(2): payloads of any size (coalesced ones too), addresses, control messages.
///
/// Pages that no datagram reached are never touched, so the buffers cost only the memory that the traffic uses.
pub(super) struct ReceiveBuffers {
    payloads: Box<[u8]>,
    addresses: Box<[[u8; ADDRESS_BYTES]]>,
    controls: Box<[Control]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    /// How many headers the last call filled; they must be reset before the next.
    filled: usize,
}

#[repr(align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL_BYTES]);

// SAFETY: the raw pointers in `vectors` and `headers` point only into the boxes of the same value,
// which nothing else refers to and which do not move when the value does.
unsafe impl Send for ReceiveBuffers {}

/// One received buffer, as the kernel filled it.
pub(super) struct Raw<'a> {
    pub(super) address: &'a [u8],
    pub(super) control: &'a [u8],
    pub(super) payload: &'a [u8],
    pub(super) truncated: bool,
}

impl ReceiveBuffers {
    /// The largest UDP datagram, and the largest buffer that `UDP_GRO` coalesces.
    const PAYLOAD_BYTES: usize = 65_536;

    pub(super) fn new(buffers: usize) -> Self {
        let mut payloads = vec![0; buffers * Self::PAYLOAD_BYTES].into_boxed_slice();
        let mut addresses = vec![[0; ADDRESS_BYTES]; buffers].into_boxed_slice();
        let mut controls = vec![Control([0; CONTROL_BYTES]); buffers].into_boxed_slice();
        let mut vectors: Box<[_]> = payloads
            .chunks_exact_mut(Self::PAYLOAD_BYTES)
            .map(|payload| libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: payload.len() })
            .collect();
        let headers = (0..buffers)
            .map(|slot| {
                // SAFETY: all-zero is a valid msghdr; null pointers in it stand for "absent".
                let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
                header.msg_hdr.msg_name = addresses[slot].as_mut_ptr().cast();
                header.msg_hdr.msg_iov = &raw mut vectors[slot];
                header.msg_hdr.msg_iovlen = 1;
                header.msg_hdr.msg_control = controls[slot].0.as_mut_ptr().cast();
                header
            })
            .collect();
        Self { payloads, addresses, controls, vectors, headers, filled: buffers }
    }

    /// Releases the memory of the payloads to the kernel until the next call to `receive` needs it again.
    pub(super) fn release_pages(&mut self) {
        /// What `madvise(2)` works on; of larger pages, the kernel refuses a part.
        const PAGE_BYTES: usize = 4096;
        let before = self.payloads.as_ptr().align_offset(PAGE_BYTES);
        let Some(rest) = self.payloads.get_mut(before..) else { return };
        let whole_pages = rest.len() / PAGE_BYTES * PAGE_BYTES;
        // SAFETY: the range lies within a box that is borrowed mutably, and all of its bytes may become zeroes.
        unsafe {
            libc::madvise(rest.as_mut_ptr().cast(), whole_pages, libc::MADV_DONTNEED);
        }
    }

    /// Receives the queued datagrams without waiting; returns how many buffers were filled.
    pub(super) fn receive(&mut self, fd: BorrowedFd<'_>) -> io::Result<usize> {
        for header in &mut self.headers[..self.filled] {
            header.msg_hdr.msg_namelen = ADDRESS_BYTES as libc::socklen_t;
            header.msg_hdr.msg_controllen = CONTROL_BYTES as _;
            header.msg_hdr.msg_flags = 0;
        }
        self.filled = 0;
        let count = libc::c_uint::try_from(self.headers.len()).unwrap_or(libc::c_uint::MAX);
        debug_assert_eq!(self.vectors.len(), self.headers.len());
        // SAFETY: every header points into boxes owned by `self`, which is borrowed mutably for the
        // call, with their true lengths; no timeout is passed.
        let result = unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                self.headers.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        self.filled = usize::try_from(result).map_err(|_| io::Error::last_os_error())?;
        Ok(self.filled)
    }

    /// The buffer in this slot, as the last call to [`Self::receive`] filled it.
    #[expect(clippy::unnecessary_cast, reason = "`msg_controllen` is narrower with musl")]
    pub(super) fn raw(&self, slot: usize) -> Raw<'_> {
        let header = &self.headers[..self.filled][slot];
        let start = slot * Self::PAYLOAD_BYTES;
        Raw {
            address: &self.addresses[slot][..(header.msg_hdr.msg_namelen as usize).min(ADDRESS_BYTES)],
            control: &self.controls[slot].0[..(header.msg_hdr.msg_controllen as usize).min(CONTROL_BYTES)],
            payload: &self.payloads[start..start + (header.msg_len as usize).min(Self::PAYLOAD_BYTES)],
            truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
        }
    }
}

/// One datagram to send, in the kernel's layout.
pub(super) struct Outgoing<'a> {
    pub(super) address: &'a [u8],
    pub(super) control: &'a [u8],
    pub(super) payload: &'a [u8],
}

impl Outgoing<'_> {
    fn vector(&self) -> libc::iovec {
        libc::iovec { iov_base: self.payload.as_ptr().cast_mut().cast(), iov_len: self.payload.len() }
    }

    /// The message header for this datagram with its payload gathered from `count` vectors.
    fn header(&self, vectors: *mut libc::iovec, count: usize) -> libc::msghdr {
        // SAFETY: all-zero is a valid msghdr; null pointers in it stand for "absent".
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_name = self.address.as_ptr().cast_mut().cast();
        header.msg_namelen = self.address.len() as libc::socklen_t;
        header.msg_iov = vectors;
        header.msg_iovlen = count as _;
        if !self.control.is_empty() {
            header.msg_control = self.control.as_ptr().cast_mut().cast();
            header.msg_controllen = self.control.len() as _;
        }
        header
    }
}

/// Sends as many as the socket takes without waiting; returns how many. An error concerns the first datagram: none was
/// sent.
pub(super) fn send(fd: BorrowedFd<'_>, batch: &[Outgoing<'_>]) -> io::Result<usize> {
    /// `UIO_MAXIOV` bounds one call to 1,024; 64 amortise the call and fit the stack.
    const MAX_MESSAGES: usize = 64;
    let batch = &batch[..batch.len().min(MAX_MESSAGES)];
    let mut vectors = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; MAX_MESSAGES];
    // SAFETY: all-zero is a valid mmsghdr; null pointers in it stand for "absent".
    let mut headers: [libc::mmsghdr; MAX_MESSAGES] = unsafe { std::mem::zeroed() };
    for ((outgoing, vector), header) in batch.iter().zip(&mut vectors).zip(&mut headers) {
        *vector = outgoing.vector();
        header.msg_hdr = outgoing.header(vector, 1);
    }
    // SAFETY: the first `batch.len()` headers point to slices borrowed for the call, with their true
    // lengths; sendmmsg(2) only reads through them.
    let result = unsafe {
        libc::sendmmsg(
            fd.as_raw_fd(),
            headers.as_mut_ptr(),
            batch.len() as libc::c_uint,
            libc::MSG_DONTWAIT as _,
        )
    };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Most segments in one GSO send that every kernel takes (`UDP_MAX_SEGMENTS`, include/linux/udp.h).
pub(super) const MAX_SEGMENTS: usize = 64;

/// Sends the same datagram again and again: `messages` sends of `copies` datagrams each, all gathered from the
/// one payload. With more than one copy, `outgoing.control` must hold `UDP_SEGMENT` with the payload's length.
/// Returns how many of the sends the socket took; an error concerns the first.
pub(super) fn send_copies(
    fd: BorrowedFd<'_>,
    outgoing: &Outgoing<'_>,
    copies: usize,
    messages: usize,
) -> io::Result<usize> {
    /// Sends in one call; with 64 segments each, 1,024 datagrams.
    const MAX_MESSAGES: usize = 16;
    let (copies, messages) = (copies.min(MAX_SEGMENTS), messages.min(MAX_MESSAGES));
    let mut vectors = [outgoing.vector(); MAX_SEGMENTS];
    // SAFETY: all-zero is a valid mmsghdr; null pointers in it stand for "absent".
    let mut headers: [libc::mmsghdr; MAX_MESSAGES] = unsafe { std::mem::zeroed() };
    for header in &mut headers[..messages] {
        header.msg_hdr = outgoing.header(vectors.as_mut_ptr(), copies);
    }
    // SAFETY: the first `messages` headers point to `vectors` and to slices borrowed for the call, with their
    // true lengths; sendmmsg(2) only reads through them, so that they may share what they point to.
    let result = unsafe {
        libc::sendmmsg(
            fd.as_raw_fd(),
            headers.as_mut_ptr(),
            messages as libc::c_uint,
            libc::MSG_DONTWAIT as _,
        )
    };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Registers a descriptor with the runtime.
pub(super) fn watch<T: AsFd + AsRawFd>(owner: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    // SAFETY: `owner` is moved into the result and keeps its descriptor open, and the same one, until it
    // is deregistered: `T` is one of our wrappers or a borrow, none of which can swap descriptors.
    Ok(unsafe { AsyncFd::register_with_interest(owner, interest) }?)
}

/// A level-triggered epoll(7) instance.
pub(super) struct Epoll(OwnedFd);

impl Epoll {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: no pointers are passed.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call succeeded, so `fd` is open and has no other owner.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    pub(super) fn add(&self, fd: BorrowedFd<'_>, key: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: key };
        self.control(libc::EPOLL_CTL_ADD, fd, &raw mut event)
    }

    pub(super) fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, ptr::null_mut())
    }

    fn control(&self, operation: i32, fd: BorrowedFd<'_>, event: *mut libc::epoll_event) -> io::Result<()> {
        // SAFETY: both descriptors are open while borrowed; `event` is null or points to a live event.
        let result = unsafe { libc::epoll_ctl(self.0.as_raw_fd(), operation, fd.as_raw_fd(), event) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Waits until descriptors are readable and returns their keys.
    pub(super) fn wait<'a>(
        &self,
        events: &'a mut [libc::epoll_event],
        timeout: Duration,
    ) -> io::Result<impl ExactSizeIterator<Item = u64> + 'a> {
        let max_events = i32::try_from(events.len()).unwrap_or(i32::MAX);
        let timeout = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: `events` is writable for `max_events` events.
        let result =
            unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), max_events, timeout) };
        let filled = usize::try_from(result).map_err(|_| io::Error::last_os_error())?;
        Ok(events[..filled].iter().map(|event| event.u64))
    }
}

/// Bounds what glibc's allocator keeps at the end of each arena, which [`trim_heap`] does not release (`mallopt(3)`);
/// otherwise that bound grows with the largest block that was ever freed, up to 64 MiB. And bounds the number of arenas,
/// which is 8 for each core unless it is set. Call it before there are many threads.
pub fn bound_free_heap() {
    #[cfg(target_env = "gnu")]
    let arenas = std::thread::available_parallelism().map_or(2, |cores| 2 * cores.get());
    #[cfg(target_env = "gnu")]
    // SAFETY: the calls change only the allocator's own state, under its locks.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, libc::c_int::try_from(arenas).unwrap_or(libc::c_int::MAX));
        libc::mallopt(libc::M_TRIM_THRESHOLD, 256 * 1024);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 512 * 1024);
    }
}

/// Gives free memory of the heap back to the kernel (`malloc_trim(3)`); other allocators than glibc's do it on their own.
pub fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call changes only the allocator's own state, under its locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// The bytes that are free in the heap, released to the kernel or not (mallinfo(3)); 0 with another allocator than glibc's.
pub fn free_heap_bytes() -> u64 {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call reads the allocator's own state, under its locks.
    let free = unsafe { libc::mallinfo2() }.fordblks as u64;
    #[cfg(not(target_env = "gnu"))]
    let free = 0;
    free
}
