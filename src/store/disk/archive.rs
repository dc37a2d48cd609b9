//! Reads a data directory outside of its service.

use std::path::Path;
use std::slice;
use std::sync::Arc;

use super::error::DiskError;
use super::snapshot_reader::SnapshotReader;
use super::tables::logs::{LogRow, Owners};
use super::tables::{blocks, owners};
use super::{directory, loading, schema};
use crate::model::Timestamp;
use crate::store::block::Block;
use crate::store::cursor::{Gap, GapReason};
use crate::store::page::Page;
use crate::store::saved::{SavedBlock, SavedLog};

/// A data directory open for reading: that of a stopped service or of a running one, or a copy.
pub struct Archive(SnapshotReader);

/// A log in an archive, as it was when the archive was opened, and its owner.
pub struct ArchivedLog {
    pub kind: String,
    pub id: String,
    /// After a restart, the service may reuse the number for another log, with another epoch.
    number: i64,
    log: SavedLog,
}

impl Archive {
    /// Opens a directory and returns the logs that are in it, the oldest first.
    ///
    /// The archive reads their datagrams later, block by block, so that a service can write in the meantime. Datagrams
    /// that the service evicts until then become a gap.
    pub fn open(directory: &Path) -> Result<(Self, Vec<ArchivedLog>), DiskError> {
        let mut reader = SnapshotReader::open(&directory::database_in(directory))?;
        let path = reader.path().to_owned();
        let connection = reader.connection()?;
        if schema::version(connection, &path).map_err(DiskError::when_reading)? == 0 {
            return Err(DiskError::Foreign(path));
        }
        let snapshot =
            connection.unchecked_transaction().map_err(|error| SnapshotReader::disk_error(&path, &error))?;
        let found = loading::load(&snapshot, &path, Owners::Named).map_err(DiskError::when_reading)?;
        drop(snapshot);
        let logs = found.logs.into_iter().map(ArchivedLog::from).collect();
        Ok((Self(reader), logs))
    }

    /// The stored spec of a log's owner ([`Persist::spec`](super::Persist::spec)); none if it is no longer there.
    pub fn spec(&mut self, log: &ArchivedLog) -> Result<Option<String>, DiskError> {
        self.query(|connection| owners::spec(connection, log.number, log.log.epoch))
    }

    /// The arrival times of the first and the last datagram of a log.
    pub fn span(&mut self, log: &ArchivedLog) -> Result<Option<(Timestamp, Timestamp)>, DiskError> {
        let mut blocks = log.blocks();
        let Some(oldest) = blocks.next() else { return Ok(None) };
        let until = blocks.map(|block| block.times.1).fold(oldest.times.1, Timestamp::max);
        let since = log.blocks().skip(1).map(|block| block.times.0).min();
        // A part of the oldest block may have been evicted already.
        let kept = if oldest.first < log.log.first { self.fetch(log, oldest)? } else { None };
        let first = kept.and_then(|block| {
            let kept = block.entries_from(log.log.first).take_while(|entry| entry.sequence < oldest.next);
            kept.map(|entry| entry.metadata.received_at).min()
        });
        let first = first.unwrap_or(oldest.times.0);
        Ok(Some((since.map_or(first, |since| since.min(first)), until)))
    }

    /// Reads a log page by page. A page is a block or less. Blocks are skipped unless `accepts` holds for their
    /// earliest and latest time of arrival.
    pub fn pages<'a, W>(&'a mut self, log: &'a ArchivedLog, accepts: W) -> Pages<'a, W>
    where
        W: Fn(Timestamp, Timestamp) -> bool,
    {
        Pages { archive: self, log, left: log.log.blocks.iter(), accepts, reached: 1, gone: 0 }
    }

    /// None if the service has evicted it.
    fn fetch(&mut self, log: &ArchivedLog, block: &SavedBlock) -> Result<Option<Arc<Block>>, DiskError> {
        let found = self.query(|connection| {
            blocks::fetch_of_log(connection, block.row, block.first, log.number, log.log.epoch)
        })?;
        // The block may have grown since.
        let Some((data, next)) = found.filter(|(_, next)| *next >= block.next) else { return Ok(None) };
        let damaged = || {
            DiskError::damaged(self.0.path(), &format!("block {} differs from the written one", block.row))
        };
        Block::read(data, block.first, next).map(|block| Some(Arc::new(block))).ok_or_else(damaged)
    }

