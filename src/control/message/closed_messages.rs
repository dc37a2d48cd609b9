//! Closed messages: they linger for late replies, and are deleted in the end.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use crate::control::timers::Timers;
use crate::sync::Lock;

/// Closed messages, the longest closed first.
pub(in crate::control) struct ClosedMessages<M> {
    /// Std lock: held for a push, a pop, or a sweep of dropped messages, and never while a message's own lock is taken.
    queues: Mutex<Queues<M>>,
}

/// A message that may keep its sockets for a while once it is closed. A trait, so that this file does not need to know
/// `Message`, which holds the [`ClosedMessages`].
pub(in crate::control) trait Lingers: Send + Sync + 'static {
    /// For how long; none if it has no sockets of its own.
    fn linger(&self) -> Option<Duration>;
    /// Releases the sockets.
    fn end_linger(self: &Arc<Self>);
}

struct Queues<M> {
    /// Closed messages that keep their sockets, so that their ports are not reused while responses are under way.
    /// Bounded: if there are more, the oldest stops lingering early.
    lingering: VecDeque<Weak<M>>,
    /// All closed messages, in the order of deletion.
    closed: VecDeque<Weak<M>>,
    sweep_at: usize,
}

impl<M> Default for ClosedMessages<M> {
    fn default() -> Self {
        let queues = Queues { lingering: VecDeque::new(), closed: VecDeque::new(), sweep_at: 0 };
        Self { queues: Mutex::new(queues) }
    }
}

impl<M: Lingers> ClosedMessages<M> {
    /// Half of a descriptor limit of 8,192, the smallest that is common for services.
    const MAX_LINGERING: usize = 4_096;
    const SWEEP_FROM: usize = 1_024;

    /// Adds a message that has just been closed. Callable from a sink: the timers' task closes the sockets later.
    pub(in crate::control) fn add(&self, message: &Arc<M>, timers: &Timers, now: Instant) {
        let mut queues = self.queues();
        queues.closed.push_back(Arc::downgrade(message));
        if queues.closed.len() > queues.sweep_at.max(Self::SWEEP_FROM) {
            queues.closed.retain(|message| message.strong_count() > 0);
            queues.sweep_at = queues.closed.len() * 2;
        }
        let Some(linger) = message.linger() else { return };
        timers.arm(now + linger, Arc::downgrade(message), |message: Arc<M>| message.end_linger());
        queues.lingering.push_back(Arc::downgrade(message));
        if queues.lingering.len() > Self::MAX_LINGERING
            && let Some(oldest) = queues.lingering.pop_front()
        {
            timers.arm(now, oldest, |oldest| oldest.end_linger());
        }
    }

    /// Adds a message that was closed in an earlier run; call it in the order in which they were closed.
    pub(in crate::control) fn restore(&self, message: &Arc<M>) {
        self.queues().closed.push_back(Arc::downgrade(message));
    }

    /// Ends the lingering of the messages that `which` selects, because their sockets are needed; returns them.
    pub(in crate::control) fn end_lingering(&self, which: impl Fn(&M) -> bool) -> Vec<Arc<M>> {
        let mut ended: Vec<_> = self.queues().lingering.iter().filter_map(Weak::upgrade).collect();
        ended.retain(|message| which(message));
        for message in &ended {
            message.end_linger();
        }
        ended
    }

    /// Removes and returns the message that has been closed for the longest, if `which` selects it.
    pub(in crate::control) fn oldest_if(&self, which: impl Fn(&M) -> bool) -> Option<Arc<M>> {
        loop {
            // Not under the lock: `which` may take the message's own lock and wait there for a batch of responses.
            let oldest = self.oldest().filter(|oldest| which(oldest))?;
            let mut queues = self.queues();
            let is_oldest = |front: &Weak<M>| Weak::as_ptr(front) == Arc::as_ptr(&oldest);
            if queues.closed.front().is_some_and(is_oldest) {
                queues.closed.pop_front();
                return Some(oldest);
            }
        }
    }

    fn oldest(&self) -> Option<Arc<M>> {
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

    fn queues(&self) -> MutexGuard<'_, Queues<M>> {
        self.queues.lock_shared()
    }
}
