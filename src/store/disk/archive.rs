//! Reads a data directory outside of its service.

use std::path::Path;
use std::slice;
use std::sync::Arc;

use rusqlite::Connection;

use super::archive_source::ArchiveSource;
use super::directory;
use super::error::DiskError;
use super::loading::{Damage, LoadedResource};
use super::tables::blocks::{self, Fetched};
use super::tables::owners;
use crate::model::Timestamp;
use crate::store::block::Block;
use crate::store::durable_log::{SavedBlock, SavedLog};
use crate::store::page::{Gap, GapReason, Page};

/// A data directory open for reading: that of a stopped service or of a running one, or a copy.
pub struct Archive {
    source: ArchiveSource,
    damage: Vec<String>,
}

/// A log in an archive, as it was when the archive was opened, and its owner.
pub struct ArchivedLog {
    pub kind: String,
    pub id: String,
    number: i64,
    /// After a restart, the service may reuse the number for another log, with another epoch. None: the log's own row is
    /// damaged.
    epoch: Option<u64>,
    log: SavedLog,
    is_set_aside: bool,
}

impl Archive {
    /// Opens a directory and returns the logs that are in it, the oldest first.
    ///
    /// The archive reads their datagrams later, block by block, so that a service can write in the meantime. Datagrams
    /// that the service evicts until then become a gap, and so do damaged ones.
    pub fn open(directory: &Path) -> Result<(Self, Vec<ArchivedLog>), DiskError> {
        let (source, found, mut damage) = ArchiveSource::open(&directory::database_in(directory))?;
        let Damage { set_aside, rebuilt, blocks, .. } = found.damage;
        damage.extend(set_aside.iter().chain(&rebuilt).map(|owner| format!("{owner} is damaged")));
        damage.extend(blocks.iter().map(|row| format!("block {row} of a log is damaged")));
        let logs = found.logs.into_iter().map(|log| ArchivedLog::new(log, false));
        let logs = logs.chain(found.set_aside.into_iter().map(|log| ArchivedLog::new(log, true))).collect();
        Ok((Self { source, damage }, logs))
    }

    /// What was found damaged so far, one sentence each.
    pub fn damage(&self) -> &[String] {
        &self.damage
    }

    /// The stored spec of a log's owner ([`Persist::spec`](crate::store::Persist::spec)); none if it is no longer there.
    pub fn spec(&mut self, log: &ArchivedLog) -> Result<Option<String>, DiskError> {
        self.source.query(|connection| owners::spec(connection, log.number, log.epoch))
    }

    /// The arrival times of the first and the last datagram of a log.
    pub fn span(&mut self, log: &ArchivedLog) -> Result<Option<(Timestamp, Timestamp)>, DiskError> {
        let mut blocks = log.blocks();
        let Some(oldest) = blocks.next() else { return Ok(None) };
        let until = blocks.map(|block| block.times.1).fold(oldest.times.1, Timestamp::max);
        let since = log.blocks().skip(1).map(|block| block.times.0).min();
        // A part of the oldest block may have been evicted already.
        let kept = if oldest.first < log.log.first { Some(self.fetch(log, oldest)?) } else { None };
        let first = kept.and_then(|fetched| {
            let FetchResult::Found(block) = fetched else { return None };
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
        Pages {
            archive: self,
            log,
            left: log.log.blocks.iter(),
            accepts,
            reached: 1,
            gone: 0,
            damaged_until: 0,
        }
    }

    fn fetch(&mut self, log: &ArchivedLog, block: &SavedBlock) -> Result<FetchResult, DiskError> {
        let fetch = |connection: &Connection| blocks::fetch(connection, block.row, log.number, log.epoch);
        let fetched = match self.source.query(fetch) {
            // A bad sector is one of the others.
            Err(DiskError::Damaged { .. } | DiskError::Other { .. }) => Some(Fetched::Damaged),
            fetched => fetched?,
        };
        // The block may have grown since.
        let found = match fetched {
            Some(Fetched::Good(found, data)) if found.first == block.first && found.next >= block.next => {
                Block::read(data, found.first, found.next)
            }
            Some(Fetched::Damaged) => None,
            Some(Fetched::Good(..)) | None => return Ok(FetchResult::Evicted),
        };
        Ok(found.map_or_else(
            || {
                let ArchivedLog { kind, id, .. } = log;
                let (first, last) = (block.first, block.next - 1);
                self.damage.push(format!("the datagrams {first} to {last} of {kind} `{id}` are damaged"));
                FetchResult::Damaged
            },
            |block| FetchResult::Found(Arc::new(block)),
        ))
    }
}

/// A fetched block.
enum FetchResult {
    Found(Arc<Block>),
    /// The service has evicted it.
    Evicted,
    Damaged,
}

impl ArchivedLog {
    fn new(LoadedResource { row, log, is_rebuilt, .. }: LoadedResource, is_set_aside: bool) -> Self {
        let epoch = (!is_rebuilt).then_some(log.epoch);
        Self { kind: row.kind, id: row.id, number: row.number, epoch, log, is_set_aside }
    }

    /// Whether it has no spec, because that is damaged.
    pub fn is_set_aside(&self) -> bool {
        self.is_set_aside
    }

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
    /// The end of the last block that is damaged.
    damaged_until: u64,
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
                    Ok(FetchResult::Evicted) => {
                        self.gone = saved.next;
                        continue;
                    }
                    // The next page, or the end, reports the gap.
                    Ok(FetchResult::Damaged) => {
                        self.damaged_until = saved.next;
                        continue;
                    }
                    Ok(FetchResult::Found(block)) => Some(block),
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
        let end = if stored.complete { stored.next } else { stored.first };
        let end = end.max(self.gone).max(self.damaged_until);
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