    fn query<T>(
        &mut self,
        query: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<T>,
    ) -> Result<T, DiskError> {
        let found = query(self.0.connection()?);
        found.map_err(|error| SnapshotReader::disk_error(self.0.path(), &error))
    }
}

impl ArchivedLog {
    /// Datagrams that readers can read.
    pub fn datagrams(&self) -> u64 {
        self.blocks().map(|block| block.next - block.first.max(self.log.first)).sum()
    }

    /// Bytes on disk: payloads and their metadata.
    pub fn bytes(&self) -> u64 {
        self.blocks().map(|block| block.length as u64).sum()
    }

    fn blocks(&self) -> impl Iterator<Item = &SavedBlock> {
        self.log.blocks.iter().filter(|block| block.next > self.log.first)
    }
}

impl From<LogRow> for ArchivedLog {
    fn from(LogRow { number, kind, id, log, .. }: LogRow) -> Self {
        Self { kind, id, number, log }
    }
}

/// The pages of a log in an archive, see [`Archive::pages`]. An error is the last item.
pub struct Pages<'a, W> {
    archive: &'a mut Archive,
    log: &'a ArchivedLog,
    left: slice::Iter<'a, SavedBlock>,
    accepts: W,
    /// The sequence number that is expected next.
    reached: u64,
    /// Numbers before this one have been evicted since the archive was opened.
    gone: u64,
}

impl<W: Fn(Timestamp, Timestamp) -> bool> Iterator for Pages<'_, W> {
    type Item = Result<Page, DiskError>;

    fn next(&mut self) -> Option<Self::Item> {
        let stored = &self.log.log;
        loop {
            let rest = self.left.clone();
            let Some(saved) = self.left.next() else { break };
            if saved.next <= stored.first {
                continue;
            }
            let start = saved.first.max(stored.first);
            if let Some(page) = self.evicted_before(start) {
                self.left = rest;
                return Some(Ok(page));
            }
            let block = if (self.accepts)(saved.times.0, saved.times.1) {
                match self.archive.fetch(self.log, saved) {
                    Ok(None) => {
                        self.gone = saved.next;
                        continue;
                    }
                    Ok(block) => block,
                    Err(error) => {
                        self.left = [].iter();
                        self.reached = u64::MAX;
                        return Some(Err(error));
                    }
                }
            } else {
                None
            };
            let gap = self.gap_before(start);
            self.reached = saved.next;
            if block.is_some() || gap.is_some() {
                return Some(Ok(Page::of_block(block, start, saved.next, stored.epoch, gap)));
            }
        }
        // In a log that is not complete, reserved numbers without datagrams follow the last datagram.
        let end = if stored.complete { stored.next } else { stored.first }.max(self.gone);
        if let Some(page) = self.evicted_before(end) {
            return Some(Ok(page));
        }
        let gap = self.gap_before(end)?;
        self.reached = end;
        Some(Ok(Page::of_block(None, end, end, stored.epoch, Some(gap))))
    }
}

impl<W> Pages<'_, W> {
    /// A page that reports evicted datagrams, if more are missing between them and this number.
    fn evicted_before(&mut self, next: u64) -> Option<Page> {
        let evicted = self.evicted();
        if self.reached >= evicted || evicted >= next {
            return None;
        }
        let gap = self.gap_before(evicted);
        self.reached = evicted;
        Some(Page::of_block(None, evicted, evicted, self.log.log.epoch, gap))
    }

    /// The gap before this number, reported as [`Log::read`](crate::store::Log::read) reports it.
    fn gap_before(&self, next: u64) -> Option<Gap> {
        let reason = if self.reached < self.evicted() { GapReason::Retention } else { GapReason::Lost };
        (next > self.reached).then(|| Gap { reason, missed: Some(next - self.reached) })
    }

    /// The first number that has not been evicted.
    fn evicted(&self) -> u64 {
        self.log.log.first.max(self.gone)
    }
}
