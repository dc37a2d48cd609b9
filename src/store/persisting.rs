//! The store and one log: registers the log with the writer, and waits until it is on disk.

use std::sync::{Arc, Weak};

use super::disk::{DiskError, Persist, Store, TrackedLog};
use super::log::Log;

impl Store {
    /// Keeps the log and its owner on disk from now on. `is_new`: they are not there yet.
    pub fn persist(&self, kind: &str, id: &str, log: &Arc<Log>, owner: Weak<dyn Persist>, is_new: bool) {
        if let Some(handle) = log.handle() {
            let tracked =
                TrackedLog { kind: kind.to_owned(), id: id.to_owned(), log: log.clone(), owner, is_new };
            self.track(handle.number(), tracked);
        }
    }

    /// Resolves once all datagrams in the log until now are on disk, or with the error that prevents it. Cancel-safe.
    pub async fn wait_durable(&self, log: &Log) -> Result<(), DiskError> {
        let next = log.next_sequence();
        while !log.is_saved_before(next) {
            self.flushed_soon().await?;
        }
        Ok(())
    }
}
