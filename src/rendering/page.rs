//! JSON pages of a log, made of one or several reads.

use super::filter::Filter;
use crate::contract::datagrams::{DatagramPage, GapBody, Response};
use crate::contract::datagrams::{Item, ItemKind};
use crate::contract::{Encoding, PageRoom};
use crate::store::{Cursor, Gap, Page};

/// Collects the datagrams of a page that pass the filter.
#[derive(Debug)]
pub struct PageBuilder {
    /// The most datagrams in the page.
    limit: usize,
    filter: Filter,
    items: ItemKind,
    encoding: Encoding,
    /// The items as JSON, each followed by a comma.
    found: Vec<u8>,
    count: usize,
    next: Option<Cursor>,
    gap: Option<Gap>,
}

impl PageBuilder {
    /// `after`: the cursor at which the page begins.
    pub fn new(
        after: Option<Cursor>,
        limit: usize,
        filter: Filter,
        items: ItemKind,
        encoding: Encoding,
    ) -> Self {
        Self { limit, filter, items, encoding, found: Vec::new(), count: 0, next: after, gap: None }
    }

    /// The cursor to read on from.
    pub fn next(&self) -> Option<Cursor> {
        self.next
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether the page is complete: it has reached the limit or is full, or has a gap (a page reports only one).
    pub fn is_full(&self) -> bool {
        self.has_no_room() || self.gap.is_some()
    }

    /// Takes datagrams that pass the filter, up to the limit; returns how many it examined.
    pub fn take(&mut self, page: &Page) -> usize {
        self.gap = self.gap.or(page.gap);
        let mut next = page.next;
        let mut examined = 0;
        for entry in page.entries() {
            examined += 1;
            if self.filter.wants(&entry) {
                let item = self.items.show(&entry, self.encoding);
                serde_json::to_writer(&mut self.found, &item).expect("an item has a JSON form");
                self.found.push(b',');
                self.count += 1;
                if self.has_no_room() {
                    next = Cursor { sequence: entry.sequence, ..page.next };
                    break;
                }
            }
        }
        self.next = Some(next);
        examined
    }

    fn has_no_room(&self) -> bool {
        self.count >= self.limit || self.found.len() >= PageRoom::BYTES
    }

    /// The page as JSON. `dropped_buffers`: those that the kernel dropped since the log began.
    pub fn build(mut self, dropped_buffers: u64) -> Vec<u8> {
        let page = DatagramPage::<Item> {
            items: Vec::new(),
            next_cursor: self.next.map(|next| next.to_string()).unwrap_or_default(),
            dropped_buffers,
            dropped: dropped_buffers,
            gap: self.gap.map(GapBody::from),
        };
        let around = serde_json::to_string(&page).expect("a page has a JSON form");
        let (before, after) = around.split_once("[]").expect("it has no items");
        self.found.pop_if(|last| *last == b',');
        self.found.splice(..0, [before.as_bytes(), b"["].concat());
        self.found.push(b']');
        self.found.extend_from_slice(after.as_bytes());
        self.found.push(b'\n');
        self.found
    }
}

/// The responses of one read, as many as a page has room for.
pub fn response_page(page: &Page, dropped_buffers: u64) -> DatagramPage<Response> {
    let (mut room, mut items, mut next) = (PageRoom::default(), Vec::new(), page.next);
    for entry in page.entries() {
        let response = Response::of(&entry, Encoding::Auto);
        let has_room = room.take(&response);
        items.push(response);
        if !has_room {
            next = Cursor { sequence: entry.sequence, ..page.next };
            break;
        }
    }
    DatagramPage {
        items,
        next_cursor: next.to_string(),
        dropped_buffers,
        dropped: dropped_buffers,
        gap: page.gap.map(GapBody::from),
    }
}
