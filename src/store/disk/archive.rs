//! Reads a data directory without being its service.

use std::path::Path;
use std::slice;
use std::sync::Arc;

use rusqlite::OptionalExtension;

use super::schema::{self, Owners};
use super::snapshot_reader::SnapshotReader;
use super::{DiskError, directory, shared};
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
    number: i64,
    log: SavedLog,
}

impl Archive {
    /// Opens a directory and returns the logs that are in it, the oldest first.
    ///
    /// Their datagrams are read later, block by block, so that a service can go on writing in the meantime. Those that
    /// it evicts until then are shown as a gap.
    pub fn open(directory: &Path) -> Result<(Self, Vec<ArchivedLog>), DiskError> {
        let mut onlooker = SnapshotReader::open(&directory::database_in(directory))?;
        let path = onlooker.path().to_owned();
        let connection = onlooker.connection()?;
        if schema::version(connection, &path).map_err(DiskError::when_reading)? == 0 {
            return Err(DiskError::Foreign(path));
        }
        let snapshot =
            connection.unchecked_transaction().map_err(|error| SnapshotReader::fault(&path, &error))?;
        let found = schema::find(&snapshot, &path, Owners::Named).map_err(DiskError::when_reading)?;
        drop(snapshot);
        let logs = found.logs.into_iter().map(schema::FoundLog::into_archived).collect();
        Ok((Self(onlooker), logs))
    }

    /// The stored spec of a log's owner ([`Persist::wanted`](super::Persist::wanted)); none if it is no longer there.
    pub fn wanted(&mut self, log: &ArchivedLog) -> Result<Option<String>, DiskError> {
        self.look(|connection| {
            connection.prepare_cached(schema::WANTED)?.query_row(log.identity(), |row| row.get(0)).optional()
        })
    }

    /// When the first and the last datagram of a log arrived.
    pub fn span(&mut self, log: &ArchivedLog) -> Result<Option<(Timestamp, Timestamp)>, DiskError> {
        let mut blocks = log.blocks();
        let Some(oldest) = blocks.next() else { return Ok(None) };
        let until = blocks.map(|stored| stored.times.1).fold(oldest.times.1, Timestamp::max);
        let since = log.blocks().skip(1).map(|stored| stored.times.0).min();
        // A part of the oldest block may have been evicted already.
        let kept = if oldest.first < log.log.first { self.fetch(log, oldest)? } else { None };
        let first = kept.and_then(|block| {
            let kept = block.entries_from(log.log.first).take_while(|entry| entry.sequence < oldest.next);
            kept.map(|entry| entry.heard.received_at).min()
        });
        let first = first.unwrap_or(oldest.times.0);
        Ok(Some((since.map_or(first, |since| since.min(first)), until)))
    }

    /// Reads a log page by page. A page is a block or less. Blocks are skipped unless `wanted` accepts their earliest
    /// and latest time of arrival.
    pub fn pages<'a, W>(&'a mut self, log: &'a ArchivedLog, wanted: W) -> Pages<'a, W>
    where
        W: Fn(Timestamp, Timestamp) -> bool,
    {
        Pages { archive: self, log, left: log.log.blocks.iter(), wanted, reached: 1, gone: 0 }
    }

    /// None if the service has evicted it.
    fn fetch(&mut self, log: &ArchivedLog, stored: &SavedBlock) -> Result<Option<Arc<Block>>, DiskError> {
        let found = self.look(|connection| {
            let mut statement = connection.prepare_cached(schema::FETCH_OF_LOG)?;
            let [number, epoch] = log.identity();
            let place = [stored.row, stored.first.cast_signed(), number, epoch];
            statement.query_row(place, |row| Ok((row.get(0)?, row.get(1)?))).optional()
        })?;
        // The block may have grown since.
        let found = found.map(|(data, next): (Vec<u8>, i64)| (data, next.cast_unsigned()));
        let Some((data, next)) = found.filter(|(_, next)| *next >= stored.next) else { return Ok(None) };
        let damaged =
            || DiskError::damaged(self.0.path(), &format!("block {} is not what was written", stored.row));
        shared(data, stored.first, next).map(Some).ok_or_else(damaged)
    }

    fn look<T>(
        &mut self,
        look: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<T>,
    ) -> Result<T, DiskError> {
        let found = look(self.0.connection()?);
        found.map_err(|error| SnapshotReader::fault(self.0.path(), &error))
    }
}

impl ArchivedLog {
    pub(super) fn new(number: i64, kind: String, id: String, log: SavedLog) -> Self {
        Self { kind, id, number, log }
    }

    /// Datagrams that are there to be read.
    pub fn datagrams(&self) -> u64 {
        self.blocks().map(|stored| stored.next - stored.first.max(self.log.first)).sum()
    }

    /// Bytes on disk: payloads and their metadata.
    pub fn bytes(&self) -> u64 {
        self.blocks().map(|stored| stored.length as u64).sum()
    }

    /// Its number, which a later start of the service may give to another log, and its epoch.
    fn identity(&self) -> [i64; 2] {
        [self.number, self.log.epoch.cast_signed()]
    }

    fn blocks(&self) -> impl Iterator<Item = &SavedBlock> {
        self.log.blocks.iter().filter(|stored| stored.next > self.log.first)
    }
}

/// The pages of a log in an archive, see [`Archive::pages`]. An error is the last item.
pub struct Pages<'a, W> {
    archive: &'a mut Archive,
    log: &'a ArchivedLog,
    left: slice::Iter<'a, SavedBlock>,
    wanted: W,
    /// The sequence number that is expected next.
    reached: u64,
    /// Numbers before this one have been evicted since the archive was opened.
    gone: u64,
}

impl<W: Fn(Timestamp, Timestamp) -> bool> Iterator for Pages<'_, W> {
    type Item = Result<Page, DiskError>;

    fn next(&mut self) -> Option<Self::Item> {
        let kept = &self.log.log;
        loop {
            let rest = self.left.clone();
            let Some(stored) = self.left.next() else { break };
            if stored.next <= kept.first {
                continue;
            }
            let start = stored.first.max(kept.first);
            if let Some(page) = self.let_go_of_before(start) {
                self.left = rest;
                return Some(Ok(page));
            }
            let block = if (self.wanted)(stored.times.0, stored.times.1) {
                match self.archive.fetch(self.log, stored) {
                    Ok(None) => {
                        self.gone = stored.next;
                        continue;
                    }
                    Ok(block) => block,
                    Err(fault) => {
                        self.left = [].iter();
                        self.reached = u64::MAX;
                        return Some(Err(fault));
                    }
                }
            } else {
                None
            };
            let gap = self.gap_before(start);
            self.reached = stored.next;
            if block.is_some() || gap.is_some() {
                return Some(Ok(Page::of_block(block, start, stored.next, kept.epoch, gap)));
            }
        }
        // In a log that is not complete, reserved numbers without datagrams follow the last datagram.
        let end = if kept.complete { kept.next } else { kept.first }.max(self.gone);
        if let Some(page) = self.let_go_of_before(end) {
            return Some(Ok(page));
        }
        let gap = self.gap_before(end)?;
        self.reached = end;
        Some(Ok(Page::of_block(None, end, end, kept.epoch, Some(gap))))
    }
}

impl<W> Pages<'_, W> {
    /// A page that reports evicted datagrams, if more are missing between them and this number.
    fn let_go_of_before(&mut self, next: u64) -> Option<Page> {
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
