//! Closed messages: they linger for late replies, and are deleted in the end.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Instant;

use super::Message;
use crate::control::timers::{TimerAction, Timers};
use crate::sync::Lock;

/// Closed messages, the longest closed first.
#[derive(Default)]
pub(in crate::control) struct ClosedMessages {
    /// Std lock: held for a push, a pop, or a sweep of dropped messages, and never while a message's own lock is taken.
    queues: Mutex<Queues>,
}

#[derive(Default)]
struct Queues {
    /// Closed messages that keep their sockets, so that their ports are not reused while answers are under way.
    /// Bounded: if there are more, the oldest stops lingering early.
    lingering: VecDeque<Weak<Message>>,
    /// All closed messages, in the order of deletion.
    closed: VecDeque<Weak<Message>>,
    sweep_at: usize,
}

impl ClosedMessages {
    /// Half of a descriptor limit of 8,192, the smallest that is common for services.
    const MOST_LINGERING: usize = 4_096;
    const SWEEP_FROM: usize = 1_024;

    /// Adds a message that has just been closed. Callable from a sink: the timers' task closes the sockets later.
    pub(in crate::control) fn begin(&self, message: &Arc<Message>, timers: &Timers, now: Instant) {
        let mut queues = self.queues();
        queues.closed.push_back(Arc::downgrade(message));
        if queues.closed.len() > queues.sweep_at.max(Self::SWEEP_FROM) {
            queues.closed.retain(|message| message.strong_count() > 0);
            queues.sweep_at = queues.closed.len() * 2;
        }
        if message.spec().window.is_zero() {
            return;
        }
        timers.arm(now + message.spec().linger, TimerAction::EndLinger(Arc::downgrade(message)));
        queues.lingering.push_back(Arc::downgrade(message));
        if queues.lingering.len() > Self::MOST_LINGERING
            && let Some(oldest) = queues.lingering.pop_front()
        {
            timers.arm(now, TimerAction::EndLinger(oldest));
        }
    }

    /// Adds a message that was closed in an earlier run; call it in the order in which they were closed.
    pub(in crate::control) fn restore(&self, message: &Arc<Message>) {
        self.queues().closed.push_back(Arc::downgrade(message));
    }

    /// Ends the lingering of the messages that `which` selects, because their sockets are needed; returns them.
    pub(in crate::control) fn end_lingering(&self, which: impl Fn(&Message) -> bool) -> Vec<Arc<Message>> {
        let mut ended: Vec<_> = self.queues().lingering.iter().filter_map(Weak::upgrade).collect();
        ended.retain(|message| which(message));
        for message in &ended {
            message.end_linger();
        }
        ended
    }

    /// Removes and returns the message that has been closed for the longest, if `which` selects it.
    pub(in crate::control) fn oldest_if(&self, which: impl Fn(&Message) -> bool) -> Option<Arc<Message>> {
        loop {
            // Not under the lock: `which` may take the message's own lock and wait there for a batch of responses.
            let oldest = self.oldest().filter(|oldest| which(oldest))?;
            let mut queues = self.queues();
            let is_oldest = |front: &Weak<Message>| Weak::as_ptr(front) == Arc::as_ptr(&oldest);
            if queues.closed.front().is_some_and(is_oldest) {
                queues.closed.pop_front();
                return Some(oldest);
            }
        }
    }

    fn oldest(&self) -> Option<Arc<Message>> {
        let mut queues = self.queues();
        while let Some(front) = queues.closed.front() {
            if let Some(message) = front.upgrade() {
                return Some(message);
            }
            queues.closed.pop_front();
        }
        None
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock_shared()
    }
}
