//! The state of a log, under its lock: slots of sealed blocks, in memory or on disk, and the tail that grows.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::model::Timestamp;
use crate::store::block::Block;
use crate::store::budget::{Budget, Charge, Limits};
use crate::store::durable_log::{LogCounters, RowId, SavedBlock};
use crate::store::record::RecordBatch;

pub(super) struct LogState {
    pub(super) limits: Limits,
    /// Random for each log; a part of its cursors.
    pub(super) epoch: u64,
    /// Sealed blocks, oldest first; readers share those in memory. Between two of them, numbers may be missing.
    pub(super) slots: VecDeque<BlockSlot>,
    /// How many of the slots, from the oldest on, are on disk only.
    pub(super) on_disk_count: usize,
    pub(super) tail: Block,
    /// The row on disk to which the tail has been written so far.
    pub(super) tail_row: Option<RowId>,
    /// A block whose buffer is to be filled again: appending to a full log allocates nothing.
    recycled: Option<Block>,
    /// Datagrams before this number have been evicted. After it, too, numbers may be missing.
    pub(super) first: u64,
    pub(super) slots_bytes: usize,
    /// Bytes of the slots' blocks in memory.
    pub(super) held_bytes: usize,
    charged: Charge,
    /// Bytes that the log's owner takes, charged until the log is closed.
    pub(super) owner_bytes: usize,
    pub(super) counters: LogCounters,
    pub(super) complete: bool,
    pub(super) closed: bool,
    /// Rows to be deleted, until the writer is notified.
    pub(super) freed: Vec<RowId>,
    pub(super) saving: Saving,
}

/// How far a log is on disk.
pub(super) struct Saving {
    /// The writer knows that the log has unwritten changes.
    pub(super) dirty: bool,
    /// All datagrams of the log before this number are on disk.
    pub(super) saved_until: u64,
    /// Readers do not see numbers from here on, because the service could reuse them after a crash.
    pub(super) visible_until: u64,
    /// When the log reaches this number, more numbers must be reserved soon.
    pub(super) flush_at: u64,
    /// Everything before this number is being written to disk, if it is not there yet.
    pub(super) writing_until: u64,
    /// A reader waits for datagrams to be on disk.
    pub(super) awaited: bool,
}

impl Saving {
    pub(super) const NOWHERE: Self = Self {
        dirty: false,
        saved_until: 1,
        visible_until: u64::MAX,
        flush_at: u64::MAX,
        writing_until: 0,
        awaited: false,
    };
}

impl LogState {
    /// A block is sealed at this size: small enough that evicting one loses little, large enough that blocks are few.
    const BLOCK_BYTES: usize = 64 * 1024;
    /// Up to this size the tail is copied for readers and the writer, and written to disk again as it grows; a larger
    /// one is sealed and shared.
    pub(super) const COPIED_BYTES: usize = 4 * 1024;

    pub(super) fn new(limits: Limits, epoch: u64, next: u64) -> Self {
        Self {
            limits,
            epoch,
            slots: VecDeque::new(),
            on_disk_count: 0,
            tail: Block::new(next),
            tail_row: None,
            recycled: None,
            first: next,
            slots_bytes: 0,
            held_bytes: 0,
            charged: Charge::default(),
            owner_bytes: 0,
            counters: LogCounters::default(),
            complete: false,
            closed: false,
            freed: Vec::new(),
            saving: Saving::NOWHERE,
        }
    }

    pub(super) fn push(&mut self, batch: &RecordBatch<'_>) {
        if self.tail.is_full_for(batch, Self::BLOCK_BYTES.min(self.limits.bytes / 4)) {
            self.seal();
        }
        let count = self.tail.push(batch);
        self.counters.payload_bytes += batch.bytes.len() as u64;
        self.counters.appended += count;
        self.counters.truncated += if batch.metadata.truncated { count } else { 0 };
    }

    pub(super) fn seal(&mut self) {
        let next = self.tail.successor(self.recycled.take());
        let sealed = std::mem::replace(&mut self.tail, next).shrink_to_fit();
        self.slots_bytes += sealed.cost();
        self.held_bytes += sealed.cost();
        self.slots.push_back(BlockSlot::sealed(sealed, self.tail_row.take()));
    }

