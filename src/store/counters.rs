//! The counters of a log.

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogCounters {
    /// Datagrams appended since the log began.
    pub appended: u64,
    /// Their payload bytes.
    pub payload_bytes: u64,
    /// Datagrams that retention has evicted.
    pub evicted: u64,
    /// Datagrams whose payload was longer than the buffer.
    pub truncated: u64,
    /// Datagrams that were dropped from memory before they were on disk, or could not be read from there: missing or damaged.
    pub lost: u64,
    /// Current size in bytes, in memory or on disk, including headers.
    pub kept_bytes: u64,
}

impl LogCounters {
    /// Datagrams that readers can read.
    pub fn kept(&self) -> u64 {
        self.appended - self.evicted - self.lost
    }
}
