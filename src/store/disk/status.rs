//! Whether the store can write, how far it lags behind, and what it has lost: what could not be read from the database is
//! counted and logged where it is noticed.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use super::error::DiskError;
use super::loading::Damage;
use crate::sync::Lock;

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

#[derive(Default)]
pub(super) struct Losses {
    blocks: AtomicU64,
    /// Std lock: held for a few lines. The names of the owners.
    set_aside: Mutex<BTreeSet<String>>,
    damaged_copy: OnceLock<PathBuf>,
}

impl Losses {
    /// Blocks whose datagrams are lost.
    pub(super) fn blocks(&self) -> u64 {
        self.blocks.load(Ordering::Relaxed)
    }

    /// Owners that are not restored.
    pub(super) fn set_aside(&self) -> u64 {
        self.set_aside.lock_shared().len() as u64
    }

    /// Where the database is that the start found damaged and replaced.
    pub(super) fn damaged_copy(&self) -> Option<PathBuf> {
        self.damaged_copy.get().cloned()
    }

    /// Notes that the start has replaced the database because of this error: where the damaged one is, and how many of
    /// its blocks were damaged.
    pub(super) fn note_rebuilt(&self, (copy, blocks): (PathBuf, usize), error: &DiskError) {
        tracing::error!(
            %error,
            copy = %copy.display(),
            blocks,
            "the database was damaged: the service goes on with a new one that has all that was good"
        );
        self.blocks.fetch_add(blocks as u64, Ordering::Relaxed);
        let _ = self.damaged_copy.set(copy);
    }

    /// Notes a block whose reader has logged it.
    pub(super) fn note_block(&self) {
        self.blocks.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note_set_aside(&self, name: &str, reason: &dyn Display) {
        tracing::error!(owner = name, %reason, "the service cannot restore a resource: it is set aside with its log");
        self.set_aside.lock_shared().insert(name.to_owned());
    }

    /// Notes that the owner with this name was created again.
    pub(super) fn note_replaced(&self, name: &str) {
        self.set_aside.lock_shared().remove(name);
    }

    /// Notes what the start has found damaged.
    pub(super) fn note(&self, damage: &Damage) {
        for name in &damage.set_aside {
            self.note_set_aside(name, &"its row in the database is damaged");
        }
        for name in &damage.without_spec {
            self.note_set_aside(name, &"a repair could not keep its specification");
        }
        for name in &damage.rebuilt {
            tracing::error!(
                owner = name,
                "the status and the counters of a resource are damaged, and begin again"
            );
        }
        if !damage.blocks.is_empty() {
            let blocks = damage.blocks.len();
            tracing::error!(blocks, "blocks of logs are damaged: their datagrams are lost");
            self.blocks.fetch_add(blocks as u64, Ordering::Relaxed);
        }
    }
}
