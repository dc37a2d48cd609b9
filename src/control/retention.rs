//! Retention beyond each log's own limits: the age of datagrams and of closed messages, and the total size of all logs.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, timeout_at};

use super::message::{Message, delete_closed, delete_expired, drop_tables};
use super::shared::Shared;
use crate::model::Timestamp;
use crate::store::Log;

/// Keeps a log alive while it is processed.
enum RetainedLog {
    Membership(Arc<Log>),
    Message(Arc<Message>),
}

impl RetainedLog {
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
        shared.failures.catch(|| delete_expired(shared, now));
        shared.responder_context.limits.sweep(std::time::Instant::now());
        shared.failures.catch(|| drop_tables(shared));
        shared.timers.sweep();
        expire(shared, now).await;
        if shared.budget.is_exceeded() {
            let delete_message = |before| delete_closed(shared, before);
            free_oldest(shared, Log::oldest, Log::evict, delete_message, || shared.budget.is_exceeded())
                .await;
        }
        if shared.budget.memory_is_exceeded() {
            free_oldest(
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
    for (nth, log) in logs(shared).into_iter().enumerate() {
        let expiring = AssertUnwindSafe(log.log().expire(now)).catch_unwind();
        if let Ok(Err(_panicked)) = timeout_at(deadline, expiring).await {
            shared.failures.note_panic();
        }
        yield_every(nth).await;
    }
}

/// Frees memory or disk step by step while `is_needed`, the oldest first: `delete_message` deletes a closed message that
/// is older than the oldest block, if there is one; else `evict` takes the oldest block of a log, as `oldest` finds it.
async fn free_oldest(
    shared: &Shared,
    oldest: fn(&Log) -> Option<Timestamp>,
    evict: fn(&Log),
    delete_message: impl Fn(Option<Timestamp>) -> bool,
    is_needed: impl Fn() -> bool,
) {
    let logs = logs(shared);
    let aged = |(nth, log): (usize, &RetainedLog)| {
        let oldest = shared.failures.catch(|| oldest(log.log())).flatten()?;
        Some(Reverse((oldest, nth)))
    };
    let mut heap: BinaryHeap<_> = logs.iter().enumerate().filter_map(aged).collect();
    let mut evicted = 0;
    while is_needed() {
        if !delete_message(heap.peek().map(|Reverse((oldest, _))| *oldest)) {
            let Some(Reverse((_, nth))) = heap.pop() else {
                return;
            };
            shared.failures.catch(|| evict(logs[nth].log()));
            heap.extend(aged((nth, &logs[nth])));
        }
        evicted += 1;
        yield_every(evicted).await;
    }
}

fn logs(shared: &Shared) -> Vec<RetainedLog> {
    let logs = shared.all_memberships().map(|membership| RetainedLog::Membership(membership.log()));
    logs.chain(shared.messages.all().into_iter().map(RetainedLog::Message)).collect()
}

/// Lets other tasks run after every `STEPS` steps.
async fn yield_every(step: usize) {
    const STEPS: usize = 256;
    if step % STEPS == STEPS - 1 {
        tokio::task::yield_now().await;
    }
}
