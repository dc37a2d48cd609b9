//! What becomes of a message when the service's own code fails at it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Message;
use crate::model::CloseReason;

impl Message {
    /// Whether code has panicked that worked for this message, and nobody has seen to it yet.
    pub(in crate::control) fn is_broken(&self) -> bool {
        self.sending_failed.load(Ordering::Acquire)
            || self.collection.is_poisoned()
            || self.sockets.is_poisoned()
            || self.log.is_broken()
            || self.sockets().any_failed()
    }

    /// Closes it: what it has heard until now can be read, unless its log is half changed.
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
