//! A message, the state that its locks guard, and the messages that are closed.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Instant;

use tokio::sync::Notify;

use super::collection::{Collection, EgressResult, ListedResponders, ResponseCounters, TableBudget};
use super::sockets::{MessageSockets, SharedSendSockets};
use crate::control::events::{EventKind, Events};
use crate::control::registry::{ListEntry, ListPosition};
use crate::control::resource_failures::ResourceFailures;
use crate::control::resource_kind::ResourceKind;
use crate::control::timers::Timers;
use crate::control::totals::{ReceivedTotals, Totals, TotalsAccumulator};
use crate::model::{CloseReason, Id, MessageSpec, Revision, Selector, Timestamp};
use crate::net::SocketBackend;
use crate::store::{Log, LogCounters};
use crate::sync::Lock;
use crate::traces::Span;

pub struct Message {
    pub(super) id: Id,
    pub(super) spec: MessageSpec,
    pub(super) created_at: Timestamp,
    pub(super) log: Arc<Log>,
    /// Std lock: held for the bookkeeping of one batch or one send.
    pub(super) collection: Mutex<Collection>,
    /// Std lock: held while sockets are registered or released. No sink takes it, and `collection` is not taken under
    /// it.
    pub(super) sockets: Mutex<MessageSockets>,
    /// The task that sends the message has panicked.
    pub(super) sending_failed: AtomicBool,
    /// Its counts have been entered into the totals.
    pub(super) entered: AtomicBool,
    pub(super) closed: Notify,
    pub(super) context: MessageContext,
    /// The events that were due, as [`event_flags`]. `Closed` is emitted after `Sent`, even if the message closes
    /// before that.
    pub(super) event_flags: AtomicU8,
    /// The span of the collecting, until that ends, if it is traced. Std lock: held to store or take the span.
    pub(super) span: Mutex<Option<Span>>,
}

pub(super) mod event_flags {
    pub(in crate::control::message) const SENT: u8 = 1;
    pub(in crate::control::message) const CLOSED: u8 = 2;
    pub(in crate::control::message) const DELETED: u8 = 4;
}

/// The parts of the service that every message uses.
#[derive(Clone)]
pub(in crate::control) struct MessageContext {
    pub(in crate::control) sockets: Arc<dyn SocketBackend>,
    pub(in crate::control) shared_sockets: Arc<SharedSendSockets>,
    pub(in crate::control) receive_buffer: usize,
    pub(in crate::control) timers: Arc<Timers>,
    pub(in crate::control) closed: Arc<ClosedMessages>,
    pub(in crate::control) tables: Arc<TableBudget>,
    pub(in crate::control) totals: Arc<TotalsAccumulator>,
    pub(in crate::control) events: Arc<Events>,
    pub(in crate::control) failures: Arc<ResourceFailures>,
}

/// A snapshot of a message.
pub struct MessageView {
    pub id: Id,
    pub created_at: Timestamp,
    pub revision: Revision,
    pub spec: MessageSpec,
    pub closed: Option<(CloseReason, Timestamp)>,
    pub results: Vec<Arc<EgressResult>>,
    pub counters: ResponseCounters,
    /// The first responders, in the order of their first responses.
    pub responders: ListedResponders,
    pub log: LogCounters,
    pub dropped_buffers: u64,
}

impl ListEntry for Message {
    fn position(&self) -> ListPosition {
        ListPosition { created_at: self.created_at, id: self.id.clone() }
    }
}

impl Message {
    /// Responders listed in a view; the responses of all are in the log.
    pub(super) const LISTED_RESPONDERS: usize = 1_000;

    /// Approximate bytes that a message takes besides its payload, and each listed responder.
    const MESSAGE_BYTES: usize = 1_024;
    const RESPONDER_BYTES: usize = 256;

    /// `collection` has a result for each interface and all initial source ports.
    pub(super) fn new(
        id: Id,
        spec: MessageSpec,
        log: Arc<Log>,
        collection: Collection,
        context: MessageContext,
    ) -> Self {
        log.charge_owner(Self::memory_bytes(&spec, 0));
        Self {
            id,
            spec,
            created_at: context.sockets.clock().real,
            log,
            collection: Mutex::new(collection),
            sockets: Mutex::default(),
            sending_failed: AtomicBool::new(false),
            entered: AtomicBool::new(false),
            closed: Notify::new(),
            context,
            event_flags: AtomicU8::new(0),
            span: Mutex::default(),
        }
    }

