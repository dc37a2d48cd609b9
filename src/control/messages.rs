//! The verbs of messages: send, find, cancel, forget.
//!
//! Tasks: one for each message that is sent more than once or had to wait for its first send, until its last send
//! or its end; owned by the tracker of [`Shared`]. Cancel-safe: each send is noted before it happens.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::message::{Collection, Message, Outlet};
use super::refusal::{Attempt, Purpose, Refusal};
use super::totals::Totals;
use super::waiting::{Done, within};
use super::{Control, Kind, Shared};
use crate::model::{ClockReading, CloseReason, Group, Id, MessageSpec, Timestamp};
use crate::net::{Fault, FaultKind};
use crate::store::{Log, Store};

/// Whether a PUT created what it names or found it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Created,
    Kept,
}

/// Which resources a list shows.
#[derive(Debug, Default, Clone)]
pub struct ListQuery {
    pub after: Option<Id>,
    pub limit: usize,
    pub group: Option<Group>,
}

impl Control {
    /// Sends under a new id.
    pub async fn send(&self, spec: MessageSpec) -> Result<Arc<Message>, Refusal> {
        self.send_once(Id::generate(), spec).await.map(|(message, _)| message)
    }

    /// Sends under the client's id, once: the same again finds the message, another is refused.
    /// Once this returns, the store knows, too, unless it fails: it is not sent again after a crash.
    pub async fn send_as(&self, id: Id, spec: MessageSpec) -> Result<(Arc<Message>, Outcome), Refusal> {
        let (message, outcome) = self.send_once(id, spec).await?;
        // What was sent was sent, also if the service stops now.
        match self.0.settled(Done::Sent(message.copies_sent())).await {
            Err(Refusal::TimedOut { done }) => Err(Refusal::TimedOut { done }),
            _ => Ok((message, outcome)),
        }
    }

    async fn send_once(&self, id: Id, spec: MessageSpec) -> Result<(Arc<Message>, Outcome), Refusal> {
        let shared = &self.0;
        if let Some(message) = shared.messages.find(&id) {
            return same(message, &spec);
        }
        shared.goes_on()?;
        let interfaces = shared.egress(&spec).await?;
        shared.forget_oldest();
        let limits = shared.settings.log_limits.narrowed(&spec.retention);
        let place = shared.store.as_ref().map(Store::place);
        let log = Arc::new(Log::new(limits, shared.budget.clone(), place));
        let message = Arc::new(Message::new(id.clone(), spec, log, shared.clockwork.clone()));
        if let Err(taken) = shared.messages.insert(id.clone(), message.clone()) {
            return same(taken, message.spec());
        }
        message.begin_trace();
        // No await from here on: a client that goes away cannot leave a message half sent.
        let sent = match shared.open_outlets(&message, interfaces) {
            // It is registered by now: either the shutdown finds and closes it, or is noticed here.
            Ok(_) if shared.stop.is_cancelled() => Err(Refusal::Stopping),
            Ok(outlets) => shared.send_first(&message, outlets),
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = sent {
            shared.messages.remove_if(&id, &message);
            message.fail_trace(&refusal);
            message.close(CloseReason::Cancelled);
            message.end_linger();
            message.log().close();
            // It is no message that ended, but what could not be sent is told.
            message
                .enter_totals(|totals| Totals { send_failures: totals.send_failures, ..Totals::default() });
            return Err(refusal);
        }
        if let Some(store) = &shared.store {
            message.keep(store, true);
        }
        Ok((message, Outcome::Created))
    }

    pub fn message(&self, id: &Id) -> Result<Arc<Message>, Refusal> {
        self.0.messages.find(id).ok_or_else(|| Refusal::NotFound { kind: Kind::Message, id: id.clone() })
    }

    /// Messages in the order of their ids, and whether there are more.
    pub fn messages(&self, query: &ListQuery, closed: Option<bool>) -> (Vec<Arc<Message>>, bool) {
        self.0.messages.page(query.after.as_ref(), query.limit, |message| {
            query.group.is_none_or(|group| message.spec().group == group)
                && closed.is_none_or(|closed| message.is_closed() == closed)
        })
    }

    /// Stops collecting and keeps what came.
    pub async fn cancel(&self, id: &Id) -> Result<Arc<Message>, Refusal> {
        self.0.goes_on()?;
        let message = self.message(id)?;
        message.close(CloseReason::Cancelled);
        self.0.settled(Done::Changed).await?;
        Ok(message)
    }

    /// Stops and forgets; once this returns, the sockets are closed, and the store has forgotten it, unless it fails. If
    /// that takes too long, the same again goes on to wait for it.
    pub async fn forget(&self, id: &Id) -> Result<(), Refusal> {
        self.0.goes_on()?;
        let registry = &self.0.messages;
        let deletion = registry.begin_deletion(id);
        let (message, is_new) =
            deletion.ok_or_else(|| Refusal::NotFound { kind: Kind::Message, id: id.clone() })?;
        if is_new {
            message.discard();
        }
        within(Done::DeletionUnderWay, message.sockets_closed()).await?;
        self.0.settled(Done::DeletionUnderWay).await?;
        registry.end_deletion(&message);
        Ok(())
    }
}

impl Message {
    fn copies_sent(&self) -> u32 {
        self.with_collection(|collection| {
            collection.routes().iter().fold(0, |sent: u32, route| sent.saturating_add(route.sent))
        })
    }

