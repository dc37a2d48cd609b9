//! Retention beyond each log's own limits: the age of datagrams and of closed messages, and the total size of all logs.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, timeout_at};

use super::{Message, Shared};
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

impl Shared {
    /// How long after it has expired a datagram or message is deleted, at most.
    const ROUND: Duration = Duration::from_secs(1);

    /// Applies retention until it is cancelled: in rounds, and at once when the logs hold too much. Cancel-safe.
    pub(super) async fn run_retention(&self) {
        loop {
            let _ = tokio::time::timeout(Self::ROUND, self.budget.exceeded()).await;
            let now = Timestamp::now();
            self.caught(|| self.forget_expired(now));
            self.expire(now).await;
            if self.budget.is_exceeded() {
                let forget = |before| self.forget_closed(before);
                self.make_room(Log::oldest, Log::evict, forget, || self.budget.is_exceeded()).await;
            }
            if self.budget.memory_is_exceeded() {
                self.make_room(
                    Log::oldest_held,
                    Log::drop_from_memory,
                    |_| false,
                    || self.budget.memory_is_short(),
                )
                .await;
            }
        }
    }

    async fn expire(&self, now: Timestamp) {
        // The deadline, so that a disk that hangs does not keep other logs from freeing memory.
        let deadline = Instant::now() + Self::ROUND;
        for (nth, owner) in self.owners().into_iter().enumerate() {
            let expiring = AssertUnwindSafe(owner.log().expire(now)).catch_unwind();
            if let Ok(Err(_panicked)) = timeout_at(deadline, expiring).await {
                self.recovery.note_panic();
            }
            yield_every(nth).await;
        }
    }

    /// Evicts the oldest blocks of all logs, one by one, while `called_for`. `forget` is tried first: it deletes
    /// something else that is older than the oldest block, if there is any.
    async fn make_room(
        &self,
        oldest: fn(&Log) -> Option<Timestamp>,
        let_go: fn(&Log),
        forget: impl Fn(Option<Timestamp>) -> bool,
        called_for: impl Fn() -> bool,
    ) {
        let owners = self.owners();
        let aged = |(nth, owner): (usize, &LogOwner)| {
            let oldest = self.caught(|| oldest(owner.log())).flatten()?;
            Some(Reverse((oldest, nth)))
        };
        let mut heap: BinaryHeap<_> = owners.iter().enumerate().filter_map(aged).collect();
        let mut evicted = 0;
        while called_for() {
            if !forget(heap.peek().map(|Reverse((oldest, _))| *oldest)) {
                let Some(Reverse((_, nth))) = heap.pop() else {
                    return;
                };
                self.caught(|| let_go(owners[nth].log()));
                heap.extend(aged((nth, &owners[nth])));
            }
            evicted += 1;
            yield_every(evicted).await;
        }
    }

    fn owners(&self) -> Vec<LogOwner> {
        let logs = self.joined_all().map(|membership| LogOwner::Membership(membership.log()));
        logs.chain(self.messages.all().into_iter().map(LogOwner::Message)).collect()
    }
}

/// Lets other tasks run after every `STEPS` steps.
async fn yield_every(step: usize) {
    const STEPS: usize = 256;
    if step % STEPS == STEPS - 1 {
        tokio::task::yield_now().await;
    }
}
