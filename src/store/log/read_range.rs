//! The parameters of a read, and its errors.

use crate::model::Timestamp;
use crate::store::disk::DiskError;

/// The part of a log to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadRange {
    /// Only datagrams that are on disk.
    pub durable: bool,
    /// Skips whole blocks of earlier datagrams, though not every earlier datagram.
    pub since: Option<Timestamp>,
    /// A read ends with the block that reaches so many bytes, because its reader may hold the blocks for long.
    pub bytes: usize,
}

impl ReadRange {
    pub const ALL: Self = Self { durable: false, since: None, bytes: 1024 * 1024 };
    pub const DURABLE: Self = Self { durable: true, ..Self::ALL };
}

/// The log's owner is gone, and the log with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogClosed;

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the log was deleted while it was read, or its membership moved to another group")]
    Closed,
    #[error(transparent)]
    Disk(DiskError),
}

impl From<LogClosed> for ReadError {
    fn from(_: LogClosed) -> Self {
        Self::Closed
    }
}
