//! The responders of a message: the first ones, with their figures, and the budget of all such tables.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use crate::bounded_counter::BoundedCounter;

/// The responders of a message in the order of their first responses, as many as the budget allows.
///
/// A view shares the rows: it copies nothing while it holds the lock that a receive thread takes.
pub(in crate::control) struct ResponderTable {
    budget: Arc<TableBudget>,
    charged: usize,
    /// Each part has as many rows as all parts before it.
    parts: Vec<RowPart>,
    /// The number of rows in use.
    length: usize,
    /// None once no more responses are expected.
    index: Option<ResponderIndex>,
}

/// The first responders of a message, as a view lists them.
#[derive(Default)]
pub struct ListedResponders {
    parts: Vec<RowPart>,
    length: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RespondingPeer {
    pub responses: u64,
    /// The sequence number of its first response in the log.
    pub first_sequence: u64,
    pub first_rtt_us: Option<u64>,
    /// All of its responses arrived after the message was closed.
    pub late: bool,
}

type RowPart = Arc<[OnceLock<ResponderRow>]>;

struct ResponderRow {
    source: SocketAddr,
    first_sequence: u64,
    first_rtt_us: Option<u64>,
    responses: AtomicU64,
    late: AtomicBool,
}

#[derive(Default)]
struct ResponderIndex {
    /// The row of each responder.
    rows: HashMap<SocketAddr, usize>,
    /// How many rows each address has.
    by_address: HashMap<IpAddr, usize>,
}

impl ResponderTable {
    /// Rows of the first part.
    const FIRST_PART: usize = 4;
    /// Bytes of a row.
    const ROW_BYTES: usize = size_of::<OnceLock<ResponderRow>>();
    /// The most bytes of a row's entries in the index: a hash table has up to two buckets for each entry, with a byte
    /// of its own for each.
    const INDEX_BYTES: usize = 2 * (size_of::<(SocketAddr, usize)>() + 1 + size_of::<(IpAddr, usize)>() + 1);

    pub(in crate::control) fn new(budget: Arc<TableBudget>) -> Self {
        Self { budget, charged: 0, parts: Vec::new(), length: 0, index: Some(ResponderIndex::default()) }
    }

    /// The listed responders of a message that was closed in an earlier run.
    pub(in crate::control) fn restored(
        budget: Arc<TableBudget>,
        listed: Vec<(SocketAddr, RespondingPeer)>,
    ) -> Self {
        let mut table = Self::new(budget);
        table.index = None;
        for (source, peer) in listed {
            if table.length == table.capacity() {
                table.add_part();
                table.budget.charge(table.bytes() - table.charged);
                table.charged = table.bytes();
            }
            table.push(source, peer);
        }
        table
    }

    /// Notes a response. Returns whether its source has responded before; none if that is unknown, because the table
    /// has no row for it.
    pub(super) fn note(&mut self, source: SocketAddr, first: RespondingPeer) -> Option<bool> {
        let index = self.index.as_ref()?;
        if let Some(&at) = index.rows.get(&source) {
            if let Some(row) = self.row(at) {
                row.responses.fetch_add(1, Ordering::Relaxed);
                row.late.fetch_and(first.late, Ordering::Relaxed);
            }
            return Some(true);
        }
        let of_address = index.by_address.get(&source.ip()).copied().unwrap_or_default();
        if !self.has_room_for(of_address) {
            return None;
        }
        if let Some(index) = &mut self.index {
            index.rows.insert(source, self.length);
            *index.by_address.entry(source.ip()).or_default() += 1;
        }
        self.push(source, first);
        Some(false)
    }

    /// The first rows.
    pub(super) fn first(&self, limit: usize) -> ListedResponders {
        let length = self.length.min(limit);
        ListedResponders { parts: self.parts[..Self::parts_for(length)].to_vec(), length }
    }

