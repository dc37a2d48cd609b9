//! The open connections: how many there may be, and which to close when others need their slots.
//!
//! A connection beyond the limit is accepted into a reserve, so that operators and clients with a token get through when
//! all slots are taken. The service then makes room: it closes the connection that has waited longest for the head of a
//! request, or else the one that has been idle longest. Connections with a request under way are never closed for others.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

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
    /// Notified when a connection is gone.
    gone: Notify,
}

#[derive(Default)]
struct ConnectionTable {
    open: usize,
    /// How many of them were told to close.
    closing: usize,
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
    reserved: bool,
    /// A [`Phase`].
    phase: AtomicU8,
    /// The bytes of a head that is not complete. Std lock: held to count.
    head: Mutex<HeldBytes>,
    close_requested: CancellationToken,
}

/// What a connection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
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
            gone: Notify::new(),
        }
    }

    /// A slot for a new connection, once one is free; none if requests occupy all of them.
    pub(super) async fn take_slot(self: &Arc<Self>) -> Option<Connection> {
        loop {
            let gone = self.gone.notified();
            let connection = self.try_take_slot();
            if connection.is_none() && self.table.lock_shared().closing > 0 {
                gone.await;
                continue;
            }
            return self.count_if_full(connection);
        }
    }

    /// A slot for a new connection, if one is free at once.
    pub(super) fn take_slot_at_once(self: &Arc<Self>) -> Option<Connection> {
        self.count_if_full(self.try_take_slot())
    }

    fn count_if_full(&self, connection: Option<Connection>) -> Option<Connection> {
        if connection.is_none() {
            self.counts.closed(CloseCause::Full);
        }
        connection
    }

    fn try_take_slot(self: &Arc<Self>) -> Option<Connection> {
        let mut table = self.table.lock_shared();
        if table.open - table.closing >= self.limit {
            self.close_a_waiting_one(&mut table);
        }
        if table.open >= self.limit + self.reserve {
            return None;
        }
        let reserved = table.open >= self.limit;
        table.open += 1;
        self.counts.set_open(table.open);
        table.next_id += 1;
        let (id, close_requested) = (table.next_id, CancellationToken::new());
        table.heads.insert(id, close_requested.clone());
        Some(Connection {
            connections: self.clone(),
            id,
            reserved,
            phase: AtomicU8::new(Phase::Head as u8),
            head: Mutex::new(self.bytes.none()),
            close_requested,
        })
    }

    /// Closes a connection for others, and waits until it is gone; false if all have requests under way.
    pub(super) async fn close_one(&self) -> bool {
        let gone = self.gone.notified();
        let is_closing = self.close_a_waiting_one(&mut self.table.lock_shared());
        if is_closing {
            gone.await;
        }
        is_closing
    }

    /// Tells the connection to close that has waited longest for a head, or else been idle longest; returns whether there
    /// was one.
    fn close_a_waiting_one(&self, table: &mut ConnectionTable) -> bool {
        let (victim, cause) = match table.heads.pop_front() {
            Some(longest) => (Some(longest), CloseCause::Head),
            None => (table.idle.pop_front(), CloseCause::Idle),
        };
        let Some((_, close_requested)) = victim else { return false };
        self.counts.closed(cause);
        table.closing += 1;
        close_requested.cancel();
        true
    }

    /// Closes the connection that has waited longest for a complete head.
    fn close_longest_head(&self) {
        let mut table = self.table.lock_shared();
        if !table.heads.is_empty() {
            self.close_a_waiting_one(&mut table);
        }
    }
}

impl Connection {
    /// Whether it was accepted beyond the limit: it gets one response, and less time.
    pub(super) fn is_reserved(&self) -> bool {
        self.reserved
    }

    /// Bytes have arrived.
    pub(super) fn received(&self, bytes: usize) {
        match self.phase.load(Ordering::Relaxed) {
            phase if phase == Phase::Request as u8 => return,
            phase if phase == Phase::Idle as u8 => {
                self.enter(Phase::Head);
            }
            _ => {}
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
            _ if !self.reserved => Capacity::Normal,
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

    /// Waits until others need its slot.
    pub(super) async fn close_requested(&self) {
        self.close_requested.cancelled().await;
    }

    /// Returns how many connections are open and stay so.
    fn enter(&self, phase: Phase) -> usize {
        let mut table = self.connections.table.lock_shared();
        self.phase.store(phase as u8, Ordering::Relaxed);
        let stays = !self.close_requested.is_cancelled();
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
        if self.close_requested.is_cancelled() {
            table.closing -= 1;
        }
        if table.open <= FEW && table.heads.capacity() + table.idle.capacity() > 4 * FEW {
            table.heads.shrink_to_fit();
            table.idle.shrink_to_fit();
        }
        self.connections.counts.set_open(table.open);
        drop(table);
        self.connections.gone.notify_waiters();
    }
}
