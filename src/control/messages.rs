//! The verbs of messages: send, find, cancel, forget.
//!
//! Tasks, owned by the tracker of [`Shared`]: one for each message's first send, which only the shutdown
//! cancels, and one for each message that is sent more than once, until its last send or its end.
//! Cancel-safe: each send is noted before it happens.

use std::sync::Arc;
use std::time::Instant;

use super::egress::Outlet;
use super::message::Message;
use super::refusal::{Attempt, Purpose, Refusal};
use super::{Control, Kind, Shared};
use crate::model::{ClockReading, CloseReason, Group, Id, Interface, MessageSpec};
use crate::net::{Fault, FaultKind};

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
        self.send_as(Id::generate(), spec).await.map(|(message, _)| message)
    }

    /// Sends under the client's id, once: the same again finds the message, another is refused.
    pub async fn send_as(&self, id: Id, spec: MessageSpec) -> Result<(Arc<Message>, Outcome), Refusal> {
        let shared = &self.0;
        if let Some(message) = shared.messages.find(&id) {
            return same(message, &spec);
        }
        if shared.stop.is_cancelled() {
            return Err(Refusal::Stopping);
        }
        let interfaces = shared.egress(&spec).await?;
        shared.forget_oldest();
        let message =
            Arc::new(Message::new(id.clone(), spec, shared.settings.log_limits, shared.clockwork.clone()));
        if let Err(taken) = shared.messages.insert(id.clone(), message.clone()) {
            return same(taken, message.spec());
        }
        // In a task, so that a client who hangs up meanwhile does not leave the message half sent.
        let sending = shared.tasks.spawn(shared.clone().send_out(message.clone(), interfaces));
        sending.await.map_err(|_| Refusal::Stopping)??;
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
    pub fn cancel(&self, id: &Id) -> Result<Arc<Message>, Refusal> {
        let message = self.message(id)?;
        message.close(CloseReason::Cancelled);
        Ok(message)
    }

    /// Stops and forgets.
    pub fn forget(&self, id: &Id) -> Result<(), Refusal> {
        let message = self.0.messages.remove(id);
        let message = message.ok_or_else(|| Refusal::NotFound { kind: Kind::Message, id: id.clone() })?;
        message.discard();
        Ok(())
    }
}

impl Message {
    pub(super) fn discard(self: &Arc<Self>) {
        self.close(CloseReason::Cancelled);
        self.end_linger();
        self.log().close();
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
    /// Opens the message's outlets and sends; on refusal the message is gone.
    async fn send_out(
        self: Arc<Self>,
        message: Arc<Message>,
        interfaces: Vec<Arc<Interface>>,
    ) -> Result<(), Refusal> {
        let sent = match self.open_outlets(&message, interfaces) {
            // It is registered by now: either the shutdown finds and closes it, or is noticed here.
            Ok(outlets) => {
                let sent = self.stop.run_until_cancelled(self.send_first(&message, outlets)).await;
                sent.unwrap_or(Err(Refusal::Stopping))
            }
            Err(refusal) => Err(refusal),
        };
        if sent.is_err() {
            self.messages.remove_if(message.id(), &message);
            message.close(CloseReason::Cancelled);
            message.end_linger();
        }
        sent
    }

    /// Sends the first attempt by every outlet and leaves the repeats to a task.
    async fn send_first(
        self: &Arc<Self>,
        message: &Arc<Message>,
        outlets: Vec<Outlet>,
    ) -> Result<(), Refusal> {
        let refusal = send_attempt(message, &outlets, 1).await;
        let any_sent =
            message.with_collection(|collection| collection.routes().iter().any(|route| route.sent > 0));
        match refusal {
            Some(refusal) if !any_sent => return Err(refusal),
            _ => {}
        }
        if message.spec().repeat.count > 1 {
            let stop = self.stop.clone();
            let repeating = message.clone();
            self.tasks.spawn(async move {
                stop.run_until_cancelled(repeat(&repeating, &outlets)).await;
                finish_sending(&repeating);
            });
            message.check(Instant::now());
        } else {
            finish_sending(message);
        }
        Ok(())
    }

    /// Lets the oldest closed messages go when there are more than are kept.
    fn forget_oldest(&self) {
        while self.messages.len() >= self.settings.kept_messages {
            let Some(oldest) = self.clockwork.closing.oldest() else {
                return;
            };
            self.messages.remove(oldest.id());
            oldest.discard();
        }
    }
}

fn finish_sending(message: &Arc<Message>) {
    message.with_collection(super::collection::Collection::sending_done);
    message.check(Instant::now());
}

/// Sends the second and later attempts, each at its time, until the message is closed.
async fn repeat(message: &Arc<Message>, outlets: &[Outlet]) {
    /// Unpaced sends after which other tasks get a turn.
    const BEFORE_YIELD: u32 = 64;
    let repeat = message.spec().repeat;
    let start = tokio::time::Instant::now();
    for attempt in 2..=repeat.count {
        if !repeat.interval.is_zero() {
            let due = start + repeat.interval * (attempt - 1);
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                () = message.wait_closed() => return,
            }
        } else if attempt % BEFORE_YIELD == 0 {
            tokio::task::yield_now().await;
        }
        if message.is_closed() {
            return;
        }
        send_attempt(message, outlets, attempt).await;
    }
}

/// Sends one attempt by every outlet; gives the first failure, which its route shows too.
async fn send_attempt(message: &Message, outlets: &[Outlet], attempt: u32) -> Option<Refusal> {
    let mut failure = None;
    let spec = message.spec();
    for (route, outlet) in outlets.iter().enumerate().filter(|(_, outlet)| outlet.is_open()) {
        let port = route * spec.ports_per_interface() as usize + outlet.port(attempt);
        if let Err(fault) = send_by(message, outlet, route, port, attempt).await {
            let bind = std::net::SocketAddr::new(spec.group.ip(), 0);
            let interface = &outlet.interface.name;
            let refusal = Refusal::of(
                fault,
                &Attempt {
                    purpose: Purpose::Send,
                    group: &spec.group,
                    interface,
                    bind,
                    sources: 0,
                    payload: spec.payload.len(),
                },
            );
            message.with_collection(|collection| collection.send_failed(route, port, refusal.to_string()));
            failure.get_or_insert(refusal);
        }
    }
    failure
}

async fn send_by(
    message: &Message,
    outlet: &Outlet,
    route: usize,
    port: usize,
    attempt: u32,
) -> Result<(), Fault> {
    message.with_collection(|collection| collection.sending(route, port, attempt, ClockReading::now()));
    loop {
        match outlet.send(message.spec(), attempt) {
            Err(fault) if fault.kind() == FaultKind::Busy => outlet.writable(attempt).await?,
            result => return result,
        }
    }
}