    pub(super) fn memory_bytes(spec: &MessageSpec, responders: usize) -> usize {
        // The payload is stored in base64.
        Self::MESSAGE_BYTES
            + spec.payload.len() / 3 * 4
            + spec.labels.bytes()
            + responders * Self::RESPONDER_BYTES
    }

    /// Charges the responders' bytes, now that the message is closed.
    pub(super) fn charge_responders(&self, counters: &ResponseCounters) {
        if counters.responders == 0 {
            return;
        }
        let listed = counters.responders.min(Self::LISTED_RESPONDERS as u64);
        self.log.charge_owner(Self::memory_bytes(&self.spec, usize::try_from(listed).unwrap_or(usize::MAX)));
    }

    pub fn id(&self) -> &Id {
        &self.id
    }

    /// The specification of a message never changes.
    pub fn revision(&self) -> Revision {
        Revision::first(self.created_at)
    }

    pub fn spec(&self) -> &MessageSpec {
        &self.spec
    }

    pub(in crate::control) fn is_selected_by(&self, selector: &Selector) -> bool {
        selector.matches(&self.spec.labels)
    }

    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    pub fn is_closed(&self) -> bool {
        self.closed_at().is_some()
    }

    pub(in crate::control) fn closed_at(&self) -> Option<Timestamp> {
        self.collection().closed().map(|(_, at)| at)
    }

    /// Resolves once the message no longer collects. Cancel-safe.
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

    /// How many responders a view of it lists.
    pub fn responders(&self) -> usize {
        let tracked = self.collection().counters().responders;
        usize::try_from(tracked).unwrap_or(usize::MAX).min(Self::LISTED_RESPONDERS)
    }

    pub fn view(&self) -> MessageView {
        let dropped_buffers = self.dropped_buffers();
        let collection = self.collection();
        let (closed, results, counters) =
            (collection.closed(), collection.results().to_vec(), collection.counters());
        let responders = collection.responders(Self::LISTED_RESPONDERS);
        drop(collection);
        MessageView {
            id: self.id.clone(),
            created_at: self.created_at,
            revision: self.revision(),
            spec: self.spec.clone(),
            closed,
            results,
            counters,
            responders,
            log: self.log.counters(),
            dropped_buffers,
        }
    }

    /// Buffers that the kernel has dropped at its sockets, including closed ones.
    pub fn dropped_buffers(&self) -> u64 {
        self.sockets().dropped_buffers()
    }

    /// The counts of sends and responses so far.
    pub(in crate::control) fn totals(&self) -> Totals {
        let received = ReceivedTotals::of(self.log.counters(), self.dropped_buffers());
        let collection = self.collection();
        let results = collection.results().iter();
        let (sent, send_failures) = results.fold((0, 0), |(sent, failed), result| {
            (sent + u64::from(result.sent), failed + u64::from(result.failed))
        });
        let closed = collection.closed().map(|(reason, _)| reason);
        let closed = CloseReason::ALL.map(|reason| u64::from(closed == Some(reason)));
        let untracked = collection.counters().untracked;
        Totals { messages: received, closed, sent, send_failures, untracked, ..Totals::default() }
    }

    /// Enters its counts into the totals, once its sockets are closed and it is not in the registry.
    pub(super) fn enter_totals(&self, entry: impl FnOnce(Totals) -> Totals) {
        if !self.entered.swap(true, Ordering::Relaxed) {
            self.context.totals.enter(&entry(self.totals()));
        }
    }

    pub(in crate::control) fn with_collection<R>(&self, change: impl FnOnce(&mut Collection) -> R) -> R {
        change(&mut self.collection())
    }

    pub(super) fn emit(&self, event: EventKind) {
        let (kind, spec) = (ResourceKind::Message, &self.spec);
        self.context.events.emit(event, kind, &self.id, spec.group, &spec.labels, None);
    }

