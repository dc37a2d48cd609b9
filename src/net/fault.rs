use std::fmt;
use std::io;

/// A socket operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("{action} failed: {source}")]
pub struct Fault {
    pub action: Action,
    #[source]
    pub source: io::Error,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
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
            Self::Open => "opening a socket",
            Self::Configure => "configuring a socket",
            Self::Join => "joining the group",
            Self::Filter => "setting the source filter",
            Self::Bind => "binding to the address",
            Self::Send => "sending",
            Self::Interfaces => "asking the kernel for interfaces and routes",
        })
    }
}

/// What a fault means to whoever asked for the operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
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
    /// The send buffer is full; later it will not be.
    Busy,
    /// There is no address to send from.
    NoAddress,
    /// The routing table discards it: a `blackhole`.
    Refused,
    /// The kernel gave no answer in time.
    TimedOut,
    Other,
}

impl Fault {
    pub fn kind(&self) -> FaultKind {
        match self.source.raw_os_error() {
            Some(libc::EADDRINUSE) => FaultKind::PortInUse,
            Some(libc::EACCES | libc::EPERM) => FaultKind::Denied,
            Some(libc::EMFILE | libc::ENFILE) => FaultKind::Descriptors,
            Some(libc::ENETUNREACH | libc::EHOSTUNREACH) => FaultKind::NoRoute,
            Some(libc::ENODEV | libc::ENXIO) => FaultKind::NoDevice,
            Some(libc::EINVAL | libc::EADDRNOTAVAIL)
                if matches!(self.action, Action::Join | Action::Filter) =>
            {
                FaultKind::NoDevice
            }
            Some(libc::ENETDOWN) => FaultKind::Down,
            Some(libc::EADDRNOTAVAIL) if self.action == Action::Interfaces => FaultKind::NoAddress,
            Some(libc::EINVAL) if self.action == Action::Interfaces => FaultKind::Refused,
            Some(libc::EADDRNOTAVAIL) => FaultKind::AddressNotLocal,
            // The source is not an address of this host any more (`ip_route_output_key_hash_rcu`).
            Some(libc::EINVAL) if self.action == Action::Send => FaultKind::AddressNotLocal,
            Some(libc::ENOBUFS) if self.action == Action::Filter => FaultKind::TooManySources,
            Some(libc::EMSGSIZE) => FaultKind::TooLong,
            Some(libc::EAGAIN) => FaultKind::Busy,
            None if self.source.kind() == io::ErrorKind::TimedOut => FaultKind::TimedOut,
            _ => FaultKind::Other,
        }
    }
}

/// Names the action that an I/O error interrupted.
pub(super) trait Doing<T> {
    fn doing(self, action: Action) -> Result<T, Fault>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, action: Action) -> Result<T, Fault> {
        self.map_err(|source| Fault { action, source })
    }
}
