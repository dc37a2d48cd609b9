//! Errors of sockets and of netlink, and what they mean to the caller.

use std::fmt;
use std::io;

/// A socket operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("{action} failed: {source}")]
pub struct SocketError {
    pub action: Action,
    #[source]
    pub source: io::Error,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    StartThread,
    Open,
    Configure,
    Join,
    Filter,
    Bind,
    Send,
    Interfaces,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StartThread => "starting a thread",
            Self::Open => "opening a socket",
            Self::Configure => "configuring a socket",
            Self::Join => "joining the group",
            Self::Filter => "setting the source filter",
            Self::Bind => "binding to the address",
            Self::Send => "sending",
            Self::Interfaces => "reading interfaces and routes from the kernel",
        })
    }
}

/// The meaning of an error to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketErrorKind {
    /// Another socket has the port for itself.
    PortInUse,
    Denied,
    /// The process or the system is out of file descriptors.
    Descriptors,
    NoRoute,
    /// The interface is gone, or has no list of the family's groups any more.
    NoDevice,
    /// The interface is down.
    Down,
    AddressNotLocal,
    /// The filter names more sources than `igmp_max_msf` or `mld_max_msf` allow.
    TooManySources,
    /// The datagram is larger than the interface can carry.
    TooLong,
    /// The socket may not join another group.
    TooManyGroups,
    /// The datagram, with what its fragments take, exceeds the send buffer, or the system is out of memory.
    NoBuffers,
    /// The send buffer is full: try again later.
    Busy,
    /// There is no address to send from.
    NoAddress,
    /// The routing table refuses the destination: an `unreachable` or `blackhole` route or rule.
    Refused,
    /// The kernel has not replied in time.
    TimedOut,
    Other,
}

impl SocketError {
    /// The error of a send from a socket that has been closed in the meantime.
    pub fn socket_closed() -> Self {
        Self { action: Action::Send, source: io::Error::from_raw_os_error(libc::EBADF) }
    }

    pub fn kind(&self) -> SocketErrorKind {
        match self.source.raw_os_error() {
            Some(libc::EADDRINUSE) => SocketErrorKind::PortInUse,
            Some(libc::EACCES | libc::EPERM) => SocketErrorKind::Denied,
            Some(libc::EMFILE | libc::ENFILE) => SocketErrorKind::Descriptors,
            Some(libc::EHOSTUNREACH) if self.action == Action::Interfaces => SocketErrorKind::Refused,
            Some(libc::ENETUNREACH | libc::EHOSTUNREACH) => SocketErrorKind::NoRoute,
            Some(libc::ENODEV | libc::ENXIO) => SocketErrorKind::NoDevice,
            Some(libc::EINVAL | libc::EADDRNOTAVAIL)
                if matches!(self.action, Action::Join | Action::Filter) =>
            {
                SocketErrorKind::NoDevice
            }
            Some(libc::ENETDOWN) => SocketErrorKind::Down,
            Some(libc::EADDRNOTAVAIL) if self.action == Action::Interfaces => SocketErrorKind::NoAddress,
            Some(libc::EINVAL) if self.action == Action::Interfaces => SocketErrorKind::Refused,
            Some(libc::EADDRNOTAVAIL) => SocketErrorKind::AddressNotLocal,
            // The source is not an address of this host any more (`ip_route_output_key_hash_rcu`).
            Some(libc::EINVAL) if self.action == Action::Send => SocketErrorKind::AddressNotLocal,
            Some(libc::ENOBUFS) if self.action == Action::Filter => SocketErrorKind::TooManySources,
            Some(libc::ENOBUFS) if self.action == Action::Join => SocketErrorKind::TooManyGroups,
            Some(libc::ENOBUFS) if self.action == Action::Send => SocketErrorKind::NoBuffers,
            Some(libc::EMSGSIZE) => SocketErrorKind::TooLong,
            Some(libc::EAGAIN) => SocketErrorKind::Busy,
            None if self.source.kind() == io::ErrorKind::TimedOut => SocketErrorKind::TimedOut,
            _ => SocketErrorKind::Other,
        }
    }
}

/// Names the action that an I/O error interrupted.
pub(super) trait WithAction<T> {
    fn context(self, action: Action) -> Result<T, SocketError>;
}

impl<T> WithAction<T> for io::Result<T> {
    fn context(self, action: Action) -> Result<T, SocketError> {
        self.map_err(|source| SocketError { action, source })
    }
}
