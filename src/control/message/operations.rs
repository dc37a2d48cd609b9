//! The operations on messages: send, list, cancel, delete.
//!
//! Tasks: one for each message that is sent more than once or has to wait for its first send, until its last send or
//! its end; owned by the tracker of [`Shared`]. Cancel-safe: each send is counted before it happens.

use std::sync::Arc;

use super::collection::{Collection, ResponderTable};
use super::egress_interface::EgressInterface;
use super::opening::{OpenedSockets, SocketsWithPorts};
use super::spans::trace_refused;
use super::state::Message;
use crate::control::condition::Condition;
use crate::control::error::{ControlError, Done};
use crate::control::registry::{ListPage, ListQuery, Outcome};
use crate::control::resource_kind::ResourceKind;
use crate::control::shared::{Control, Shared};
use crate::control::totals::Totals;
use crate::control::waiting::within;
use crate::model::{CloseReason, Id, MessageSpec, Timestamp};
use crate::store::{Log, Store};

impl Control {
    /// Sends under a new id.
    pub async fn send(&self, spec: MessageSpec) -> Result<Arc<Message>, ControlError> {
        self.send_with_id(&Id::generate(), spec, &Condition::NONE).await.map(|(message, _)| message)
    }

    /// Sends under the client's id, once: the same request again finds the message, a different one is refused. Once
    /// this returns, the message is on disk unless the disk fails, so it is not sent again after a crash.
    pub async fn send_as(
        &self,
        id: Id,
        spec: MessageSpec,
        condition: &Condition,
    ) -> Result<(Arc<Message>, Outcome), ControlError> {
        let (message, outcome) = self.send_with_id(&id, spec, condition).await?;
        // The message was sent, even if the service stops now.
        match self.0.flushed(Done::Sent(message.copies_sent())).await {
            Err(ControlError::TimedOut { done }) => Err(ControlError::TimedOut { done }),
            _ => Ok((message, outcome)),
        }
    }

    async fn send_with_id(
        &self,
        id: &Id,
        spec: MessageSpec,
        condition: &Condition,
    ) -> Result<(Arc<Message>, Outcome), ControlError> {
        let shared = &self.0;
        // If a client repeats the request, the repetition waits for the first.
        let _claim = within(Done::Nothing, shared.claims.claim(id)).await?;
        let existing = shared.messages.find(id);
        condition.check(ResourceKind::Message, id, existing.as_ref().map(|message| message.revision()))?;
        if let Some(message) = existing {
            return existing_or_conflict(message, &spec);
        }
        shared.ensure_running()?;
        let (repeat, max) = (spec.repeat, shared.settings.longest_repeat);
        if repeat.interval.saturating_mul(repeat.count) > max {
            let (count, interval) = (repeat.count, repeat.interval);
            return Err(ControlError::RepeatTooLong { count, interval, max });
        }
        let max = shared.message_context.tables.rows();
        if let Some(expect) = spec.expect.filter(|expect| *expect > max as u64) {
            return Err(ControlError::ExpectsTooMany { expect, max });
        }
        let permit = shared.collecting.clone().try_acquire_owned();
        let permit = permit.map_err(|_full| shared.too_many(ResourceKind::Message))?;
        if let Some(deleted) = shared.messages.under_deletion(id) {
            // The deleted message may still hold the port that this one needs.
            within(Done::Nothing, deleted.sockets_closed()).await?;
        }
        let opened = match open_sockets(shared, &spec).await {
            // The table may lag behind a change of the interface.
            Err(error) if error.is_of_interface() => {
                let refreshed = within(Done::Nothing, shared.message_context.sockets.refresh()).await?;
                refreshed.map_err(ControlError::Failed)?;
                open_sockets(shared, &spec).await
            }
            opened => opened,
        };
        let (interfaces, sockets) = opened.inspect_err(|error| trace_refused(id, &spec, error))?;
        delete_beyond(shared, shared.settings.kept_messages.saturating_sub(1));
        // No await from here on, so a client that disconnects cannot leave a message half sent.
        let results = interfaces.iter().map(|one| one.result(&spec)).collect();
        let responders = ResponderTable::new(shared.message_context.tables.clone());
        let mut collection = Collection::new(results, responders, Some(permit));
        let with_ports = |(result_index, sockets): (usize, Option<OpenedSockets>)| {
            sockets.map(|sockets| sockets.enter_ports(result_index, &mut collection))
        };
        let sockets: Vec<_> = sockets.into_iter().enumerate().map(with_ports).collect();
        let limits = shared.settings.log_limits.narrowed(&spec.retention);
        let log =
            Arc::new(Log::new(limits, shared.budget.clone(), shared.store.as_ref().map(Store::new_handle)));
        let context = shared.message_context.clone();
        let message = Arc::new(Message::new(id.clone(), spec, log, collection, context));
        if let Err(taken) = shared.messages.insert(message.clone()) {
            return existing_or_conflict(taken, message.spec());
        }
        let begun = shared.failures.contain(&message, || begin(shared, &message, interfaces, sockets));
        if let Some(Err(error)) = begun {
            shared.messages.remove_if(id, &message);
            message.fail_trace(&error);
            message.close(CloseReason::Cancelled);
            message.release_sockets();
            message.log().close();
            // The message counts neither as sent nor as closed, but its failed copies count.
            message
                .enter_totals(|totals| Totals { send_failures: totals.send_failures, ..Totals::default() });
            return Err(error);
        }
        message.persist(true);
        Ok((message, Outcome::Created))
    }

