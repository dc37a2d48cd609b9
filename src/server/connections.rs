//! The open connections: how many there may be, and which to close when others need their slots.
//!
//! A connection beyond the limit is accepted into a reserve, so that operators and clients with a token get through when
//! all slots are taken. The service then makes room: it closes the connection that has waited longest for the head of a
//! request, or else the one that has been idle longest. Connections with a request under way are never closed for others,
//! and neither are those that were not read yet. One whose request arrives before it is closed takes a slot of the reserve
//! instead.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, ready};

use hashlink::LinkedHashMap;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::http::{Capacity, CloseCause, ConnectionCounts, HeldBytes, RequestBytes};
use crate::sync::Lock;

pub(super) struct Connections {
    limit: usize,
    reserve: usize,
    counts: Arc<ConnectionCounts>,
    bytes: Arc<RequestBytes>,
    /// Std lock: held to move one entry.
    table: Mutex<ConnectionTable>,
    /// Notified when a connection is gone, or stays although it was told to close, or was read for the first time.
    changed: Notify,
}

#[derive(Default)]
struct ConnectionTable {
    open: usize,
    /// How many of them were told to close. Their slots count as free.
    closing: usize,
    /// How many of them were not read yet.
    new: usize,
    next_id: u64,
    /// Those without a complete head of a request, the longest waiting first; and how to tell them to close.
    heads: LinkedHashMap<u64, CancellationToken>,
    /// Those that wait for the next request, the longest waiting first.
    idle: LinkedHashMap<u64, CancellationToken>,
}

/// An open connection, until it is dropped.
pub(super) struct Connection {
    connections: Arc<Connections>,
    id: u64,
    reserved: AtomicBool,
    /// A [`Phase`].
    phase: AtomicU8,
    /// Whether nothing has arrived that was not read. Shared only within the task that polls the stream, so relaxed
    /// ordering suffices.
    is_waiting: AtomicBool,
    /// Whether a request has arrived since it was told to close.
    stays: AtomicBool,
    /// The bytes of a head that is not complete. Std lock: held to count.
    head: Mutex<HeldBytes>,
    close_requested: CancellationToken,
}

/// There is no slot.
struct Full {
    /// Whether one may become free soon: the refusal and this are of the same moment.
    is_changing: bool,
}

/// What a connection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// Its stream was not read yet.
    New,
    Head,
    Request,
    Idle,
}

