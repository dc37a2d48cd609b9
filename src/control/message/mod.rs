//! A message at work: its collection, the sockets that hear the answers, and its log.

mod closing;
mod collection;
mod egress;
mod keeping;
mod sink;
mod spans;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use super::Kind;
use super::events::{EventKind, Events};
use super::timers::{Due, Timers};
use super::totals::{Ledger, Received, Totals};
use crate::model::{CloseReason, Id, MessageSpec, Timestamp};
use crate::net::Registration;
use crate::store::{Log, LogCounters};
use crate::traces::Span;

pub(super) use closing::Closing;
pub(super) use collection::Collection;
pub use collection::{AnswerCounters, Responder, Route};
pub(super) use egress::Outlet;
use sink::AnswerSink;

pub struct Message {
    id: Id,
    spec: MessageSpec,
    created_at: Timestamp,
    log: Arc<Log>,
    /// Std lock: held for the bookkeeping of one batch or one send.
    collection: Mutex<Collection>,
    /// Std lock. Never taken by a sink, and `collection` is not held while these are closed: closing waits
    /// for a sink that may be waiting for `collection`.
    sockets: Mutex<Vec<Registration>>,
    /// Buffers dropped at sockets that are closed by now.
    dropped_before: AtomicU64,
    /// Its counts are in the ledger.
    entered: AtomicBool,
    closed: Notify,
    clockwork: Clockwork,
    /// What events have been due, as [`news`] has it: `closed` is told after `sent`, though it may come before.
    news: AtomicU8,
    /// The collecting, until it ends, where it is traced. Std lock: held to put it in or take it out.
    span: Mutex<Option<Span>>,
}

mod news {
    pub(super) const SENT: u8 = 1;
    pub(super) const CLOSED: u8 = 2;
    pub(super) const DELETED: u8 = 4;
}

/// What makes a message end.
#[derive(Clone)]
pub(super) struct Clockwork {
    pub(super) timers: Arc<Timers>,
    pub(super) closing: Arc<Closing>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) events: Arc<Events>,
}

/// A message as others see it at one moment.
pub struct MessageView {
    pub id: Id,
    pub created_at: Timestamp,
    pub spec: MessageSpec,
    pub closed: Option<(CloseReason, Timestamp)>,
    pub routes: Vec<Route>,
    pub counters: AnswerCounters,
    /// The first responders, in the order of their first responses.
    pub responders: Vec<(SocketAddr, Responder)>,
    pub log: LogCounters,
    pub dropped_buffers: u64,
}

impl Message {
    /// Responders listed in a view; all of them are in the log.
    const LISTED_RESPONDERS: usize = 1_000;

    /// What is kept of a message beside its payload, and of each responder that is listed, about.
    const KEPT_BYTES: usize = 1_024;
    const RESPONDER_BYTES: usize = 256;

    pub(super) fn new(id: Id, spec: MessageSpec, log: Arc<Log>, clockwork: Clockwork) -> Self {
        log.carry(Self::kept_bytes(&spec, 0));
        Self {
            id,
            spec,
            created_at: Timestamp::now(),
            log,
            collection: Mutex::new(Collection::new(Vec::new(), 0)),
            sockets: Mutex::default(),
            dropped_before: AtomicU64::new(0),
            entered: AtomicBool::new(false),
            closed: Notify::new(),
            clockwork,
            news: AtomicU8::new(0),
            span: Mutex::default(),
        }
    }

    fn kept_bytes(spec: &MessageSpec, responders: usize) -> usize {
        // The payload is kept in base64.
        Self::KEPT_BYTES + spec.payload.len() / 3 * 4 + responders * Self::RESPONDER_BYTES
    }

    /// Counts what is kept of it, now that it is closed.
    fn carry_responders(&self, counters: &AnswerCounters) {
        if counters.responders == 0 {
            return;
        }
        let listed = counters.responders.min(Self::LISTED_RESPONDERS as u64);
        self.log.carry(Self::kept_bytes(&self.spec, usize::try_from(listed).unwrap_or(usize::MAX)));
    }

    pub fn id(&self) -> &Id {
        &self.id
    }

    pub fn spec(&self) -> &MessageSpec {
        &self.spec
    }

    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    pub fn is_closed(&self) -> bool {
        self.collection().closed().is_some()
    }

    /// Resolves once the message collects no longer. Cancel-safe.
    pub async fn wait_closed(&self) {
        loop {
            let mut closed = std::pin::pin!(self.closed.notified());
            closed.as_mut().enable();
            if self.is_closed() {
                return;
            }
            closed.await;
        }
    }

    pub fn view(&self) -> MessageView {
        let dropped_buffers = self.dropped_buffers();
        let collection = self.collection();
        MessageView {
            id: self.id.clone(),
            created_at: self.created_at,
            spec: self.spec.clone(),
            closed: collection.closed(),
            routes: collection.routes().to_vec(),
            counters: collection.counters(),
            responders: collection.responders(Self::LISTED_RESPONDERS),
            log: self.log.counters(),
            dropped_buffers,
        }
    }