    /// A page of the messages.
    pub fn messages(&self, query: &ListQuery, closed: Option<bool>) -> ListPage<Message> {
        self.0.messages.list(query, |message| {
            query.group.is_none_or(|group| message.spec().group == group)
                && query.selector.as_ref().is_none_or(|selector| message.is_selected_by(selector))
                && closed.is_none_or(|closed| message.is_closed() == closed)
        })
    }

    /// Stops collecting and keeps the responses.
    pub async fn cancel(&self, id: &Id, condition: &Condition) -> Result<Arc<Message>, ControlError> {
        self.0.ensure_running()?;
        let message = self.message(id)?;
        condition.check(ResourceKind::Message, id, Some(message.revision()))?;
        message.close(CloseReason::Cancelled);
        self.0.flushed(Done::Changed).await?;
        Ok(message)
    }

    /// Stops and deletes the message; once this returns, the sockets are closed, and the message is deleted from the
    /// disk, unless the disk fails. If that takes too long, a second call continues the wait.
    pub async fn delete(&self, id: &Id, condition: &Condition) -> Result<(), ControlError> {
        self.0.ensure_running()?;
        let messages = &self.0.messages;
        let kind = ResourceKind::Message;
        let message = {
            let _claim = within(Done::Nothing, self.0.claims.claim(id)).await?;
            if let Some(message) = messages.find(id).or_else(|| messages.under_deletion(id)) {
                condition.check(kind, id, Some(message.revision()))?;
            }
            let deletion = messages.begin_deletion(id, |_| true);
            let (message, is_new) = deletion.ok_or_else(|| self.0.not_found(kind, id))?;
            if is_new {
                message.discard();
            }
            message
        };
        let gone = async move {
            message.sockets_closed().await;
            message
        };
        self.0.finish_deletion(|shared| &shared.messages, gone).await
    }
}

impl Message {
    /// Copies sent by all its interfaces.
    pub fn copies_sent(&self) -> u32 {
        self.with_collection(|collection| collection.copies_sent())
    }
}

/// The message that has the id already, if it is the one that the client sends again.
fn existing_or_conflict(
    message: Arc<Message>,
    spec: &MessageSpec,
) -> Result<(Arc<Message>, Outcome), ControlError> {
    if message.spec() == spec {
        Ok((message, Outcome::Existed))
    } else {
        Err(ControlError::OtherBody { id: message.id().clone() })
    }
}

