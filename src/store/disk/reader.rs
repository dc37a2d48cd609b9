//! Blocks on disk, fetched for readers of logs.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use hashlink::LruCache;
use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::database;
use super::error::DiskError;
use super::tables::blocks::{self, Fetched};
use crate::store::block::Block;
use crate::store::durable_log::RowId;
use crate::sync::Lock;

/// Fetches blocks from disk, by connections of its own, so that it never waits for the writer.
pub(super) struct BlockReader {
    path: PathBuf,
    /// Std lock: held to take a connection or to put it back.
    idle: Mutex<Vec<Connection>>,
    /// Std lock: held for a look-up or an insertion. Recently fetched blocks: a reader that goes page by page, or
    /// several readers of the same log, fetch a block several times.
    recent: Mutex<LruCache<RowId, Arc<Block>>>,
    /// Held by each thread that fetches, even if its caller is gone: it bounds the threads that wait for a hanging disk.
    turns: Arc<Semaphore>,
}

impl BlockReader {
    /// Fetched blocks kept in memory: up to 16 MiB.
    const RECENT: usize = 256;
    /// Fetches at the same time; more would only wait for the same disk.
    const MAX_FETCHES: usize = 4;

    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            idle: Mutex::default(),
            recent: Mutex::new(LruCache::new(Self::RECENT)),
            turns: Arc::new(Semaphore::new(Self::MAX_FETCHES)),
        }
    }

    /// The block with these numbers of this log; none if the row is no longer there.
    pub(super) async fn fetch(
        self: &Arc<Self>,
        log: i64,
        row: RowId,
        first: u64,
        next: u64,
    ) -> Result<Option<Arc<Block>>, DiskError> {
        if let Some(block) = self.recent().get(&row) {
            return Ok(Some(block.clone()));
        }
        let turn = self.turns.clone().acquire_owned().await;
        let reader = self.clone();
        let fetch = move || {
            let _turn = turn;
            reader.fetch_now(log, row, first, next)
        };
        let fetched = tokio::task::spawn_blocking(fetch).await;
        let block = fetched.map_err(|error| DiskError::other(&self.path, &error))??;
        if let Some(block) = &block {
            self.recent().insert(row, block.clone());
        }
        Ok(block)
    }

    /// Releases what it keeps in memory for later reads.
    pub(super) fn release_memory(&self) {
        self.idle().clear();
        self.recent().clear();
    }

    fn fetch_now(
        &self,
        log: i64,
        row: RowId,
        first: u64,
        next: u64,
    ) -> Result<Option<Arc<Block>>, DiskError> {
        let failed = |error| DiskError::of_sqlite(&self.path, &error);
        let idle = self.idle().pop();
        let connection = idle.map_or_else(|| database::connect_to_read(&self.path), Ok)?;
        let fetched = blocks::fetch(&connection, row, log, None).map_err(failed)?;
        self.idle().push(connection);
        let block = match fetched {
            None => return Ok(None),
            Some(Fetched::Good(found, data)) if (found.first, found.next) == (first, next) => {
                Block::read(data, first, next)
            }
            Some(_) => None,
        };
        let damaged = || DiskError::damaged(&self.path, &format!("block {row} differs from the written one"));
        block.map(|block| Some(Arc::new(block))).ok_or_else(damaged)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock_shared()
    }

    fn recent(&self) -> MutexGuard<'_, LruCache<RowId, Arc<Block>>> {
        self.recent.lock_shared()
    }
}