    pub(super) fn discard(self: &Arc<Self>) {
        self.close(CloseReason::Cancelled);
        self.end_linger();
        self.log().close();
        self.enter_totals(|totals| totals);
        self.tell_deleted();
    }
}

fn same(message: Arc<Message>, spec: &MessageSpec) -> Result<(Arc<Message>, Outcome), Refusal> {
    if message.spec() == spec {
        Ok((message, Outcome::Kept))
    } else {
        Err(Refusal::OtherBody { id: message.id().clone() })
    }
}

impl Shared {
    /// Sends the first attempt by every outlet; what has to wait for room in a send buffer, and the repeats,
    /// are left to a task.
    fn send_first(self: &Arc<Self>, message: &Arc<Message>, outlets: Vec<Outlet>) -> Result<(), Refusal> {
        let mut waiting = Vec::new();
        let mut failure = None;
        for (route, outlet) in outlets.iter().enumerate().filter(|(_, outlet)| outlet.is_open()) {
            let departure = Departure { message, outlet, route, attempt: 1 };
            match departure.try_now() {
                Ok(()) => {}
                Err(fault) if fault.kind() == FaultKind::Busy => waiting.push(route),
                Err(fault) => {
                    let refusal = departure.failed(fault);
                    failure.get_or_insert(refusal);
                }
            }
        }
        let any_sent =
            message.with_collection(|collection| collection.routes().iter().any(|route| route.sent > 0));
        if let Some(refusal) = failure.filter(|_| !any_sent) {
            return Err(refusal);
        }
        message.tell_sent();
        if waiting.is_empty() && message.spec().repeat.count == 1 {
            finish_sending(message);
            return Ok(());
        }
        let stop = self.stop.clone();
        let message = message.clone();
        message.check(Instant::now());
        self.tasks.spawn(async move {
            let sending = async {
                for route in waiting {
                    let departure =
                        Departure { message: &message, outlet: &outlets[route], route, attempt: 1 };
                    departure.when_writable().await;
                }
                repeat(&message, &outlets).await;
            };
            stop.run_until_cancelled(sending).await;
            finish_sending(&message);
        });
        Ok(())
    }

    /// Lets messages go that have been closed for as long as they are kept.
    pub(super) fn forget_expired(&self, now: Timestamp) {
        let expired = |message: &Message| {
            let closed = message.with_collection(|collection| collection.closed());
            closed.is_none_or(|(_, at)| now.since(at).is_some_and(|age| age >= self.settings.message_age))
        };
        while let Some(oldest) = self.clockwork.closing.oldest_if(expired) {
            self.messages.remove_if(oldest.id(), &oldest);
            oldest.discard();
        }
    }

    /// Lets the message go that has been closed for the longest, if that was before then.
    pub(super) fn forget_closed(&self, before: Option<Timestamp>) -> bool {
        let is_older = |message: &Message| {
            let closed = message.with_collection(|collection| collection.closed());
            closed.is_some_and(|(_, at)| before.is_none_or(|before| at < before))
        };
        let Some(oldest) = self.clockwork.closing.oldest_if(is_older) else { return false };
        self.messages.remove_if(oldest.id(), &oldest);
        oldest.discard();
        true
    }

