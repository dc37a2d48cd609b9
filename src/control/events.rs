//! The events of all resources: a bounded ring that readers follow with cursors, as they follow logs.
//!
//! Emitting an event costs a lock and a push.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use super::ResourceKind;
use crate::model::{CloseReason, Group, Id, Labels, Selector, Timestamp};
use crate::store::{Cursor, Gap, GapReason};
use crate::sync::Lock;

/// A change of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The sequence number among all events, from 1.
    pub sequence: u64,
    pub at: Timestamp,
    pub event: EventKind,
    pub kind: ResourceKind,
    pub id: Id,
    pub group: Group,
    /// The labels of the resource at that time.
    pub labels: Labels,
    /// None if the event concerns the resource as a whole.
    pub interface: Option<Arc<str>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// Joined on an interface; the resource hears there unless `NotHearing` follows.
    Joined,
    /// With an interface: the resource waits for it, or cannot reply there, for this reason. Without: no interface is
    /// usable yet.
    Pending(Option<Arc<str>>),
    /// A joined interface went away, or the kernel forgot the membership there, as this says.
    Lost(Arc<str>),
    /// Datagrams can arrive on an interface again.
    Hearing,
    /// Joined on an interface, but nothing can arrive there any more, for this reason.
    NotHearing(Arc<str>),
    /// The socket on an interface was closed because the service's own code failed.
    Failed(Arc<str>),
    /// The specification or the duration of the lease has changed. These were the labels before.
    Changed(Labels),
    /// With an interface: it is no longer in the specification. Without: left everywhere.
    Left,
    /// The lease ran out.
    Expired,
    Sent,
    Closed(CloseReason),
    Deleted,
}

/// The latest events, for all readers.
pub struct Events {
    /// Random, like the epoch of a log.
    epoch: u64,
    capacity: usize,
    /// Std lock: held for a push, or for the copy of a page.
    ring: Mutex<Ring>,
    changed: Notify,
}

struct Ring {
    events: VecDeque<Event>,
    /// Of all events.
    label_bytes: usize,
    /// The sequence number of the next event.
    next: u64,
}

/// The result of one read.
#[derive(Debug)]
pub struct EventPage {
    pub events: Vec<Event>,
    pub next: Cursor,
    pub gap: Option<Gap>,
    /// Whether there are events after `next`.
    pub more: bool,
}

impl Events {
    /// The number of kept events: some 2 MiB, and their labels.
    pub(super) const KEPT: usize = 10_000;
    /// The most bytes of their labels: 400 for each. An event of a deleted resource is the last to have its labels.
    const LABEL_BYTES: usize = 4 << 20;
    /// Events that are examined before the lock is released for others.
    const MAX_EXAMINED: usize = 1_000;

    pub(super) fn new(capacity: usize) -> Self {
        // It would grow to the next power of two.
        let ring = Mutex::new(Ring { events: VecDeque::with_capacity(capacity), label_bytes: 0, next: 1 });
        Self { epoch: fastrand::u64(..), capacity, ring, changed: Notify::new() }
    }

    pub(super) fn emit(
        &self,
        event: EventKind,
        kind: ResourceKind,
        id: &Id,
        group: Group,
        labels: &Labels,
        interface: Option<Arc<str>>,
    ) {
        let (id, labels) = (id.clone(), labels.clone());
        let mut ring = self.ring();
        let (sequence, at) = (ring.next, Timestamp::now());
        let event = Event { sequence, at, event, kind, id, group, labels, interface };
        let evicted = ring.make_room(self.capacity, event.label_bytes());
        ring.events.push_back(event);
        ring.next += 1;
        drop(ring);
        drop(evicted);
        self.changed.notify_waiters();
    }

