//! What is known of a received datagram besides its payload.

use std::net::SocketAddr;

use super::Timestamp;

/// The metadata of a received datagram: everything known besides its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatagramMeta<'a> {
    /// When the kernel received it (`SO_TIMESTAMPNS`, `CLOCK_REALTIME`).
    pub received_at: Timestamp,
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub interface: &'a str,
    /// The TTL or hop limit that was left on arrival, 0 to 255.
    pub hop_limit: Option<u8>,
    /// The payload was longer than the buffer; the rest is lost.
    pub truncated: bool,
}

/// The metadata that a response has besides that of any datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseMeta {
    /// Microseconds from the send to its arrival; none if the clock stepped in between.
    pub rtt_us: Option<u64>,
    /// The attempt that it belongs to, from 1; none if unknown.
    pub attempt: Option<u32>,
    /// This responder has responded to this message before; none if unknown, because the message has more responders
    /// than the service tells apart.
    pub duplicate: Option<bool>,
    /// It arrived after the message was closed.
    pub late: bool,
}
