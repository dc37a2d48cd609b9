//! Messages on disk: what was sent, what came of it, and how they come back.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use serde::{Deserialize, Serialize};

use super::collection::{AnswerCounters, Collection, Responder, Route};
use super::{Clockwork, Message, news};
use crate::control::Kind;
use crate::control::membership::read_progress;
use crate::model::{CloseReason, Id, MessageSpec, Timestamp};
use crate::store::{Budget, Keeper, Limits, Log, ReadError, Saved, Scope, Store};

#[derive(Serialize, Deserialize)]
struct Wanted {
    created_at: Timestamp,
    spec: MessageSpec,
}

#[derive(Default, Serialize, Deserialize)]
struct Progress {
    closed: Option<(CloseReason, Timestamp)>,
    routes: Vec<Route>,
    counters: AnswerCounters,
    dropped_buffers: u64,
    /// The first, once it is closed; before, the log has them all.
    responders: Vec<(SocketAddr, Responder)>,
}

impl Keeper for Message {
    fn wanted(&self) -> String {
        let wanted = Wanted { created_at: self.created_at, spec: self.spec.clone() };
        serde_json::to_string(&wanted).expect("it has nothing that JSON has not")
    }

    fn progress(&self) -> String {
        let dropped_buffers = self.dropped_buffers();
        let collection = self.collection();
        let closed = collection.closed();
        let listed = if closed.is_some() { Self::LISTED_RESPONDERS } else { 0 };
        let progress = Progress {
            closed,
            routes: collection.routes().to_vec(),
            counters: collection.counters(),
            dropped_buffers,
            responders: collection.responders(listed),
        };
        drop(collection);
        serde_json::to_string(&progress).expect("it has nothing that JSON has not")
    }
}

impl Message {
    /// A message as it was saved; one that was still collecting has to be [recalled](Self::recall).
    pub(in crate::control) fn restore(
        saved: Saved,
        limits: Limits,
        budget: &Arc<Budget>,
        clockwork: &Clockwork,
    ) -> serde_json::Result<Self> {
        let wanted: Wanted = serde_json::from_str(&saved.wanted)?;
        let progress: Progress = read_progress(&saved.progress)?;
        let id: Id = serde_json::from_value(saved.id.into())?;
        let limits = limits.narrowed(&wanted.spec.retention);
        let log = Arc::new(Log::restored(limits, budget.clone(), saved.place, &saved.log));
        let Progress { closed, routes, counters, dropped_buffers, responders } = progress;
        let mut message = Self::new(id, wanted.spec, log, clockwork.clone());
        message.created_at = wanted.created_at;
        *message.dropped_before.get_mut() = dropped_buffers;
        *message.news.get_mut() = news::SENT | if closed.is_some() { news::CLOSED } else { 0 };
        let collection = message.collection.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        *collection = Collection::restored(routes, counters, responders, closed);
        Ok(message)
    }

    /// Finds in the log who has answered, and ends the collecting, as nobody listens any more.
    pub(in crate::control) async fn recall(self: &Arc<Self>) -> Result<(), ReadError> {
        const AT_ONCE: usize = 1_000;
        let mut cursor = None;
        let counters = self.log.counters();
        let whole = counters.kept() == counters.appended;
        if whole {
            self.collection().recount();
        }
        loop {
            let page = self.log.read(cursor, AT_ONCE, Scope::ALL).await?;
            let answers = page.entries().map(|entry| (entry.sequence, entry.heard.source, entry.answer));
            self.collection().recall(answers, whole);
            if page.is_empty() {
                break;
            }
            cursor = Some(page.next);
        }
        self.close(CloseReason::Restarted);
        self.log.complete();
        Ok(())
    }

    /// One that was closed already takes its place among those that are.
    pub(in crate::control) fn stay_closed(self: &Arc<Self>) {
        let counters = self.collection().counters();
        self.carry_responders(&counters);
        self.clockwork.closing.resume(self);
        self.log.complete();
    }

    /// Sees to it that it is on disk from now on. `is_new`: it has not been there before.
    pub(in crate::control) fn keep(self: &Arc<Self>, store: &Store, is_new: bool) {
        let keeper = Arc::downgrade(self) as Weak<dyn Keeper>;
        store.keep(Kind::Message.name(), self.id.as_str(), &self.log, keeper, is_new);
    }

    /// Tells the store that something has changed.
    pub(super) fn touch(&self) {
        if let Some(place) = self.log.place() {
            place.touch();
        }
    }
}