    /// Bytes kept, in memory or on disk.
    pub(super) fn kept_bytes(&self) -> usize {
        self.slots_bytes + self.tail.cost()
    }

    /// Evicts the oldest datagrams beyond the limits. The tail always stays.
    pub(super) fn retain(&mut self) {
        let excess = self.counters.kept().saturating_sub(self.limits.entries);
        self.evict_entries(excess);
        while !self.slots.is_empty() && self.kept_bytes() > self.limits.bytes {
            self.evict_block();
        }
    }

    /// The earliest and the latest arrival in the oldest block that holds any.
    pub(super) fn oldest(&self) -> Option<(Timestamp, Timestamp)> {
        self.slots.front().map_or_else(|| self.tail.times(), |slot| Some(slot.times))
    }

    /// When the block to be dropped from memory first began.
    pub(super) fn oldest_held(&self) -> Option<Timestamp> {
        self.dispensable().map(|at| self.slots[at].times.0)
    }

    /// The slot to be dropped from memory first: the oldest one held, but none that is just being written.
    fn dispensable(&self) -> Option<usize> {
        let oldest = self.slots.get(self.on_disk_count)?;
        if oldest.is_saved {
            return Some(self.on_disk_count);
        }
        let at =
            self.slots.partition_point(|slot| slot.next <= self.saving.writing_until).max(self.on_disk_count);
        (at < self.slots.len()).then_some(at)
    }

    fn evict_entries(&mut self, mut count: u64) {
        while count > 0 {
            let next = self.slots.front().map_or(self.tail.next(), |slot| slot.next);
            let first = self.first.max(self.front());
            let here = next - first;
            if here == 0 && self.slots.is_empty() {
                return;
            }
            if here > count {
                return self.evict_to(first + count);
            }
            count -= here;
            self.evict_block();
        }
    }

    /// Evicts the oldest block, or the tail if there is no other.
    pub(super) fn evict_block(&mut self) {
        let next = self.slots.front().map_or(self.tail.next(), |slot| slot.next);
        self.evict_to(next);
        let Some(oldest) = self.slots.pop_front() else {
            self.tail = Block::new(next);
            self.freed.extend(self.tail_row.take());
            return;
        };
        self.on_disk_count = self.on_disk_count.saturating_sub(1);
        self.slots_bytes -= oldest.cost;
        self.freed.extend(oldest.row);
        if let Some(block) = oldest.block {
            self.held_bytes -= oldest.cost;
            self.reuse(block);
        }
    }

    /// Evicts the oldest block's datagrams up to the first that arrived at this time or later. `oldest` is that block.
    pub(super) fn evict_until(&mut self, time: Timestamp, oldest: &Block) {
        let kept = oldest.entries_from(self.first).find(|entry| entry.metadata.received_at >= time);
        match kept {
            Some(entry) => self.evict_to(entry.sequence),
            None => self.evict_block(),
        }
        // Until the age limit passes this time, the block has nothing more to evict.
        if kept.is_some()
            && let Some(slot) = self.slots.front_mut()
        {
            slot.times.0 = slot.times.0.max(time);
        }
    }

    /// Evicts the datagrams before this number, all of which are in the oldest block.
    fn evict_to(&mut self, next: u64) {
        self.counters.evicted += next.saturating_sub(self.first.max(self.front()));
        self.first = self.first.max(next);
    }

    /// The first number of the oldest block.
    pub(super) fn front(&self) -> u64 {
        self.slots.front().map_or(self.tail.first(), |slot| slot.first)
    }

    /// Drops the oldest block from memory; if it is not on disk yet, it is lost.
    pub(super) fn drop_from_memory(&mut self) {
        let Some(at) = self.dispensable() else {
            return;
        };
        let slot = &mut self.slots[at];
        self.held_bytes -= slot.cost;
        let block = slot.block.take();
        if slot.is_saved {
            self.on_disk_count += 1;
        } else if let Some(slot) = self.slots.remove(at) {
            self.slots_bytes -= slot.cost;
            self.freed.extend(slot.row);
            self.counters.lost += slot.next - slot.first.max(self.first);
        }
        if let Some(block) = block {
            self.reuse(block);
        }
    }

