//! Messages on disk: their specifications and results, and how they are restored.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use serde::{Deserialize, Serialize};

use super::collection::{Collection, EgressResult, ResponderTable, RespondingPeer, ResponseCounters};
use super::state::{Message, MessageContext, event_flags};
use crate::control::resource_kind::ResourceKind;
use crate::control::saved::{read_status, to_json};
use crate::model::{CloseReason, Id, MessageSpec, Timestamp};
use crate::store::{Budget, Limits, Log, Persist, ReadError, ReadRange, SavedResource};

#[derive(Serialize, Deserialize)]
struct StoredMessage {
    created_at: Timestamp,
    spec: MessageSpec,
}

#[derive(Default, Serialize, Deserialize)]
struct MessageStatus {
    closed: Option<(CloseReason, Timestamp)>,
    #[serde(rename = "routes")]
    results: Vec<EgressResult>,
    counters: ResponseCounters,
    dropped_buffers: u64,
    /// The first ones, once the message is closed; until then, the log has all.
    responders: Vec<(SocketAddr, RespondingPeer)>,
}

impl Persist for Message {
    fn spec(&self) -> String {
        let stored = StoredMessage { created_at: self.created_at, spec: self.spec.clone() };
        to_json(&stored)
    }

    fn status(&self) -> String {
        let dropped_buffers = self.dropped_buffers();
        let collection = self.collection();
        let closed = collection.closed();
        let listed = if closed.is_some() { Self::LISTED_RESPONDERS } else { 0 };
        let (results, counters) = (collection.results().to_vec(), collection.counters());
        let listed = collection.responders(listed);
        drop(collection);
        let results = results.iter().map(|result| EgressResult::clone(result)).collect();
        let responders = listed.iter().collect();
        let status = MessageStatus { closed, results, counters, dropped_buffers, responders };
        to_json(&status)
    }
}

impl Message {
    /// A message as saved; if it was still collecting, it has to be [replayed](Self::replay_responses).
    pub(in crate::control) fn restore(
        saved: SavedResource,
        limits: Limits,
        budget: &Arc<Budget>,
        context: &MessageContext,
    ) -> serde_json::Result<Self> {
        let stored: StoredMessage = serde_json::from_str(&saved.spec)?;
        let status: MessageStatus = read_status(&saved.status)?;
        let id: Id = serde_json::from_value(saved.id.into())?;
        let limits = limits.narrowed(&stored.spec.retention);
        let log = Arc::new(Log::restored(limits, budget.clone(), saved.handle, &saved.log));
        let MessageStatus { closed, results, counters, dropped_buffers, responders } = status;
        let tables = context.tables.clone();
        let responders = match closed {
            Some(_) => ResponderTable::restored(tables, responders),
            None => ResponderTable::new(tables),
        };
        let collection = Collection::restored(results, counters, responders, closed);
        let mut message = Self::new(id, stored.spec, log, collection, context.clone());
        message.created_at = stored.created_at;
        message.sockets().set_dropped_before(dropped_buffers);
        let closed = if closed.is_some() { event_flags::CLOSED } else { 0 };
        *message.event_flags.get_mut() = event_flags::SENT | closed;
        Ok(message)
    }

    /// Reads the responders from the log, and closes the message, because its sockets are gone.
    /// An error says why some responses could not be read.
    pub(in crate::control) async fn replay_responses(self: &Arc<Self>) -> Result<(), ReadError> {
        let replayed = self.replay().await;
        self.close(CloseReason::Restarted);
        self.release_sockets();
        replayed
    }

    async fn replay(&self) -> Result<(), ReadError> {
        const MAX_READ: usize = 1_000;
        let mut cursor = None;
        let counters = self.log.counters();
        let is_complete = counters.kept() == counters.appended;
        if is_complete {
            self.collection().recount();
        }
        loop {
            let page = self.log.read(cursor, MAX_READ, ReadRange::ALL).await?;
            let responses =
                page.entries().map(|entry| (entry.sequence, entry.metadata.source, entry.response));
            self.collection().replay(responses, is_complete);
            if page.is_empty() && page.gap.is_none() {
                break;
            }
            cursor = Some(page.next);
        }
        Ok(())
    }

    /// Adds a message that was closed already to the closed messages.
    pub(in crate::control) fn restore_closed(self: &Arc<Self>) {
        let counters = self.collection().counters();
        self.charge_responders(&counters);
        self.context.closed.restore(self);
        self.log.complete();
    }

    /// Has the store keep it on disk from now on. `is_new`: the store does not have it yet.
    pub(in crate::control) fn persist(self: &Arc<Self>, is_new: bool) {
        let owner = Arc::downgrade(self) as Weak<dyn Persist>;
        self.log.persist(ResourceKind::Message.name(), self.id.as_str(), owner, is_new);
    }

    /// Tells the store that the message has changed.
    pub(super) fn touch(&self) {
        if let Some(handle) = self.log.handle() {
            handle.touch();
        }
    }
}