    /// Buffers that the kernel has dropped at its sockets, those closed by now included.
    pub fn dropped_buffers(&self) -> u64 {
        let sockets = self.sockets();
        self.dropped_before.load(Ordering::Relaxed) + dropped_at(&sockets)
    }

    /// What it has sent and heard until now.
    pub(super) fn totals(&self) -> Totals {
        let received = Received::of(self.log.counters(), self.dropped_buffers());
        let collection = self.collection();
        let routes = collection.routes().iter();
        let (sent, send_failures) = routes.fold((0, 0), |(sent, failed), route| {
            (sent + u64::from(route.sent), failed + u64::from(route.failed))
        });
        let closed = collection.closed().map(|(reason, _)| reason);
        let closed = CloseReason::ALL.map(|reason| u64::from(closed == Some(reason)));
        Totals { messages: received, closed, sent, send_failures, ..Totals::default() }
    }

    /// Leaves its counts behind, once nothing is heard any more and nobody finds it.
    pub(super) fn enter_totals(&self, entry: impl FnOnce(Totals) -> Totals) {
        if !self.entered.swap(true, Ordering::Relaxed) {
            self.clockwork.ledger.enter(entry(self.totals()));
        }
    }

    /// Sets where the message leaves by, before the first send.
    pub(super) fn prepare(&self, routes: Vec<Route>, sockets: Vec<Registration>) {
        let ports = routes.len() * self.spec.ports_per_interface() as usize;
        let mut collection = self.collection();
        let closed = collection.closed();
        *collection = Collection::new(routes, ports);
        match closed {
            // Cancelled, by somebody who knew the id, before it began.
            Some((reason, at)) => drop(collection.close(reason, at)),
            None => *self.sockets() = sockets,
        }
    }

    pub(super) fn with_collection<R>(&self, change: impl FnOnce(&mut Collection) -> R) -> R {
        change(&mut self.collection())
    }

    /// Ends the collecting if it is time, else sees to it that this is asked again.
    pub(super) fn check(self: &Arc<Self>, now: Instant) {
        let collection = self.collection();
        let done = collection.is_done(&self.spec, now);
        let next = collection.next_check(&self.spec);
        drop(collection);
        match (done, next) {
            (Some(reason), _) => self.close(reason),
            (None, Some(next)) => self.clockwork.timers.arm(next, Due::CheckWindow(Arc::downgrade(self))),
            (None, None) => {}
        }
    }

    /// Stops collecting; late replies are still kept for a while. Does nothing when closed already.
    pub(super) fn close(self: &Arc<Self>, reason: CloseReason) {
        let mut collection = self.collection();
        if collection.close(reason, Timestamp::now()) {
            let counters = collection.counters();
            drop(collection);
            self.after_close(reason, &counters);
        }
    }

    /// Tells that it was sent; what is told of it comes after that.
    pub(super) fn tell_sent(&self) {
        self.tell(EventKind::Sent);
        let before = self.news.fetch_or(news::SENT, Ordering::AcqRel);
        if before & news::CLOSED != 0
            && let Some((reason, _)) = self.collection().closed()
        {
            self.tell(EventKind::Closed(reason));
        }
    }

    pub(super) fn tell_deleted(&self) {
        let before = self.news.fetch_or(news::DELETED, Ordering::AcqRel);
        if before & (news::SENT | news::DELETED) == news::SENT {
            self.tell(EventKind::Deleted);
        }
    }

    fn tell(&self, event: EventKind) {
        self.clockwork.events.emit(event, Kind::Message, &self.id, self.spec.group, None);
    }

    fn after_close(self: &Arc<Self>, reason: CloseReason, counters: &AnswerCounters) {
        self.end_trace(reason, counters);
        if self.news.fetch_or(news::CLOSED, Ordering::AcqRel) & news::SENT != 0 {
            self.tell(EventKind::Closed(reason));
        }
        if self.spec.window.is_zero() {
            self.log.complete();
        }
        self.carry_responders(counters);
        self.touch();
        self.clockwork.closing.begin(self, &self.clockwork.timers);
        self.closed.notify_waiters();
    }

    /// Whether the time for late replies is over.
    pub(super) fn has_lingered(&self) -> bool {
        let closed = self.collection().closed();
        closed.is_some_and(|(_, at)| Timestamp::now().since(at).is_some_and(|time| time >= self.spec.linger))
    }

    /// Closes the sockets: once this returns, by whomever they are closed, their ports are free. Must not be
    /// called from a sink.
    pub(super) fn end_linger(&self) {
        let mut sockets = self.sockets();
        self.dropped_before.fetch_add(dropped_at(&sockets), Ordering::Relaxed);
        sockets.clear();
        drop(sockets);
        self.log.complete();
    }

    fn collection(&self) -> MutexGuard<'_, Collection> {
        self.collection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sockets(&self) -> MutexGuard<'_, Vec<Registration>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn dropped_at(sockets: &[Registration]) -> u64 {
    sockets.iter().map(|registration| u64::from(registration.socket().dropped_buffers())).sum()
}
