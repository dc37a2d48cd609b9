//! Retention beyond each log's own limits: the age of datagrams and of closed messages, and the total size of all logs.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, timeout_at};

use super::message::{Message, forget_closed, forget_expired};
use super::shared::Shared;
use crate::model::Timestamp;
use crate::store::Log;

/// Keeps a log alive while it is processed.
enum LogOwner {
    Membership(Arc<Log>),
    Message(Arc<Message>),
}

impl LogOwner {
    fn log(&self) -> &Log {
        match self {
            Self::Membership(log) => log,
            Self::Message(message) => message.log(),
        }
    }
}

/// How long after it has expired a datagram or message is deleted, at most.
const ROUND: Duration = Duration::from_secs(1);

/// Applies retention until it is cancelled: in rounds, and at once when the logs hold too much. Cancel-safe.
pub(super) async fn run(shared: &Shared) {
    loop {
        let _ = tokio::time::timeout(ROUND, shared.budget.exceeded()).await;
        let now = Timestamp::now();
        shared.failures.catch(|| forget_expired(shared, now));
        shared.responder_context.limits.sweep(std::time::Instant::now());
        expire(shared, now).await;
        if shared.budget.is_exceeded() {
            let forget = |before| forget_closed(shared, before);
            make_room(shared, Log::oldest, Log::evict, forget, || shared.budget.is_exceeded()).await;
        }
        if shared.budget.memory_is_exceeded() {
            make_room(
                shared,
                Log::oldest_held,
                Log::drop_from_memory,
                |_| false,
                || shared.budget.memory_is_short(),
            )
            .await;
        }
    }
}

async fn expire(shared: &Shared, now: Timestamp) {
    // The deadline, so that a disk that hangs does not keep other logs from freeing memory.
    let deadline = Instant::now() + ROUND;
    for (nth, owner) in owners(shared).into_iter().enumerate() {
        let expiring = AssertUnwindSafe(owner.log().expire(now)).catch_unwind();
        if let Ok(Err(_panicked)) = timeout_at(deadline, expiring).await {
            shared.failures.note_panic();
        }
        yield_every(nth).await;
    }
}

/// Evicts the oldest blocks of all logs, one by one, while `is_needed`. Tries `forget` first: it deletes a
/// closed message that is older than the oldest block, if there is any.
async fn make_room(
    shared: &Shared,
    oldest: fn(&Log) -> Option<Timestamp>,
    evict: fn(&Log),
    forget: impl Fn(Option<Timestamp>) -> bool,
    is_needed: impl Fn() -> bool,
) {
    let owners = owners(shared);
    let aged = |(nth, owner): (usize, &LogOwner)| {
        let oldest = shared.failures.catch(|| oldest(owner.log())).flatten()?;
        Some(Reverse((oldest, nth)))
    };
    let mut heap: BinaryHeap<_> = owners.iter().enumerate().filter_map(aged).collect();
    let mut evicted = 0;
    while is_needed() {
        if !forget(heap.peek().map(|Reverse((oldest, _))| *oldest)) {
            let Some(Reverse((_, nth))) = heap.pop() else {
                return;
            };
            shared.failures.catch(|| evict(owners[nth].log()));
            heap.extend(aged((nth, &owners[nth])));
        }
        evicted += 1;
        yield_every(evicted).await;
    }
}

fn owners(shared: &Shared) -> Vec<LogOwner> {
    let logs = shared.joined_all().map(|membership| LogOwner::Membership(membership.log()));
    logs.chain(shared.messages.all().into_iter().map(LogOwner::Message)).collect()
}

/// Lets other tasks run after every `STEPS` steps.
async fn yield_every(step: usize) {
    const STEPS: usize = 256;
    if step % STEPS == STEPS - 1 {
        tokio::task::yield_now().await;
    }
}
