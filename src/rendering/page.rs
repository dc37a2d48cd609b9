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
    found: Vec<Item>,
    room: PageRoom,
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
        let room = PageRoom::default();
        Self { limit, filter, items, encoding, found: Vec::new(), room, next: after, gap: None }
    }

    /// The cursor to read on from.
    pub fn next(&self) -> Option<Cursor> {
        self.next
    }

    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Whether the page is complete: it has reached the limit or is full, or has a gap (a page reports only one).
    pub fn is_full(&self) -> bool {
        self.found.len() >= self.limit || self.room.is_full() || self.gap.is_some()
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
                let has_room = self.room.take(&item);
                self.found.push(item);
                if self.found.len() == self.limit || !has_room {
                    next = Cursor { sequence: entry.sequence, ..page.next };
                    break;
                }
            }
        }
        self.next = Some(next);
        examined
    }

    /// `dropped`: buffers that the kernel dropped since the log began.
    pub fn build(self, dropped: u64) -> DatagramPage<Item> {
        DatagramPage {
            items: self.found,
            next_cursor: self.next.map(|next| next.to_string()).unwrap_or_default(),
            dropped,
            gap: self.gap.map(GapBody::from),
        }
    }
}

/// The responses of one read, as many as a page has room for.
pub fn response_page(page: &Page, dropped: u64) -> DatagramPage<Response> {
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
    DatagramPage { items, next_cursor: next.to_string(), dropped, gap: page.gap.map(GapBody::from) }
}
