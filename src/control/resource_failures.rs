//! A resource for which the service's own code has panicked: it fails alone, and the others keep working.
//!
//! Code that works on one resource ([`ResourceFailures::contain`]) fails it at once. Code that works on several notes
//! the panic alone, as does a sink, because failing closes sockets; then the task of [`super::recovery`] looks for
//! broken ones.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use super::resource_kind::ResourceKind;
use crate::model::Id;
use crate::sync::fatal;

/// Caught panics, and counts of failed resources. Code that catches a panic holds a reference to this.
#[derive(Default)]
pub(super) struct ResourceFailures {
    panicked: Notify,
    /// In the order of [`ResourceKind::ALL`].
    counts: [AtomicU64; ResourceKind::ALL.len()],
}

/// Something that can fail alone.
pub(super) trait Failable {
    fn name(&self) -> (ResourceKind, &Id);
    /// Whether a panic has left it half changed, or one of its sockets not delivering.
    fn is_broken(&self) -> bool;
    /// Closes its sockets, so that its state is consistent again.
    fn fail(self: &Arc<Self>);
}

impl ResourceFailures {
    /// Runs `work` on a resource; none if it panics, and then that resource alone fails. Must not be called from a
    /// sink.
    pub(super) fn contain<R: Failable, T>(&self, resource: &Arc<R>, work: impl FnOnce() -> T) -> Option<T> {
        let done = catch_unwind(AssertUnwindSafe(work));
        if done.is_err() {
            self.fail(resource);
        }
        done.ok()
    }

    /// Runs `work` that concerns no resource, or an unknown one; none if it has panicked.
    pub(super) fn catch<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        let done = catch_unwind(AssertUnwindSafe(work));
        if done.is_err() {
            self.note_panic();
        }
        done.ok()
    }

    /// Notes a panic; the recovery task looks for broken resources soon.
    pub(super) fn note_panic(&self) {
        self.panicked.notify_one();
    }

    /// Resolves after a panic was noted. Cancel-safe.
    pub(super) async fn panicked(&self) {
        self.panicked.notified().await;
    }

    pub(super) fn fail<R: Failable>(&self, resource: &Arc<R>) {
        let (kind, id) = resource.name();
        self.counts[kind as usize].fetch_add(1, Ordering::Relaxed);
        tracing::error!(%kind, %id, "internal error: this {kind} has failed, all others keep working");
        if catch_unwind(AssertUnwindSafe(|| resource.fail())).is_err() {
            fatal("a resource that has failed could not be closed");
        }
    }

    /// How many resources of this kind have failed since the start.
    pub(super) fn count(&self, kind: ResourceKind) -> u64 {
        self.counts[kind as usize].load(Ordering::Relaxed)
    }
}
