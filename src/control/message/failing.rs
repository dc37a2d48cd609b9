//! A message for which the service's own code has panicked: it is closed as failed.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::state::Message;
use crate::control::resource_failures::Failable;
use crate::control::resource_kind::ResourceKind;
use crate::model::{CloseReason, Id};

impl Failable for Message {
    fn name(&self) -> (ResourceKind, &Id) {
        (ResourceKind::Message, self.id())
    }

    fn is_broken(&self) -> bool {
        self.sending_failed.load(Ordering::Acquire)
            || self.collection.is_poisoned()
            || self.sockets.is_poisoned()
            || self.log.is_broken()
            || self.sockets().any_failed()
    }

    /// Its responses so far can be read, unless its log is half changed.
    fn fail(self: &Arc<Self>) {
        self.sending_failed.store(false, Ordering::Release);
        self.collection.clear_poison();
        self.sockets.clear_poison();
        if self.log.is_broken() {
            self.log.abandon();
        }
        self.close(CloseReason::Failed);
        self.release_sockets();
    }
}
