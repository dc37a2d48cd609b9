//! What happens to a message when the service's own code panics while working on it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Message;
use crate::model::CloseReason;

impl Message {
    /// Whether code that worked on this message has panicked, and [`Self::fail`] was not called since.
    pub(in crate::control) fn is_broken(&self) -> bool {
        self.sending_failed.load(Ordering::Acquire)
            || self.collection.is_poisoned()
            || self.sockets.is_poisoned()
            || self.log.is_broken()
            || self.sockets().any_failed()
    }

    /// Closes the message. Its responses so far can be read, unless its log is half changed.
    pub(in crate::control) fn fail(self: &Arc<Self>) {
        self.sending_failed.store(false, Ordering::Release);
        self.collection.clear_poison();
        self.sockets.clear_poison();
        if self.log.is_broken() {
            self.log.abandon();
        }
        self.close(CloseReason::Failed);
        self.end_linger();
    }
}
