//! What happens to a resource when the service's own code panics while working on it: it fails, reports that, and a
//! membership or responder is opened again. The others go on.
//!
//! Task: one, which looks for broken resources whenever a panic was caught that names no resource. Code that works on
//! one resource ([`Shared::contain`]) fails it at once. A sink only reports the panic, because failing closes sockets.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::sync::Notify;

use super::{Control, Membership, Message, ResourceKind, Shared};
use crate::model::Id;
use crate::sync::fatal;

/// Caught panics, and counts of failed resources. Code that catches a panic holds a reference to this.
#[derive(Default)]
pub(super) struct Recovery {
    panicked: Notify,
    /// In the order of [`ResourceKind::ALL`].
    failures: [AtomicU64; ResourceKind::ALL.len()],
}

/// Something that can fail alone.
pub(super) trait Resource {
    fn name(&self) -> (ResourceKind, &Id);
    /// Whether a panic has left it half changed, or one of its sockets not delivering.
    fn is_broken(&self) -> bool;
    /// Closes its sockets, so that its state is consistent again.
    fn fail(self: &Arc<Self>);
    /// Has it opened again, if it should be.
    fn reopen(self: &Arc<Self>, shared: &Shared);
}

impl Recovery {
    /// Notes a panic; the recovery task looks for broken resources soon.
    pub(super) fn note_panic(&self) {
        self.panicked.notify_one();
    }

    /// How many resources have failed since the start.
    pub(super) fn failures(&self) -> u64 {
        self.failures.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    fn count(&self, kind: ResourceKind) -> &AtomicU64 {
        let at = ResourceKind::ALL.iter().position(|known| *known == kind);
        &self.failures[at.expect("all are there")]
    }
}

impl Control {
    /// Call it when code that answers a request has panicked.
    pub fn note_panic(&self) {
        self.0.recovery.note_panic();
    }

    /// Errors of the receive threads, after which they tried again.
    pub fn receive_errors(&self) -> u64 {
        self.0.receive_threads.epoll_errors()
    }

    /// How many resources have failed since the start, by kind.
    pub fn failures(&self) -> [(ResourceKind, u64); ResourceKind::ALL.len()] {
        ResourceKind::ALL.map(|kind| (kind, self.0.recovery.count(kind).load(Ordering::Relaxed)))
    }
}

impl Shared {
    /// Runs `work` on a resource; if it panics, that resource alone fails. Must not be called from a sink.
    pub(super) fn contain<R: Resource>(&self, resource: &Arc<R>, work: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            self.fail(resource);
        }
    }

    /// Runs `work` that concerns no resource, or an unknown one; none if it has panicked.
    pub(super) fn caught<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        let done = catch_unwind(AssertUnwindSafe(work));
        if done.is_err() {
            self.recovery.note_panic();
        }
        done.ok()
    }

    /// Fails all broken resources, whenever a panic was caught. Cancel-safe: a resource that was not handled is still
    /// broken.
    pub(super) async fn recover(&self) {
        let writer_caught = async || match &self.store {
            Some(store) => store.panicked().await,
            None => std::future::pending().await,
        };
        loop {
            tokio::select! {
                () = self.recovery.panicked.notified() => {}
                () = self.receive_threads.panicked() => {}
                () = writer_caught() => {}
            }
            self.fail_broken();
        }
    }

    fn fail_broken(&self) {
        self.fail_those_broken(self.joined_all());
        self.fail_those_broken(self.messages.all());
    }

    fn fail_those_broken<R: Resource>(&self, all: impl IntoIterator<Item = Arc<R>>) {
        all.into_iter().filter(|resource| resource.is_broken()).for_each(|broken| self.fail(&broken));
    }

    fn fail<R: Resource>(&self, resource: &Arc<R>) {
        let (kind, id) = resource.name();
        self.recovery.count(kind).fetch_add(1, Ordering::Relaxed);
        tracing::error!(%kind, %id, "a fault of the service's own: the {kind} has failed, all others go on");
        if catch_unwind(AssertUnwindSafe(|| resource.fail())).is_err() {
            fatal("a resource that has failed could not be closed");
        }
        resource.reopen(self);
    }
}

impl Resource for Membership {
    fn name(&self) -> (ResourceKind, &Id) {
        (self.kind(), self.id())
    }

    fn is_broken(&self) -> bool {
        self.is_broken()
    }

    fn fail(self: &Arc<Self>) {
        Self::fail(self);
    }

    /// A membership is desired state: it is retried like one whose interface does not exist.
    fn reopen(self: &Arc<Self>, shared: &Shared) {
        shared.arm(self);
    }
}

impl Resource for Message {
    fn name(&self) -> (ResourceKind, &Id) {
        (ResourceKind::Message, self.id())
    }

    fn is_broken(&self) -> bool {
        self.is_broken()
    }

    fn fail(self: &Arc<Self>) {
        Self::fail(self);
    }

    /// A message stays closed, because it is unknown which copies would be sent twice.
    fn reopen(self: &Arc<Self>, _: &Shared) {}
}

/// Runs a task as long as the service. A task that panics, or ends, is started again; if that does not help, the
/// process ends.
pub(super) async fn keep_running<F: Future<Output = ()>>(name: &'static str, start: impl Fn() -> F) {
    /// The most restarts in a row, each less than `SOON` after the one before.
    const MOST: u32 = 5;
    const SOON: Duration = Duration::from_mins(1);
    const PAUSE: Duration = Duration::from_millis(100);
    let mut restarts = 0;
    loop {
        let started = Instant::now();
        let ended = AssertUnwindSafe(start()).catch_unwind().await;
        restarts = if started.elapsed() < SOON { restarts + 1 } else { 1 };
        if restarts > MOST {
            fatal("a task that the service needs panics again and again");
        }
        let how = if ended.is_err() { "panicked" } else { "ended" };
        tracing::error!(task = name, "a task of the service has {how}: it is started again");
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests;