    /// Notes no more responses, and keeps only the rows that views list.
    pub(super) fn freeze(&mut self, listed: usize) {
        self.index = None;
        self.length = self.length.min(listed);
        self.parts.truncate(Self::parts_for(self.length));
        self.parts.shrink_to_fit();
        self.release_unused();
    }

    /// Drops the rows of a frozen table.
    pub(super) fn drop_rows(&mut self) {
        if self.index.is_none() {
            (self.parts, self.length) = (Vec::new(), 0);
            self.release_unused();
        }
    }

    /// Whether there is room for a row of an address that has so many; adds a part if one is needed. One address takes
    /// at most as many rows as it leaves free, so that no single sender fills the table.
    fn has_room_for(&mut self, of_address: usize) -> bool {
        let free = self.budget.rows().saturating_sub(self.length);
        of_address < free && (self.length < self.capacity() || self.grow())
    }

    /// Adds a part if the budget of all tables has room for it.
    fn grow(&mut self) -> bool {
        let added = self.next_part() * (Self::ROW_BYTES + Self::INDEX_BYTES);
        let has_room = self.budget.try_charge(added);
        if has_room {
            self.charged += added;
            self.add_part();
        }
        has_room
    }

    fn add_part(&mut self) {
        let rows = self.next_part();
        self.parts.push(std::iter::repeat_with(OnceLock::new).take(rows).collect());
    }

    fn push(&mut self, source: SocketAddr, peer: RespondingPeer) {
        let RespondingPeer { responses, first_sequence, first_rtt_us, late } = peer;
        let (responses, late) = (responses.into(), late.into());
        let row = ResponderRow { source, first_sequence, first_rtt_us, responses, late };
        let (part, at) = Self::position(self.length);
        if self.parts[part][at].set(row).is_ok() {
            self.length += 1;
        }
    }

    fn row(&self, at: usize) -> Option<&ResponderRow> {
        let (part, at) = Self::position(at);
        self.parts[part][at].get()
    }

    fn capacity(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }

    /// The number of rows of the next part.
    fn next_part(&self) -> usize {
        self.capacity().max(Self::FIRST_PART)
    }

    /// The bytes of its rows.
    fn bytes(&self) -> usize {
        self.capacity() * Self::ROW_BYTES
    }

    /// Releases what the rows do not take any more.
    fn release_unused(&mut self) {
        let bytes = self.bytes();
        self.budget.release(self.charged.saturating_sub(bytes));
        self.charged = bytes;
    }

    /// The part of a row, and its position there.
    fn position(at: usize) -> (usize, usize) {
        match (at / Self::FIRST_PART).checked_ilog2() {
            None => (0, at),
            Some(doublings) => (doublings as usize + 1, at - (Self::FIRST_PART << doublings)),
        }
    }

    /// The number of parts that hold the first `length` rows.
    fn parts_for(length: usize) -> usize {
        length.checked_sub(1).map_or(0, |last| Self::position(last).0 + 1)
    }
}

impl Drop for ResponderTable {
    fn drop(&mut self) {
        self.budget.release(self.charged);
    }
}

impl ListedResponders {
    pub fn iter(&self) -> impl Iterator<Item = (SocketAddr, RespondingPeer)> + '_ {
        let rows = self.parts.iter().flat_map(|part| part.iter()).filter_map(OnceLock::get);
        rows.take(self.length).map(|row| {
            let peer = RespondingPeer {
                responses: row.responses.load(Ordering::Relaxed),
                first_sequence: row.first_sequence,
                first_rtt_us: row.first_rtt_us,
                late: row.late.load(Ordering::Relaxed),
            };
            (row.source, peer)
        })
    }
}

/// The bounds on the tables of responders: the rows of each, and the bytes of all.
pub(in crate::control) struct TableBudget {
    rows: usize,
    held: BoundedCounter,
}

impl TableBudget {
    pub(in crate::control) fn new(rows: usize, bytes: usize) -> Self {
        Self { rows, held: BoundedCounter::new(bytes) }
    }

