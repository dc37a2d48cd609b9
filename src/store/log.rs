use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::block::{Block, Entry};
use super::budget::Budget;
use super::cursor::{Cursor, Gap, GapReason};
use super::record::Run;
use crate::model::{Retention, Timestamp};

/// How much one log keeps; what exceeds it makes room from the oldest on.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub entries: u64,
    /// Payloads and what is kept beside them.
    pub bytes: usize,
    /// None: as long as there is room.
    pub age: Option<Duration>,
}

impl Limits {
    /// These, or less where less is asked for.
    #[must_use]
    pub fn narrowed(self, to: &Retention) -> Self {
        let bytes = to.bytes.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        Self {
            entries: to.datagrams.map_or(self.entries, |datagrams| datagrams.min(self.entries)),
            bytes: bytes.map_or(self.bytes, |bytes| bytes.min(self.bytes)),
            age: [self.age, to.age].into_iter().flatten().min(),
        }
    }
}

/// An append-only sequence of datagrams with a bounded tail in memory.
pub struct Log {
    epoch: u64,
    budget: Arc<Budget>,
    /// Std lock: writers hold it for the copy of one batch, readers for the copy of a little.
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    limits: Limits,
    /// Full blocks, oldest first; readers share them.
    sealed: VecDeque<Arc<Block>>,
    tail: Block,
    /// A block that retention emptied, to be filled again: in a full log, writing allocates nothing.
    spare: Option<Block>,
    /// The oldest sequence number that is still kept.
    first: u64,
    sealed_bytes: usize,
    /// What the budget has been told of.
    charged: usize,
    counters: LogCounters,
    complete: bool,
    closed: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogCounters {
    /// Datagrams appended since the log began; also its last sequence number.
    pub appended: u64,
    /// Their payload bytes.
    pub payload_bytes: u64,
    /// Datagrams that made room for later ones.
    pub evicted: u64,
    /// Datagrams whose payload was longer than the buffer.
    pub truncated: u64,
    /// Bytes held now, headers included.
    pub held_bytes: u64,
}

/// The log's owner is gone, and the log with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

/// What one read gives: datagrams in order, shared with the log or copied from its tail.
pub struct Page {
    blocks: Vec<Arc<Block>>,
    start: u64,
    length: usize,
    pub next: Cursor,
    pub gap: Option<Gap>,
    /// Nothing will come after it.
    pub complete: bool,
}

impl Page {
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.blocks.iter().flat_map(|block| block.entries_from(self.start)).take(self.length)
    }

    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

impl Log {
    pub fn new(limits: Limits, budget: Arc<Budget>) -> Self {
        let state = State {
            limits,
            sealed: VecDeque::new(),
            tail: Block::new(1),
            spare: None,
            first: 1,
            sealed_bytes: 0,
            charged: 0,
            counters: LogCounters::default(),
            complete: false,
            closed: false,
        };
        Self { epoch: fastrand::u64(..), budget, state: Mutex::new(state), changed: Notify::new() }
    }

    /// Appends a batch under one lock and wakes the readers that wait.
    pub fn append<'a>(&self, batch: impl IntoIterator<Item = Run<'a>>) {
        let mut state = self.state();
        if state.closed {
            return;
        }
        for run in batch {
            state.push(&run);
        }
        state.retain();
        state.settle(&self.budget);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Keeps so much from now on.
    pub fn set_limits(&self, limits: Limits) {
        let mut state = self.state();
        state.limits = limits;
        state.retain();
        state.settle(&self.budget);
    }

    /// Lets go of what is older than is kept.
    pub fn expire(&self, now: Timestamp) {
        let mut state = self.state();
        let Some(before) = state.limits.age.map(|age| now.before(age)) else {
            return;
        };
        while state.oldest().is_some_and(|(_, latest)| latest < before) {
            state.evict_block();
        }
        if state.oldest().is_some_and(|(earliest, _)| earliest < before) {
            state.evict_until(before);
        }
        state.settle(&self.budget);
    }

    /// When its oldest block began; none where nothing is held.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.state().oldest().map(|(earliest, _)| earliest)
    }

    /// Lets go of its oldest block.
    pub fn evict(&self) {
        let mut state = self.state();
        state.evict_block();
        state.settle(&self.budget);
    }

