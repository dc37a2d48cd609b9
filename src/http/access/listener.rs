//! The listeners, as far as access depends on them.

/// The kind of listener that a request came in through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerKind {
    /// A TCP address that other hosts reach.
    Remote,
    /// A loopback address.
    Loopback,
    /// A unix socket, where host names mean nothing, and no browser connects.
    Unix,
}