    /// The most rows of one table.
    pub(in crate::control) fn rows(&self) -> usize {
        self.rows
    }

    /// The bytes of all tables.
    pub(in crate::control) fn held(&self) -> usize {
        self.held.get()
    }

    /// Whether tables of closed messages are emptied for those of messages that collect, until
    /// [`Self::has_room`].
    pub(in crate::control) fn is_short(&self) -> bool {
        self.held() > self.held.max() / 2
    }

    pub(in crate::control) fn has_room(&self) -> bool {
        self.held() <= self.held.max() / 8 * 3
    }

    /// Charges these bytes, unless that would exceed the bound.
    pub(super) fn try_charge(&self, bytes: usize) -> bool {
        self.held.try_add(bytes)
    }

    /// Charges the bytes of restored rows, which may exceed the bound for a moment.
    pub(super) fn charge(&self, bytes: usize) {
        self.held.add_beyond_max(bytes);
    }

    pub(super) fn release(&self, bytes: usize) {
        self.held.subtract(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: RespondingPeer =
        RespondingPeer { responses: 1, first_sequence: 1, first_rtt_us: None, late: false };

    fn peer(address: u8, port: u16) -> SocketAddr {
        ([192, 0, 2, address], port).into()
    }

    fn table(rows: usize, bytes: usize) -> (Arc<TableBudget>, ResponderTable) {
        let budget = Arc::new(TableBudget::new(rows, bytes));
        (budget.clone(), ResponderTable::new(budget))
    }

    #[test]
    fn rows_stay_in_order_and_are_shared_with_views() {
        let (_, mut table) = table(1_000, 1 << 20);
        let before = table.first(1_000);
        for number in 0..100 {
            assert_eq!(table.note(peer(number, 1), FIRST), Some(false));
        }
        let listed = table.first(50);
        assert_eq!(table.note(peer(3, 1), FIRST), Some(true));
        let sources: Vec<_> = listed.iter().map(|(source, _)| source).collect();
        assert_eq!(sources, (0..50).map(|number| peer(number, 1)).collect::<Vec<_>>());
        assert_eq!(listed.iter().nth(3).unwrap().1.responses, 2);
        assert_eq!(before.iter().count(), 0);
    }

    #[test]
    fn an_address_takes_as_many_rows_as_it_leaves_free() {
        let (_, mut table) = table(8, 1 << 20);
        let noted: Vec<_> = (1..10).map(|port| table.note(peer(1, port), FIRST)).collect();
        assert_eq!(noted.iter().flatten().count(), 4);
        let others: Vec<_> = (2..10).map(|address| table.note(peer(address, 1), FIRST)).collect();
        assert_eq!(others.iter().flatten().count(), 4, "the others get the rest");
        assert_eq!(table.note(peer(1, 1), FIRST), Some(true));
    }

    #[test]
    fn the_budget_bounds_all_tables_and_gets_back_what_they_free() {
        let (budget, mut first) = table(1_000, 64 * 1024);
        let fill = |table: &mut ResponderTable| {
            let noted = (0..1_000).filter(|number| {
                let [high, low] = u16::to_be_bytes(*number);
                table.note(([198, 51, high, low], 1).into(), FIRST).is_some()
            });
            noted.count()
        };
        let rows = fill(&mut first);
        let mut second = ResponderTable::new(budget.clone());
        let rest = fill(&mut second);
        assert!((100..1_000).contains(&rows) && rest < 500, "{rows} {rest}");
        assert!(budget.held() <= 64 * 1024);
        first.freeze(10);
        assert_eq!(first.note(peer(1, 1), FIRST), None);
        assert_eq!(first.first(1_000).iter().count(), 10);
        second.freeze(0);
        assert!(budget.held() <= 16 * ResponderTable::ROW_BYTES);
        first.drop_rows();
        drop(second);
        assert_eq!((budget.held(), first.first(1_000).iter().count()), (0, 0));
    }
}