    /// Up to `limit` events after the cursor that `wants` selects, as far as one read examines them; without a cursor,
    /// starting at the oldest kept event.
    pub fn read(&self, after: Option<Cursor>, limit: usize, wants: impl Fn(&Event) -> bool) -> EventPage {
        let ring = self.ring();
        let first = ring.first();
        let replaced = after.is_some_and(|cursor| cursor.epoch != self.epoch || cursor.sequence >= ring.next);
        let next = after.filter(|_| !replaced).map_or(1, |cursor| cursor.sequence + 1);
        let missed = first.saturating_sub(next);
        let gap = if replaced {
            Some(Gap { reason: GapReason::LogReplaced, missed: None })
        } else {
            (missed > 0).then_some(Gap { reason: GapReason::Retention, missed: Some(missed) })
        };
        let start = next.max(first);
        let (mut events, mut sequence) = (Vec::new(), start - 1);
        for event in ring.range(start, start + Self::MAX_EXAMINED as u64) {
            if events.len() == limit {
                break;
            }
            sequence = event.sequence;
            if wants(event) {
                events.push(event.clone());
            }
        }
        let next = Cursor { epoch: self.epoch, sequence };
        EventPage { events, next, gap, more: sequence + 1 < ring.next }
    }

    /// The position before the last `count` events that `wants` selects; before all of them if they are fewer.
    pub fn before_last(&self, count: usize, wants: impl Fn(&Event) -> bool) -> Cursor {
        let at = |next: u64| Cursor { epoch: self.epoch, sequence: next - 1 };
        let (mut end, mut left) = (self.ring().next, count);
        loop {
            let ring = self.ring();
            let start = ring.first().max(end.saturating_sub(Self::MAX_EXAMINED as u64));
            if left == 0 || start >= end {
                return at(end.max(start));
            }
            for event in ring.range(start, end).rev().filter(|event| wants(event)) {
                left -= 1;
                if left == 0 {
                    return at(event.sequence);
                }
            }
            end = start;
        }
    }

    /// The cursor after the latest event.
    pub fn latest(&self) -> Cursor {
        Cursor { epoch: self.epoch, sequence: self.ring().next - 1 }
    }

    /// Resolves at the next event after this call, even if the future is polled later.
    pub fn changed(&self) -> impl Future<Output = ()> + '_ {
        let mut waiting = Box::pin(self.changed.notified());
        waiting.as_mut().enable();
        waiting
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock_shared()
    }
}

impl Event {
    /// Whether the selector matches the labels of the resource, or those that it had before this change: then this is
    /// the last event that matches.
    pub fn is_selected_by(&self, selector: &Selector) -> bool {
        selector.matches(&self.labels)
            || matches!(&self.event, EventKind::Changed(before) if selector.matches(before))
    }

    fn label_bytes(&self) -> usize {
        let before = if let EventKind::Changed(before) = &self.event { before.bytes() } else { 0 };
        self.labels.bytes() + before
    }
}

impl Ring {
    /// Makes room for an event with labels of this size, and charges them. Returns the oldest events, to be dropped
    /// without the lock.
    fn make_room(&mut self, capacity: usize, label_bytes: usize) -> Vec<Event> {
        let mut evicted = Vec::new();
        self.label_bytes += label_bytes;
        while (self.events.len() >= capacity || self.label_bytes > Events::LABEL_BYTES)
            && let Some(oldest) = self.events.pop_front()
        {
            self.label_bytes -= oldest.label_bytes();
            evicted.push(oldest);
        }
        evicted
    }

    /// The sequence number of the oldest kept event.
    fn first(&self) -> u64 {
        self.next - self.events.len() as u64
    }

