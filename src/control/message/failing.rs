//! A message in which the service's own code has panicked: it is closed, with what it has heard until then.

use std::sync::Arc;

use super::Message;
use crate::model::CloseReason;

impl Message {
    /// Whether a panic has left it half changed, or without one of its sockets.
    pub(in crate::control) fn is_broken(&self) -> bool {
        self.collection.is_poisoned()
            || self.sockets.is_poisoned()
            || self.log.is_broken()
            || self.sockets().iter().any(|registration| registration.socket().has_failed())
    }

    /// Closes what it has open, so that it is legal again.
    pub(in crate::control) fn fail(self: &Arc<Self>) {
        self.collection.clear_poison();
        self.sockets.clear_poison();
        if self.log.is_broken() {
            self.log.abandon();
        }
        self.close(CloseReason::Failed);
        self.end_linger();
    }
}
