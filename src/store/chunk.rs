use crate::model::Heard;

/// Datagrams to append that have everything but their payloads in common: what `UDP_GRO` coalesced, or one.
#[derive(Debug, Clone)]
pub struct Run<'a, X> {
    pub heard: Heard,
    pub extra: X,
    /// Size of each datagram in `bytes`, the last may be shorter. None: `bytes` is one datagram.
    pub segment: Option<u16>,
    pub bytes: &'a [u8],
}

/// One datagram of a log.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a, X> {
    pub sequence: u64,
    pub heard: &'a Heard,
    pub extra: &'a X,
    pub payload: &'a [u8],
}

/// A stretch of a log: payloads packed end to end, and a header for each run of them.
///
/// A coalesced buffer costs one header and one copy, however many datagrams it holds.
#[derive(Debug, Clone)]
pub(super) struct Chunk<X> {
    runs: Vec<Header<X>>,
    payloads: Vec<u8>,
    first: u64,
    next: u64,
}

#[derive(Debug, Clone)]
struct Header<X> {
    first: u64,
    start: u32,
    length: u32,
    /// Size of each datagram; `length` when there is but one.
    segment: u32,
    heard: Heard,
    extra: X,
}

impl<X> Header<X> {
    fn count(&self) -> u64 {
        u64::from(self.length.div_ceil(self.segment.max(1)).max(1))
    }
}

impl<X> Chunk<X> {
    /// What one datagram or run costs beside its payload.
    pub(super) const HEADER_BYTES: usize = size_of::<Header<X>>();

    pub(super) fn new(first: u64) -> Self {
        Self { runs: Vec::new(), payloads: Vec::new(), first, next: first }
    }

    /// The chunk after this one, with the room of an old one or, because this one was filled, as much room at
    /// once: growing step by step would copy the payloads again and again.
    pub(super) fn successor(&self, old: Option<Self>) -> Self {
        let (mut runs, mut payloads) = old.map_or_else(
            || (Vec::with_capacity(self.runs.len()), Vec::with_capacity(self.payloads.capacity())),
            |old| (old.runs, old.payloads),
        );
        runs.clear();
        payloads.clear();
        Self { runs, payloads, first: self.next, next: self.next }
    }

    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// The sequence number after its last.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    pub(super) fn contains(&self, sequence: u64) -> bool {
        (self.first..self.next).contains(&sequence)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Bytes held, headers included.
    pub(super) fn bytes(&self) -> usize {
        self.payloads.len() + self.runs.len() * Self::HEADER_BYTES
    }

    /// Appends a run and returns how many datagrams it is.
    pub(super) fn push(&mut self, run: Run<'_, X>) -> u64 {
        let length = u32::try_from(run.bytes.len()).unwrap_or(u32::MAX);
        let header = Header {
            first: self.next,
            start: u32::try_from(self.payloads.len()).unwrap_or(u32::MAX),
            length,
            segment: run.segment.map_or(length, u32::from),
            heard: run.heard,
            extra: run.extra,
        };
        let count = header.count();
        self.payloads.extend_from_slice(run.bytes);
        self.runs.push(header);
        self.next += count;
        count
    }

    /// The datagrams from this sequence number on.
    pub(super) fn entries_from(&self, sequence: u64) -> impl Iterator<Item = Entry<'_, X>> {
        let start = self.runs.partition_point(|run| run.first + run.count() <= sequence);
        self.runs[start..].iter().flat_map(move |run| {
            let skip = sequence.saturating_sub(run.first);
            (skip..run.count()).map(move |nth| self.entry(run, nth))
        })
    }

    fn entry<'a>(&'a self, run: &'a Header<X>, nth: u64) -> Entry<'a, X> {
        let offset = usize::try_from(nth).unwrap_or(usize::MAX).saturating_mul(run.segment as usize);
        let start = run.start as usize + offset;
        let end = (start + run.segment as usize).min((run.start + run.length) as usize);
        Entry {
            sequence: run.first + nth,
            heard: &run.heard,
            extra: &run.extra,
            payload: &self.payloads[start..end],
        }
    }
}

impl<X: Clone> Chunk<X> {
    /// A copy of the runs that hold these datagrams, so that a reader can let go of the log's lock.
    pub(super) fn copy_of(&self, sequence: u64, limit: usize) -> Self {
        let start = self.runs.partition_point(|run| run.first + run.count() <= sequence);
        let end_sequence = sequence.saturating_add(limit as u64);
        let end = self.runs.partition_point(|run| run.first < end_sequence).max(start);
        let mut runs = self.runs[start..end].to_vec();
        let Some(offset) = runs.first().map(|run| run.start) else {
            return Self::new(self.next);
        };
        let stop = runs.last().map_or(offset, |run| run.start + run.length);
        for run in &mut runs {
            run.start -= offset;
        }
        let first = runs[0].first;
        let next = runs.last().map_or(first, |run| run.first + run.count());
        Self { runs, payloads: self.payloads[offset as usize..stop as usize].to_vec(), first, next }
    }
}
