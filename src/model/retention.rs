//! Limits on the log of one resource.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How much one resource's log keeps, where that is less than the service allows every log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    pub datagrams: Option<u64>,
    /// Records: payloads and their metadata.
    pub bytes: Option<u64>,
    pub age: Option<Duration>,
}

impl Retention {
    /// The lowest value allowed for `bytes`: a log evicts a block at a time.
    pub const MIN_BYTES: u64 = 65_536;
    /// The largest number that the API document's 64-bit integers have.
    pub const MAX: u64 = i64::MAX.cast_unsigned();
    /// A year.
    pub const MAX_AGE_MS: u64 = 31_536_000_000;
}