    /// Reads up to `limit` datagrams after the cursor; without one, from the oldest on.
    pub fn read(&self, after: Option<Cursor>, limit: usize) -> Result<Page, Closed> {
        let mut state = self.state();
        if state.closed {
            return Err(Closed);
        }
        let (start, gap) = state.start(self.epoch, after);
        let available = usize::try_from(state.tail.next() - start).unwrap_or(usize::MAX);
        let length = limit.min(available);
        let end = start + length as u64;
        let of_tail = length > 0 && end > state.tail.first();
        if of_tail && state.tail.cost() > State::COPIED_BYTES {
            state.seal();
        }
        let from = state.sealed.partition_point(|block| block.next() <= start);
        let mut blocks: Vec<_> =
            state.sealed.range(from..).take_while(|block| block.first() < end).cloned().collect();
        if of_tail && !state.tail.is_empty() {
            blocks.push(Arc::new(state.tail.clone()));
        }
        Ok(Page {
            blocks,
            start,
            length,
            next: Cursor { epoch: self.epoch, sequence: end - 1 },
            gap,
            complete: state.complete && end == state.tail.next(),
        })
    }

    /// Resolves at the next append or close after this call, even if the future is polled later.
    pub fn changed(&self) -> impl Future<Output = ()> + '_ {
        let mut waiting = Box::pin(self.changed.notified());
        waiting.as_mut().enable();
        waiting
    }

    /// Says that nothing will be appended any more: who waits for more need not.
    pub fn complete(&self) {
        self.state().complete = true;
        self.changed.notify_waiters();
    }

    /// Ends the log: nothing is kept or appended any more, and waiting readers learn it.
    pub fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.sealed.clear();
        state.spare = None;
        state.sealed_bytes = 0;
        state.tail = Block::new(state.tail.next());
        state.settle(&self.budget);
        drop(state);
        self.changed.notify_waiters();
    }

    pub fn counters(&self) -> LogCounters {
        let state = self.state();
        let held = state.sealed_bytes + state.tail.cost();
        LogCounters { held_bytes: held as u64, ..state.counters }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let charged = self.state().charged;
        self.budget.charge(charged, 0);
    }
}

impl State {
    /// A block is sealed at this size: small enough that to make room is to lose little, large enough that
    /// blocks are few.
    const BLOCK_BYTES: usize = 64 * 1024;
    /// A reader copies what it needs of the tail up to this size; a larger tail is sealed and shared.
    const COPIED_BYTES: usize = 4 * 1024;

    fn push(&mut self, run: &Run<'_>) {
        if self.tail.is_full_for(run, Self::BLOCK_BYTES.min(self.limits.bytes / 4)) {
            self.seal();
        }
        let count = self.tail.push(run);
        self.counters.payload_bytes += run.bytes.len() as u64;
        self.counters.appended += count;
        self.counters.truncated += if run.heard.truncated { count } else { 0 };
    }

    fn seal(&mut self) {
        let next = self.tail.successor(self.spare.take());
        let sealed = std::mem::replace(&mut self.tail, next).fitted();
        self.sealed_bytes += sealed.cost();
        self.sealed.push_back(Arc::new(sealed));
    }

    /// Makes the oldest datagrams give way. The tail always stays.
    fn retain(&mut self) {
        let before = self.first;
        self.first = self.first.max(self.tail.next().saturating_sub(self.limits.entries));
        self.counters.evicted += self.first - before;
        while let Some(oldest) = self.sealed.front() {
            let over = self.sealed_bytes + self.tail.cost() > self.limits.bytes;
            if !over && oldest.next() > self.first {
                break;
            }
            self.evict_block();
        }
    }

    /// The earliest and the latest arrival in the oldest block that holds any.
    fn oldest(&self) -> Option<(Timestamp, Timestamp)> {
        self.sealed.front().map_or(&self.tail, |block| block).times()
    }

    /// Lets go of the oldest block; of the tail where there is no other.
    fn evict_block(&mut self) {
        let Some(oldest) = self.sealed.pop_front() else {
            self.tail = Block::new(self.tail.next());
            return self.evict_to(self.tail.next());
        };
        self.sealed_bytes -= oldest.cost();
        self.evict_to(oldest.next());
        // Unless a reader still holds it.
        self.spare = Arc::into_inner(oldest).or(self.spare.take());
    }

    /// Lets go of the oldest block's datagrams up to the first that arrived then or later.
    fn evict_until(&mut self, time: Timestamp) {
        let oldest = self.sealed.front().map_or(&self.tail, |block| block);
        let kept = oldest.entries_from(self.first).find(|entry| entry.heard.received_at >= time);
        let next = kept.map_or(oldest.next(), |entry| entry.sequence);
        self.evict_to(next);
    }

    fn evict_to(&mut self, next: u64) {
        self.counters.evicted += next.saturating_sub(self.first);
        self.first = self.first.max(next);
    }

    /// Tells the budget what is held now.
    fn settle(&mut self, budget: &Budget) {
        let held = self.sealed_bytes + self.tail.cost();
        budget.charge(std::mem::replace(&mut self.charged, held), held);
    }

