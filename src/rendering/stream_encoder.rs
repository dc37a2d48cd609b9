//! The common parts of the formats of a log.

use crate::contract::datagrams::GapBody;
use crate::contract::datagrams::ItemKind;
use crate::store::{Cursor, Entry};

/// Encodes a stream, by appending to a chunk.
pub trait StreamEncoder: Send + 'static {
    /// `after`: the cursor from which the stream reads on.
    fn begin(&mut self, out: &mut Vec<u8>, after: Option<Cursor>);
    fn gap(&mut self, out: &mut Vec<u8>, cursor: Cursor, gap: &GapBody);
    /// `cursor` is the position after the datagram.
    fn datagram(&mut self, out: &mut Vec<u8>, items: ItemKind, cursor: Cursor, entry: &Entry<'_>);
    /// Ends the stream.
    fn end(&mut self, out: &mut Vec<u8>, reason: EndReason);
    /// A heartbeat, which readers skip. `after`: the cursor reached so far.
    fn heartbeat(&mut self, out: &mut Vec<u8>, after: Option<Cursor>);
}

/// Why a stream that follows its log has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// The log is gone: its owner was deleted, or has moved to another group.
    Deleted,
    /// The log belongs to a message that accepts no more responses.
    Complete,
    Stopping,
    /// The token of the request was revoked, lost its scope, or has expired.
    Unauthorized,
}

impl EndReason {
    pub fn name(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Complete => "complete",
            Self::Stopping => "stopping",
            Self::Unauthorized => "unauthorized",
        }
    }
}
