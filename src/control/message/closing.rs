//! The end of a message: it closes, as failed if the service's own code has panicked, lingers for late replies, and is
//! deleted.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::collection::ResponseCounters;
use super::state::{Message, event_flags};
use crate::control::events::EventKind;
use crate::control::resource_failures::Failable;
use crate::control::resource_kind::ResourceKind;
use crate::model::{CloseReason, Id};

impl Message {
    /// Stops collecting if it is time, else arms a timer to look again.
    pub(in crate::control) fn close_if_done(self: &Arc<Self>) {
        let now = self.context.sockets.clock().monotonic;
        let collection = self.collection();
        let due = collection.due_close_reason(&self.spec, now);
        let next = collection.next_check(&self.spec);
        drop(collection);
        match (due, next) {
            (Some(reason), _) => self.close(reason),
            (None, Some(next)) => {
                self.context.timers.arm(next, Arc::downgrade(self), |message: Arc<Self>| {
                    message.context.failures.contain(&message, || message.close_if_done());
                });
            }
            (None, None) => {}
        }
    }

    /// Stops collecting; late replies are still kept for a while. Does nothing if the message is closed already.
    pub(in crate::control) fn close(self: &Arc<Self>, reason: CloseReason) {
        let now = self.context.sockets.clock();
        let mut collection = self.collection();
        if collection.close(reason, now.real) {
            let counters = collection.counters();
            drop(collection);
            self.after_close(reason, &counters, now.monotonic);
        }
    }

    /// The steps after closing. Callable from a sink, under the collection's lock.
    pub(super) fn after_close(
        self: &Arc<Self>,
        reason: CloseReason,
        counters: &ResponseCounters,
        now: Instant,
    ) {
        self.end_trace(reason, counters);
        if self.event_flags.fetch_or(event_flags::CLOSED, Ordering::AcqRel) & event_flags::SENT != 0 {
            self.emit(EventKind::Closed(reason));
        }
        if self.spec.window.is_zero() {
            self.log.complete();
        }
        self.charge_responders(counters);
        self.touch();
        self.context.closed.add(self, &self.context.timers, now);
        self.closed.notify_waiters();
    }

    /// Emits `Sent`; the message's other events come after that.
    pub(in crate::control) fn emit_sent(&self) {
        self.emit(EventKind::Sent);
        let before = self.event_flags.fetch_or(event_flags::SENT, Ordering::AcqRel);
        if before & event_flags::CLOSED != 0
            && let Some((reason, _)) = self.collection().closed()
        {
            self.emit(EventKind::Closed(reason));
        }
    }

    fn emit_deleted(&self) {
        let before = self.event_flags.fetch_or(event_flags::DELETED, Ordering::AcqRel);
        if before & (event_flags::SENT | event_flags::DELETED) == event_flags::SENT {
            self.emit(EventKind::Deleted);
        }
    }

    /// Whether the time for late replies is over.
    pub(in crate::control) fn has_lingered(&self) -> bool {
        let closed = self.collection().closed();
        let now = self.context.sockets.clock().real;
        closed.is_some_and(|(_, at)| now.since(at).is_some_and(|time| time >= self.spec.linger))
    }

    /// Releases the sockets; [`Self::sockets_closed`] resolves when they are closed.
    pub(in crate::control) fn release_sockets(&self) {
        self.sockets().close_all();
        self.log.complete();
        self.collection().freeze_responders(Self::LISTED_RESPONDERS);
    }

    /// Resolves once the released sockets are closed, and their ports free. Cancel-safe.
    pub(in crate::control) async fn sockets_closed(&self) {
        let closing = self.sockets().closing();
        closing.wait().await;
    }

    /// Deletes the message, which is no longer in the registry.
    pub(in crate::control) fn discard(self: &Arc<Self>) {
        self.close(CloseReason::Cancelled);
        self.release_sockets();
        self.log.close();
        self.enter_totals(|totals| totals);
        self.emit_deleted();
    }

    /// How long it keeps its sockets once it is closed; none if it has no sockets of its own.
    pub(super) fn linger(&self) -> Option<Duration> {
        (!self.spec.window.is_zero()).then_some(self.spec.linger)
    }

    pub(super) fn end_linger(self: &Arc<Self>) {
        self.context.failures.contain(self, || self.release_sockets());
    }
}

impl Failable for Message {
    fn name(&self) -> (ResourceKind, &Id) {
        (ResourceKind::Message, self.id())
    }

    fn is_broken(&self) -> bool {
        self.sending_failed.load(Ordering::Acquire)
            || self.collection.is_poisoned()
            || self.sockets.is_poisoned()
            || self.log.is_broken()
            || self.sockets().any_failed()
    }

    /// Its responses so far can be read, unless its log is half changed.
    fn fail(self: &Arc<Self>) {
        self.sending_failed.store(false, Ordering::Release);
        self.collection.clear_poison();
        self.sockets.clear_poison();
        if self.log.is_broken() {
            self.log.abandon();
        }
        self.close(CloseReason::Failed);
        self.release_sockets();
    }
}