impl Connections {
    pub(super) fn new(limit: usize, counts: Arc<ConnectionCounts>, bytes: Arc<RequestBytes>) -> Self {
        /// Enough for those who operate the service.
        const RESERVE: std::ops::RangeInclusive<usize> = 4..=64;
        counts.set_limit(limit);
        Self {
            limit,
            reserve: (limit / 8).clamp(*RESERVE.start(), *RESERVE.end()),
            counts,
            bytes,
            table: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// A slot for a new connection, once one is free; none if requests occupy all of them.
    pub(super) async fn take_slot(self: &Arc<Self>) -> Option<Connection> {
        loop {
            let changed = self.changed.notified();
            match self.try_take_slot(true) {
                Err(Full { is_changing: true }) => changed.await,
                outcome => return self.count_if_full(outcome),
            }
        }
    }

    /// A slot for a new connection, if there is one at once.
    pub(super) fn take_slot_at_once(self: &Arc<Self>) -> Option<Connection> {
        self.count_if_full(self.try_take_slot(false))
    }

    fn count_if_full(&self, outcome: Result<Connection, Full>) -> Option<Connection> {
        if outcome.is_err() {
            self.counts.closed(CloseCause::Full);
        }
        outcome.ok()
    }

    /// `may_wait`: full also if a connection that was not read yet may turn out to wait for a head.
    fn try_take_slot(self: &Arc<Self>, may_wait: bool) -> Result<Connection, Full> {
        let mut table = self.table.lock_shared();
        if table.open - table.closing >= self.limit {
            if may_wait && table.heads.is_empty() && table.new > 0 {
                return Err(Full { is_changing: true });
            }
            table.close_a_waiting_one();
        }
        if table.open >= self.limit + self.reserve {
            return Err(Full { is_changing: table.is_changing() });
        }
        let reserved = table.open - table.closing >= self.limit;
        table.open += 1;
        table.new += 1;
        self.counts.set_open(table.open);
        table.next_id += 1;
        Ok(Connection {
            connections: self.clone(),
            id: table.next_id,
            reserved: AtomicBool::new(reserved),
            phase: AtomicU8::new(Phase::New as u8),
            is_waiting: AtomicBool::new(false),
            stays: AtomicBool::new(false),
            head: Mutex::new(self.bytes.none()),
            close_requested: CancellationToken::new(),
        })
    }

    /// Closes a connection for others, and waits until one is gone; false if all have requests under way.
    pub(super) async fn close_one(&self) -> bool {
        let changed = self.changed.notified();
        let is_closing = self.table.lock_shared().close_a_waiting_one();
        if is_closing {
            changed.await;
        }
        is_closing
    }

    /// Closes the connection that has waited longest for a complete head.
    fn close_longest_head(&self) {
        let mut table = self.table.lock_shared();
        if !table.heads.is_empty() {
            table.close_a_waiting_one();
        }
    }
}

impl ConnectionTable {
    /// Tells the connection to close that has waited longest for a head, or else been idle longest; returns whether there
    /// was one.
    fn close_a_waiting_one(&mut self) -> bool {
        let victim = self.heads.pop_front().or_else(|| self.idle.pop_front());
        let Some((_, close_requested)) = victim else { return false };
        self.closing += 1;
        close_requested.cancel();
        true
    }

    /// Whether slots are about to become free, or connections to wait.
    fn is_changing(&self) -> bool {
        self.closing > 0 || self.new > 0
    }
}

impl Connection {
    /// Whether it is beyond the limit: it gets one response, and less time.
    pub(super) fn is_reserved(&self) -> bool {
        self.reserved.load(Ordering::Relaxed)
    }

    /// The stream was read, and had nothing. `has_unread`: something has arrived since.
    pub(super) fn found_empty(&self, has_unread: bool) {
        match self.phase() {
            Phase::Request => return,
            Phase::New => {
                self.enter(Phase::Head);
                self.connections.changed.notify_waiters();
            }
            Phase::Head | Phase::Idle => {}
        }
        self.is_waiting.store(!has_unread, Ordering::Relaxed);
    }

    /// The stream was read, and had bytes, its end or an error.
    pub(super) fn found_something(&self) {
        self.is_waiting.store(false, Ordering::Relaxed);
    }

    /// Bytes have arrived.
    pub(super) fn received(&self, bytes: usize) {
        match self.phase() {
            Phase::Request => return,
            Phase::Idle => {
                self.enter(Phase::Head);
            }
            Phase::New | Phase::Head => {}
        }
        let mut head = self.head.lock_shared();
        if head.grow(bytes).is_err() {
            self.connections.close_longest_head();
            head.grow_beyond_limit(bytes);
        }
    }

    /// The head of a request is complete. Returns what the service can take on.
    pub(super) fn begin_request(&self) -> Capacity {
        self.head.lock_shared().release();
        let open = self.enter(Phase::Request);
        let Connections { limit, reserve, .. } = *self.connections;
        match open {
            _ if !self.is_reserved() => Capacity::Normal,
            open if open <= limit => Capacity::Normal,
            // The other half stays free for operators.
            open if open <= limit + reserve / 2 => Capacity::Scarce,
            _ => Capacity::Exhausted,
        }
    }

    /// The response is complete.
    pub(super) fn note_response_end(&self) {
        self.enter(Phase::Idle);
    }

    /// The client did not read for too long.
    pub(super) fn stalled(&self) {
        self.connections.counts.closed(CloseCause::Reader);
    }

    /// Whether others need its slot.
    pub(super) fn is_close_requested(&self) -> bool {
        self.close_requested.is_cancelled()
    }

    /// Waits until others need its slot while it waits for its client. To be polled after the stream was.
    pub(super) async fn close_requested(&self) {
        let mut told = pin!(self.close_requested.cancelled());
        poll_fn(|context| {
            ready!(told.as_mut().poll(context));
            if self.is_waiting.load(Ordering::Relaxed) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// The connection ends: if its client did not end it, and no response did, the service closes it.
    pub(super) fn ends(&self) {
        if self.is_waiting.load(Ordering::Relaxed) {
            let is_idle = self.phase() == Phase::Idle;
            self.connections.counts.closed(if is_idle { CloseCause::Idle } else { CloseCause::Head });
        }
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::New,
            1 => Phase::Head,
            2 => Phase::Request,
            _ => Phase::Idle,
        }
    }

    /// Returns how many connections are open and stay so.
    fn enter(&self, phase: Phase) -> usize {
        let mut table = self.connections.table.lock_shared();
        if self.phase() == Phase::New {
            table.new -= 1;
        }
        self.phase.store(phase as u8, Ordering::Relaxed);
        self.is_waiting.store(false, Ordering::Relaxed);
        let stays = !self.close_requested.is_cancelled();
        if phase == Phase::Request && !stays && !self.stays.swap(true, Ordering::Relaxed) {
            table.closing -= 1;
            self.reserved.store(true, Ordering::Relaxed);
            self.connections.changed.notify_waiters();
        }
        table.heads.remove(&self.id);
        table.idle.remove(&self.id);
        match phase {
            Phase::Head if stays => drop(table.heads.insert(self.id, self.close_requested.clone())),
            Phase::Idle if stays => drop(table.idle.insert(self.id, self.close_requested.clone())),
            _ => {}
        }
        table.open - table.closing
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        /// The tables of so few entries are not shrunk.
        const FEW: usize = 64;
        let mut table = self.connections.table.lock_shared();
        table.heads.remove(&self.id);
        table.idle.remove(&self.id);
        table.open -= 1;
        if self.phase() == Phase::New {
            table.new -= 1;
        }
        if self.is_close_requested() && !self.stays.load(Ordering::Relaxed) {
            table.closing -= 1;
        }
        if table.open <= FEW && table.heads.capacity() + table.idle.capacity() > 4 * FEW {
            table.heads.shrink_to_fit();
            table.idle.shrink_to_fit();
        }
        self.connections.counts.set_open(table.open);
        drop(table);
        self.connections.changed.notify_waiters();
    }
}