    /// Lets the oldest closed messages go when there are more than are kept.
    fn forget_oldest(&self) {
        while self.messages.len() >= self.settings.kept_messages {
            let Some(oldest) = self.clockwork.closing.oldest_if(|_| true) else {
                return;
            };
            self.messages.remove_if(oldest.id(), &oldest);
            oldest.discard();
        }
    }
}

fn finish_sending(message: &Arc<Message>) {
    message.with_collection(Collection::sending_done);
    message.check(Instant::now());
}

/// Sends the second and later attempts until the message is closed.
async fn repeat(message: &Arc<Message>, outlets: &[Outlet]) {
    let open = || outlets.iter().enumerate().filter(|(_, outlet)| outlet.is_open());
    if message.spec().repeat.interval.is_zero() && !message.spec().track_attempts {
        for (route, outlet) in open() {
            burst(&Departure { message, outlet, route, attempt: 1 }).await;
        }
        return;
    }
    let repeat = message.spec().repeat;
    let start = tokio::time::Instant::now();
    for attempt in 2..=repeat.count {
        tokio::select! {
            () = tokio::time::sleep_until(start + repeat.interval * (attempt - 1)) => {}
            () = message.wait_closed() => return,
        }
        if message.is_closed() {
            return;
        }
        for (route, outlet) in open() {
            let departure = Departure { message, outlet, route, attempt };
            match departure.try_now() {
                Ok(()) => {}
                Err(fault) if fault.kind() == FaultKind::Busy => departure.when_writable().await,
                Err(fault) => drop(departure.failed(fault)),
            }
        }
    }
}

/// Sends all repeats by one interface as fast as it takes them, after the first send.
async fn burst(first: &Departure<'_>) {
    /// Calls, of about 0.1 ms each, after which other tasks get a turn.
    const BEFORE_YIELD: u32 = 8;
    let count = first.message.spec().repeat.count;
    let (mut done, mut calls) = (1, 0);
    while done < count && !first.message.is_closed() {
        let departure = Departure { attempt: done + 1, ..*first };
        match departure.try_copies(count - done) {
            Ok(sent) => done += sent,
            Err(fault) if fault.kind() == FaultKind::Busy => {
                if departure.outlet.writable(departure.attempt).await.is_err() {
                    return;
                }
            }
            Err(fault) => {
                drop(departure.failed(fault));
                done += 1;
            }
        }
        calls += 1;
        if calls % BEFORE_YIELD == 0 {
            tokio::task::yield_now().await;
        }
    }
}

/// One copy of a message on its way out by one interface.
struct Departure<'a> {
    message: &'a Message,
    outlet: &'a Outlet,
    route: usize,
    attempt: u32,
}

impl Departure<'_> {
    /// Notes the send and tries it; after [`FaultKind::Busy`] the note stands, for [`Self::when_writable`].
    fn try_now(&self) -> Result<(), Fault> {
        let now = ClockReading::now();
        self.message
            .with_collection(|collection| collection.sending(self.route, self.port(), self.attempt, 1, now));
        self.outlet.send(self.message.spec(), self.attempt)
    }

    /// Notes and sends as many copies as the socket takes at once. When sending failed, the note of one copy
    /// stands for [`Self::failed`]; when the socket is busy, none.
    fn try_copies(&self, most: u32) -> Result<u32, Fault> {
        /// What one call takes with GSO.
        const AT_ONCE: u32 = 1_024;
        let (planned, now) = (most.min(AT_ONCE), ClockReading::now());
        let last = self.attempt + planned - 1;
        self.message
            .with_collection(|collection| collection.sending(self.route, self.port(), last, planned, now));
        let outcome = self.outlet.send_copies(self.message.spec(), self.attempt, planned as usize);
        let stands = match &outcome {
            Ok(sent) => u32::try_from(*sent).unwrap_or(planned),
            Err(fault) => u32::from(fault.kind() != FaultKind::Busy),
        };
        self.message
            .with_collection(|collection| collection.not_sent(self.route, self.port(), planned - stands));
        outcome.map(|_| stands)
    }

    /// Sends what was noted as soon as the send buffer has room.
    async fn when_writable(&self) {
        loop {
            let sent = match self.outlet.writable(self.attempt).await {
                Ok(()) => self.outlet.send(self.message.spec(), self.attempt),
                Err(fault) => Err(fault),
            };
            match sent {
                Ok(()) => return,
                Err(fault) if fault.kind() == FaultKind::Busy => {}
                Err(fault) => return drop(self.failed(fault)),
            }
        }
    }

    /// Takes the note back and shows in the route why.
    fn failed(&self, fault: Fault) -> Refusal {
        let spec = self.message.spec();
        let attempt = Attempt {
            purpose: Purpose::Send,
            group: &spec.group,
            interface: &self.outlet.interface.name,
            bind: SocketAddr::new(spec.group.ip(), 0),
            sources: 0,
            payload: spec.payload.len(),
        };
        let refusal = Refusal::of(fault, &attempt);
        let (route, port) = (self.route, self.port());
        self.message.with_collection(|collection| collection.send_failed(route, port, refusal.to_string()));
        refusal
    }

    /// The message's source port that this copy leaves from.
    fn port(&self) -> usize {
        self.route * self.message.spec().ports_per_interface() as usize + self.outlet.port(self.attempt)
    }
}
