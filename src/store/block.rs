//! Blocks: the parts of a log, each readable by itself.

use std::net::SocketAddr;
use std::ops::Range;

use super::record::{RecordBatch, Records};
use crate::model::{DatagramMeta, ResponseMeta, Timestamp};

/// One datagram of a log.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    pub sequence: u64,
    pub metadata: DatagramMeta<'a>,
    /// Given for responses.
    pub response: Option<ResponseMeta>,
    pub payload: &'a [u8],
}

/// A part of a log: records packed end to end, readable by itself.
///
/// The unit of everything that happens to logs: once sealed it is shared with readers, written to disk as a row, and
/// evicted as a whole. A coalesced buffer costs one record and one copy, however many datagrams it holds.
#[derive(Debug, Clone)]
pub(super) struct Block {
    bytes: Vec<u8>,
    first: u64,
    next: u64,
    /// The earliest and the latest time of arrival.
    times: Option<(Timestamp, Timestamp)>,
    /// The origin of the last record: destination, and where its interface's name stands in `bytes`.
    origin: Option<(SocketAddr, Range<u32>)>,
}

impl Block {
    /// Bytes that a block costs beside its records.
    const OVERHEAD: usize = size_of::<Self>() + 2 * size_of::<usize>();

    pub(super) fn new(first: u64) -> Self {
        Self { bytes: Vec::new(), first, next: first, times: None, origin: None }
    }

    /// The block after this one. It reuses the buffer of an old block, or allocates as much at once as this one holds:
    /// growing step by step would copy the payloads again and again.
    pub(super) fn successor(&self, old: Option<Self>) -> Self {
        let mut bytes = old.map_or_else(|| Vec::with_capacity(self.bytes.len()), |old| old.bytes);
        bytes.clear();
        Self { bytes, ..Self::new(self.next) }
    }

    /// The same block, without the unused part of its buffer if that is more than half.
    pub(super) fn shrink_to_fit(mut self) -> Self {
        if self.bytes.len() < self.bytes.capacity() / 2 {
            self.bytes.shrink_to_fit();
        }
        self
    }

    /// Reads a block from disk; none if its records do not have these sequence numbers.
    pub(super) fn read(bytes: Vec<u8>, first: u64, next: u64) -> Option<Self> {
        let mut times = None;
        let mut end = first;
        let mut records = Records::new(&bytes);
        for batch in records.by_ref() {
            times = Some(widened(times, batch.metadata.received_at));
            end = end.checked_add(batch.count())?;
        }
        let whole = records.is_at_end() && end == next;
        whole.then_some(Self { bytes, first, next, times, origin: None })
    }

    /// The records, as they are on disk.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The cost of a block with this many bytes of records.
    pub(super) fn cost_of(bytes: usize) -> usize {
        bytes + Self::OVERHEAD
    }

    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// The sequence number after its last.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes held, including the block's own overhead.
    pub(super) fn cost(&self) -> usize {
        Self::cost_of(self.bytes.len())
    }

    /// Whether this record batch would make the block larger than `max` bytes.
    pub(super) fn is_full_for(&self, batch: &RecordBatch<'_>, max: usize) -> bool {
        !self.is_empty() && self.bytes.len() + batch.max_bytes() > max
    }

    /// The earliest and the latest time of arrival.
    pub(super) fn times(&self) -> Option<(Timestamp, Timestamp)> {
        self.times
    }

    /// Appends a record batch and returns how many datagrams it has.
    pub(super) fn push(&mut self, batch: &RecordBatch<'_>) -> u64 {
        let metadata = &batch.metadata;
        let known = self.origin.as_ref().is_some_and(|(destination, name)| {
            *destination == metadata.destination
                && self.bytes[name.start as usize..name.end as usize] == *metadata.interface.as_bytes()
        });
        batch.write(&mut self.bytes, !known);
        if !known {
            let position = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
            let end = self.bytes.len() - batch.bytes.len();
            let name = position(end - metadata.interface.len())..position(end);
            self.origin = Some((metadata.destination, name));
        }
        self.times = Some(widened(self.times, metadata.received_at));
        let count = batch.count();
        self.next += count;
        count
    }

    /// The datagrams from this sequence number on.
    pub(super) fn entries_from(&self, sequence: u64) -> impl Iterator<Item = Entry<'_>> {
        let mut next = self.first;
        Records::new(&self.bytes).flat_map(move |batch| {
            let first = next;
            next += batch.count();
            (sequence.max(first)..next).map(move |sequence| Entry {
                sequence,
                metadata: batch.metadata,
                response: batch.response,
                payload: datagram(&batch, sequence - first),
            })
        })
    }
}

/// Extends the earliest and the latest time to another one.
fn widened(times: Option<(Timestamp, Timestamp)>, at: Timestamp) -> (Timestamp, Timestamp) {
    times.map_or((at, at), |(since, until)| (since.min(at), until.max(at)))
}

fn datagram<'a>(batch: &RecordBatch<'a>, nth: u64) -> &'a [u8] {
    let Some(size) = batch.segment.map(usize::from) else {
        return batch.bytes;
    };
    let start = usize::try_from(nth).unwrap_or(usize::MAX).saturating_mul(size).min(batch.bytes.len());
    &batch.bytes[start..start.saturating_add(size).min(batch.bytes.len())]
}