    /// Gives up the block that begins with this number and is on disk only; returns how many datagrams are lost.
    pub(super) fn lose(&mut self, first: u64) -> u64 {
        let Some(at) = self.slots.range(..self.on_disk_count).position(|slot| slot.first == first) else {
            return 0;
        };
        let Some(slot) = self.slots.remove(at) else { return 0 };
        self.on_disk_count -= 1;
        self.slots_bytes -= slot.cost;
        self.freed.extend(slot.row);
        let lost = slot.next - slot.first.max(self.first);
        self.counters.lost += lost;
        lost
    }

    /// Keeps the block's buffer for the next tail, unless a reader still holds the block.
    fn reuse(&mut self, block: Arc<Block>) {
        self.recycled = Arc::into_inner(block).or(self.recycled.take());
    }

    /// Drops everything but the counters.
    pub(super) fn close(&mut self) {
        self.closed = true;
        self.freed.extend(self.slots.drain(..).filter_map(|slot| slot.row));
        self.freed.extend(self.tail_row.take());
        self.recycled = None;
        (self.on_disk_count, self.slots_bytes, self.held_bytes, self.owner_bytes) = (0, 0, 0, 0);
        self.tail = Block::new(self.tail.next());
    }

    /// Charges the budget for the current size.
    pub(super) fn update_charge(&mut self, budget: &Budget) {
        let tail = self.tail.cost();
        let now = Charge { kept: self.slots_bytes + tail + self.owner_bytes, memory: self.held_bytes + tail };
        budget.charge(std::mem::replace(&mut self.charged, now), now);
    }

    /// Withdraws the log's charge.
    pub(super) fn discharge(&mut self, budget: &Budget) {
        budget.charge(std::mem::take(&mut self.charged), Charge::default());
    }
}

/// A sealed block's entry in a log, whether the block is in memory or on disk.
#[derive(Debug)]
pub(super) struct BlockSlot {
    pub(super) first: u64,
    /// The sequence number after its last.
    pub(super) next: u64,
    /// The earliest and the latest time of arrival of the datagrams that are still kept.
    pub(super) times: (Timestamp, Timestamp),
    pub(super) cost: usize,
    /// None: the block is on disk only.
    pub(super) block: Option<Arc<Block>>,
    /// Its row on disk, whether written yet or not.
    pub(super) row: Option<RowId>,
    /// The row holds the whole block.
    pub(super) is_saved: bool,
}

impl BlockSlot {
    /// `row`: where the block may have been written in part while it was the tail.
    pub(super) fn sealed(block: Block, row: Option<RowId>) -> Self {
        let times = block.times().unwrap_or((Timestamp(i64::MIN), Timestamp(i64::MAX)));
        Self {
            first: block.first(),
            next: block.next(),
            times,
            cost: block.cost(),
            block: Some(Arc::new(block)),
            row,
            is_saved: false,
        }
    }

    pub(super) fn on_disk(stored: &SavedBlock) -> Self {
        Self {
            first: stored.first,
            next: stored.next,
            times: stored.times,
            cost: Block::cost_of(stored.length),
            block: None,
            row: Some(stored.row),
            is_saved: true,
        }
    }

    /// Where the block is; none while it is neither in memory nor has a row, which does not last.
    pub(super) fn source(&self) -> Option<BlockSource> {
        let on_disk = |row| BlockSource::OnDisk { row, first: self.first, next: self.next };
        self.block.clone().map(BlockSource::Held).or(self.row.map(on_disk))
    }
}

/// Where a reader gets a block from: memory, or a row on disk.
pub(super) enum BlockSource {
    Held(Arc<Block>),
    OnDisk { row: RowId, first: u64, next: u64 },
}

impl BlockSource {
    pub(super) fn first(&self) -> u64 {
        match self {
            Self::Held(block) => block.first(),
            Self::OnDisk { first, .. } => *first,
        }
    }
}
