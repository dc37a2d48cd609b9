//! Retention beyond what each log keeps by itself: the age of datagrams and of closed messages, and what all logs
//! hold together.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use super::{Membership, Message, Shared};
use crate::model::Timestamp;
use crate::store::Log;

/// Whoever has a log, and keeps it while it is looked at.
enum Owner {
    Membership(Arc<Log>),
    Message(Arc<Message>),
}

impl Owner {
    fn log(&self) -> &Log {
        match self {
            Self::Membership(log) => log,
            Self::Message(message) => message.log(),
        }
    }
}

impl Shared {
    /// How soon after its time a datagram or message is let go, at most.
    const ROUND: Duration = Duration::from_secs(1);

    /// Keeps house for ever: in rounds, and at once when the logs hold too much. Cancel-safe.
    pub(super) async fn keep_house(&self) {
        loop {
            let _ = tokio::time::timeout(Self::ROUND, self.budget.exceeded()).await;
            let now = Timestamp::now();
            self.forget_expired(now);
            self.expire(now).await;
            if self.budget.excess() > 0 {
                self.make_room().await;
            }
        }
    }

    async fn expire(&self, now: Timestamp) {
        for (nth, owner) in self.owners().into_iter().enumerate() {
            owner.log().expire(now);
            give_way(nth).await;
        }
    }

    /// Lets the oldest blocks of all go, one by one, until the rest fits.
    async fn make_room(&self) {
        let owners = self.owners();
        let aged = |(nth, owner): (usize, &Owner)| owner.log().oldest().map(|oldest| Reverse((oldest, nth)));
        let mut oldest: BinaryHeap<_> = owners.iter().enumerate().filter_map(aged).collect();
        let mut evicted = 0;
        while self.budget.excess() > 0 {
            let Some(Reverse((_, nth))) = oldest.pop() else {
                return;
            };
            owners[nth].log().evict();
            oldest.extend(aged((nth, &owners[nth])));
            evicted += 1;
            give_way(evicted).await;
        }
    }

    fn owners(&self) -> Vec<Owner> {
        let joined = self.memberships.all().into_iter().chain(self.responders.all());
        let logs = joined.map(|membership: Arc<Membership>| Owner::Membership(membership.log()));
        logs.chain(self.messages.all().into_iter().map(Owner::Message)).collect()
    }
}

/// Lets other tasks run after every so many steps.
async fn give_way(step: usize) {
    const STEPS: usize = 256;
    if step % STEPS == STEPS - 1 {
        tokio::task::yield_now().await;
    }
}