/// Opens the sockets of a new message. Fails if none of its interfaces can be used; if only some cannot, the first
/// copy retries those.
async fn open_sockets(
    shared: &Shared,
    spec: &MessageSpec,
) -> Result<(Vec<EgressInterface>, Vec<Option<OpenedSockets>>), ControlError> {
    let interfaces = shared.message_context.egress_interfaces(spec)?;
    let (mut opened, mut first_error) = (Vec::new(), None);
    for interface in &interfaces {
        match open_on(shared, interface, spec).await {
            Ok(sockets) => opened.push(Some(sockets)),
            Err(error) => {
                first_error.get_or_insert(error);
                opened.push(None);
            }
        }
    }
    match first_error {
        Some(error) if opened.iter().all(Option::is_none) => Err(error),
        _ => Ok((interfaces, opened)),
    }
}

/// If descriptors or the port are missing, lingering messages release theirs first.
async fn open_on(
    shared: &Shared,
    interface: &EgressInterface,
    spec: &MessageSpec,
) -> Result<OpenedSockets, ControlError> {
    let opened = interface.open(spec, &shared.message_context);
    let Err(error) = &opened else { return opened };
    let ended = shared.message_context.end_lingering_for(error);
    if ended.is_empty() {
        return opened;
    }
    let closed = async {
        for message in ended {
            message.sockets_closed().await;
        }
    };
    within(Done::Nothing, closed).await?;
    interface.open(spec, &shared.message_context)
}

/// Registers the sockets of a message that is in the registry, and sends its first copies. A task sends the
/// repeats, and the copies that wait for room in a send buffer.
fn begin(
    shared: &Shared,
    message: &Arc<Message>,
    mut interfaces: Vec<EgressInterface>,
    sockets: Vec<Option<SocketsWithPorts>>,
) -> Result<(), ControlError> {
    message.begin_trace();
    for (interface, sockets) in interfaces.iter_mut().zip(sockets) {
        interface.register_sockets(sockets, message);
    }
    // The message is in the registry: a shutdown finds and closes it there, or is noticed here.
    shared.ensure_running()?;
    let waiting = message.send_first_attempt(&mut interfaces)?;
    message.emit_sent();
    if waiting.is_empty() && message.spec().repeat.count == 1 {
        message.finish_sending();
    } else {
        message.close_if_done();
        shared.tasks.spawn(message.clone().send_remaining(interfaces, waiting, shared.stop.clone()));
    }
    Ok(())
}

/// Deletes messages that have been closed for `message_age`, and those beyond `kept_messages`.
pub(in crate::control) fn delete_expired(shared: &Shared, now: Timestamp) {
    let expired = |message: &Message| {
        let is_old = |at| now.since(at).is_some_and(|age| age >= shared.settings.message_age);
        message.closed_at().is_none_or(is_old)
    };
    while delete_oldest_if(shared, expired) {}
    delete_beyond(shared, shared.settings.kept_messages);
}

/// Deletes the message that has been closed for the longest, if it was closed before this time.
pub(in crate::control) fn delete_closed(shared: &Shared, before: Option<Timestamp>) -> bool {
    delete_oldest_if(shared, |message| {
        message.closed_at().is_some_and(|at| before.is_none_or(|before| at < before))
    })
}

/// Drops lists of responders, those of the longest closed messages first, while the tables exceed their budget.
pub(in crate::control) fn drop_tables(shared: &Shared) {
    let tables = &shared.message_context.tables;
    if !tables.is_short() {
        return;
    }
    let closed_at = |message: Arc<Message>| message.closed_at().map(|at| (at, message));
    let mut closed: Vec<_> = shared.messages.all().into_iter().filter_map(closed_at).collect();
    closed.sort_unstable_by_key(|(at, _)| *at);
    for (_, message) in closed {
        if tables.has_room() {
            return;
        }
        message.with_collection(Collection::drop_responders);
    }
}

/// Deletes the longest closed messages until there are no more than this.
fn delete_beyond(shared: &Shared, max: usize) {
    while shared.messages.len() > max && delete_oldest_if(shared, |_| true) {}
}

/// Deletes the message that has been closed for the longest, if `which` selects it; returns whether it did.
fn delete_oldest_if(shared: &Shared, which: impl Fn(&Message) -> bool) -> bool {
    let Some(oldest) = shared.message_context.closed.oldest_if(which) else { return false };
    shared.messages.remove_if(oldest.id(), &oldest);
    oldest.discard();
    true
}
