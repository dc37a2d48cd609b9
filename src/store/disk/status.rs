//! Whether the store can write, how far it lags behind, and what it has lost.

use std::path::PathBuf;
use std::time::Duration;

use super::error::DiskError;

/// The status of the store, as health checks and metrics report it.
#[derive(Debug, Clone)]
pub struct StoreStatus {
    /// Why the writer cannot write at the moment.
    pub error: Option<DiskError>,
    /// How long the oldest change has been waiting to be written.
    pub lag: Duration,
    /// The size of the database.
    pub file_bytes: u64,
    /// Blocks that could not be read, and are lost.
    pub lost_blocks: u64,
    /// Memberships, responders and messages that are damaged, and are not restored.
    pub set_aside: u64,
    /// Where the database is that was found damaged at the start, and replaced by one with all that was good.
    pub damaged_copy: Option<PathBuf>,
    /// How many bytes all logs may keep together, if the disk has no space for the configured bound.
    pub confined_to: Option<usize>,
}

impl StoreStatus {
    /// Longer than requests wait for the disk.
    const MAX_LAG: Duration = Duration::from_secs(10);

    /// Whether something in the data directory is damaged.
    pub fn is_damaged(&self) -> bool {
        self.lost_blocks > 0 || self.set_aside > 0 || self.damaged_copy.is_some()
    }

    /// Whether writing fails, or makes no progress.
    pub fn is_degraded(&self) -> bool {
        self.error.is_some() || self.lag > Self::MAX_LAG
    }
}