    /// The sequence number to read from, and what is missing before it.
    fn start(&self, epoch: u64, after: Option<Cursor>) -> (u64, Option<Gap>) {
        let replaced =
            after.is_some_and(|cursor| cursor.epoch != epoch || cursor.sequence >= self.tail.next());
        if replaced {
            return (self.first, Some(Gap { reason: GapReason::LogReplaced, missed: None }));
        }
        let wanted = after.map_or(1, |cursor| cursor.sequence + 1);
        let missed = self.first.saturating_sub(wanted);
        let gap = (missed > 0).then_some(Gap { reason: GapReason::Retention, missed: Some(missed) });
        (wanted.max(self.first), gap)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Heard, Timestamp};

    const AMPLE: Limits = Limits { entries: 1_000_000, bytes: 1 << 26, age: None };

    fn log(limits: Limits) -> Log {
        Log::new(limits, Arc::new(Budget::new(usize::MAX)))
    }

    fn run(bytes: &[u8], segment: Option<u16>) -> Run<'_> {
        let heard = Heard {
            received_at: Timestamp(0),
            source: ([192, 0, 2, 1], 1).into(),
            destination: ([239, 1, 1, 1], 1).into(),
            interface: "lo",
            hop_limit: Some(1),
            truncated: false,
        };
        Run { heard, answer: None, segment, bytes }
    }

    fn payloads(page: &Page) -> Vec<Vec<u8>> {
        page.entries().map(|entry| entry.payload.to_vec()).collect()
    }

    proptest! {
        /// Whatever is appended in whatever batches comes out once, in order, whatever the page size.
        #[test]
        fn paging_gives_every_datagram_once(
            batches in prop::collection::vec(prop::collection::vec((1_u16..2000, 0_usize..20_000), 0..6), 0..20),
            limit in 1_usize..50,
        ) {
            let log = log(AMPLE);
            let mut expected = Vec::new();
            for batch in &batches {
                let buffers: Vec<(Vec<u8>, u16)> =
                    batch.iter().map(|&(segment, length)| (vec![u8::try_from(length % 251).unwrap(); length], segment)).collect();
                for (bytes, segment) in &buffers {
                    expected.extend(bytes.chunks(usize::from(*segment)).map(<[u8]>::to_vec));
                    if bytes.is_empty() {
                        expected.push(Vec::new());
                    }
                }
                log.append(buffers.iter().map(|(bytes, segment)| run(bytes, Some(*segment))));
            }
            let mut seen = Vec::new();
            let mut cursor = None;
            loop {
                let page = log.read(cursor, limit).unwrap();
                prop_assert_eq!(page.gap, None);
                let sequences: Vec<u64> = page.entries().map(|entry| entry.sequence).collect();
                let start = seen.len() as u64 + 1;
                prop_assert_eq!(sequences, (start..start + page.length as u64).collect::<Vec<_>>());
                if page.is_empty() {
                    break;
                }
                seen.extend(payloads(&page));
                cursor = Some(page.next);
            }
            prop_assert_eq!(seen, expected);
        }

        /// A reader that was overtaken is told exactly how much it missed.
        #[test]
        fn gaps_account_for_what_retention_took(
            sizes in prop::collection::vec(0_usize..900, 1..300),
            entries in 1_u64..40,
            read_at in 0_usize..100,
        ) {
            let log = log(Limits { entries, bytes: 8 * 1024, age: None });
            let mut cursor = None;
            let mut known = 0;
            for (position, size) in sizes.iter().enumerate() {
                log.append([run(&vec![0; *size], None)]);
                if position % (read_at + 1) == 0 {
                    let page = log.read(cursor, 1000).unwrap();
                    known += page.gap.map_or(0, |gap| gap.missed.unwrap()) + page.length as u64;
                    prop_assert_eq!(known, position as u64 + 1);
                    cursor = Some(page.next);
                }
            }
            let counters = log.counters();
            prop_assert_eq!(counters.appended, sizes.len() as u64);
            prop_assert!(counters.appended - counters.evicted <= entries);
        }
    }

    #[test]
    fn a_cursor_of_another_log_gives_a_gap() {
        let (one, other) = (log(AMPLE), log(AMPLE));
        one.append([run(b"a", None)]);
        other.append([run(b"b", None)]);
        let cursor = one.read(None, 1).unwrap().next;
        let page = other.read(Some(cursor), 10).unwrap();
        assert_eq!(page.gap, Some(Gap { reason: GapReason::LogReplaced, missed: None }));
        assert_eq!(payloads(&page), [b"b"]);
    }

    #[tokio::test]
    async fn readers_learn_of_appends_and_of_the_end() {
        let log = log(AMPLE);
        let changed = log.changed();
        log.append([run(b"a", None)]);
        changed.await;
        let changed = log.changed();
        log.close();
        changed.await;
        assert!(matches!(log.read(None, 1), Err(Closed)));
    }
}