    /// The events from `start` to before `end`; `start` is not before the oldest.
    fn range(&self, start: u64, end: u64) -> impl DoubleEndedIterator<Item = &Event> {
        let position = |sequence: u64| usize::try_from(sequence - self.first()).unwrap_or(usize::MAX);
        self.events.range(position(start)..position(end.min(self.next)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn emit(events: &Events, count: u64) {
        let (group, _) = Group::parse("239.1.2.3:10000").unwrap();
        let id = Id::parse("a").unwrap();
        for _ in 0..count {
            let labels = Labels::default();
            events.emit(EventKind::Joined, ResourceKind::Membership, &id, group, &labels, Some("lo".into()));
        }
    }

    fn read(events: &Events, after: Option<Cursor>, limit: usize) -> EventPage {
        events.read(after, limit, |_| true)
    }

    fn sequences(page: &EventPage) -> Vec<u64> {
        page.events.iter().map(|event| event.sequence).collect()
    }

    #[test]
    fn a_reader_gets_every_event_once() {
        let events = Events::new(10);
        let start = read(&events, None, 10);
        assert_eq!((sequences(&start), start.gap), (vec![], None));
        emit(&events, 3);
        let page = read(&events, Some(start.next), 2);
        assert_eq!((sequences(&page), page.gap), (vec![1, 2], None));
        let page = read(&events, Some(page.next), 2);
        assert_eq!((sequences(&page), page.gap), (vec![3], None));
        assert_eq!(sequences(&read(&events, Some(page.next), 2)), [0; 0]);
    }

    #[test]
    fn an_overtaken_reader_gets_the_number_of_missed_events() {
        let events = Events::new(3);
        emit(&events, 1);
        let seen = read(&events, None, 10).next;
        emit(&events, 5);
        let page = read(&events, Some(seen), 10);
        let missed = Gap { reason: GapReason::Retention, missed: Some(2) };
        assert_eq!((sequences(&page), page.gap), (vec![4, 5, 6], Some(missed)));
        assert_eq!(read(&events, Some(page.next), 10).gap, None);
    }

    #[test]
    fn the_last_events_are_found_across_many_others() {
        let events = Events::new(5_000);
        let nth = |count| move |event: &Event| event.sequence.is_multiple_of(count);
        assert_eq!(events.before_last(3, |_| true).sequence, 0);
        emit(&events, 6_000);
        for (count, every, before) in [
            (1, 1, 5_999),
            (3, 1, 5_997),
            (3, 1_500, 2_999),
            (4, 1_500, 1_499),
            (5, 1_500, 1_000),
            (9_999, 1, 1_000),
        ] {
            let start = events.before_last(count, nth(every));
            assert_eq!(start.sequence, before, "the last {count} of each {every}");
            let (mut found, mut after) = (Vec::new(), start);
            loop {
                let page = events.read(Some(after), 10_000, nth(every));
                assert_eq!(page.gap, None);
                found.extend(sequences(&page));
                after = page.next;
                if !page.more {
                    break;
                }
            }
            let expected = (before + 1..=6_000).filter(|sequence| sequence.is_multiple_of(every));
            assert!(expected.eq(found), "the last {count} of each {every}");
        }
    }

    #[test]
    fn large_labels_leave_room_for_fewer_events() {
        let (events, (group, _)) = (Events::new(10_000), Group::parse("239.1.2.3:10000").unwrap());
        let label = |n| format!("{n:063}={}", "v".repeat(63));
        let labels = Labels::parse(&(0..64).map(label).collect::<Vec<_>>().join(",")).unwrap();
        let fitting = Events::LABEL_BYTES / (2 * labels.bytes());
        for n in 0..2 * fitting as u64 {
            let id = Id::parse(&n.to_string()).unwrap();
            let changed = EventKind::Changed(labels.clone());
            events.emit(changed, ResourceKind::Membership, &id, group, &labels, None);
        }
        let gap = read(&events, None, 10_000).gap;
        assert_eq!(gap.unwrap().missed, Some(fitting as u64));
        emit(&events, 10_000);
        assert_eq!(events.ring().label_bytes, 0);
    }

    #[test]
    fn a_cursor_of_another_process_gives_a_gap() {
        let (before, events) = (Events::new(3), Events::new(3));
        emit(&events, 2);
        let page = read(&events, Some(read(&before, None, 1).next), 10);
        let replaced = Gap { reason: GapReason::LogReplaced, missed: None };
        assert_eq!((sequences(&page), page.gap), (vec![1, 2], Some(replaced)));
    }
}