    pub(super) fn collection(&self) -> MutexGuard<'_, Collection> {
        self.collection.lock_own()
    }

    pub(super) fn sockets(&self) -> MutexGuard<'_, MessageSockets> {
        self.sockets.lock_own()
    }
}

/// Closed messages, the longest closed first: they linger for late replies, and are deleted in the end.
pub(in crate::control) struct ClosedMessages {
    /// Std lock: held for a push, a pop, or a sweep of dropped messages, and never while a message's own lock is taken.
    queues: Mutex<ClosedQueues>,
}

struct ClosedQueues {
    /// Closed messages that keep their sockets, so that their ports are not reused while responses are under way.
    /// Bounded: if there are more, the oldest stops lingering early.
    lingering: VecDeque<Weak<Message>>,
    /// All closed messages, in the order of deletion.
    closed: VecDeque<Weak<Message>>,
    sweep_at: usize,
}

impl Default for ClosedMessages {
    fn default() -> Self {
        let queues = ClosedQueues { lingering: VecDeque::new(), closed: VecDeque::new(), sweep_at: 0 };
        Self { queues: Mutex::new(queues) }
    }
}

impl ClosedMessages {
    /// Half of a descriptor limit of 8,192, the smallest that is common for services.
    const MAX_LINGERING: usize = 4_096;
    const SWEEP_FROM: usize = 1_024;

    /// Adds a message that has just been closed. Callable from a sink: the timers' task closes the sockets later.
    pub(in crate::control) fn add(&self, message: &Arc<Message>, timers: &Timers, now: Instant) {
        let mut queues = self.queues();
        queues.closed.push_back(Arc::downgrade(message));
        if queues.closed.len() > queues.sweep_at.max(Self::SWEEP_FROM) {
            queues.closed.retain(|message| message.strong_count() > 0);
            queues.sweep_at = queues.closed.len() * 2;
        }
        let Some(linger) = message.linger() else { return };
        timers.arm(now + linger, Arc::downgrade(message), |message: Arc<Message>| message.end_linger());
        queues.lingering.push_back(Arc::downgrade(message));
        if queues.lingering.len() > Self::MAX_LINGERING
            && let Some(oldest) = queues.lingering.pop_front()
        {
            timers.arm(now, oldest, |oldest: Arc<Message>| oldest.end_linger());
        }
    }

    /// Adds a message that was closed in an earlier run; call it in the order in which they were closed.
    pub(in crate::control) fn restore(&self, message: &Arc<Message>) {
        self.queues().closed.push_back(Arc::downgrade(message));
    }

    /// Ends the lingering of the messages that `which` selects, because their sockets are needed; returns them.
    pub(in crate::control) fn end_lingering(&self, which: impl Fn(&Message) -> bool) -> Vec<Arc<Message>> {
        let mut ended: Vec<_> = self.queues().lingering.iter().filter_map(Weak::upgrade).collect();
        ended.retain(|message| which(message));
        for message in &ended {
            message.end_linger();
        }
        ended
    }

    /// Removes and returns the message that has been closed for the longest, if `which` selects it.
    pub(in crate::control) fn oldest_if(&self, which: impl Fn(&Message) -> bool) -> Option<Arc<Message>> {
        loop {
            // Not under the lock: `which` may take the message's own lock and wait there for a batch of responses.
            let oldest = self.oldest().filter(|oldest| which(oldest))?;
            let mut queues = self.queues();
            let is_oldest = |front: &Weak<Message>| Weak::as_ptr(front) == Arc::as_ptr(&oldest);
            if queues.closed.front().is_some_and(is_oldest) {
                queues.closed.pop_front();
                return Some(oldest);
            }
        }
    }

    fn oldest(&self) -> Option<Arc<Message>> {
        let mut queues = self.queues();
        while queues.lingering.pop_front_if(|front| front.strong_count() == 0).is_some() {}
        while let Some(front) = queues.closed.front() {
            if let Some(message) = front.upgrade() {
                return Some(message);
            }
            queues.closed.pop_front();
        }
        None
    }

    fn queues(&self) -> MutexGuard<'_, ClosedQueues> {
        self.queues.lock_shared()
    }
}
