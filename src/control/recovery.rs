//! Finds the resources that a panic has left broken, and has memberships and responders opened again.
//!
//! Task: one, which looks for broken resources whenever a panic was noted.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;

use super::membership::arm;
use super::resource_failures::Failable;
use super::shared::{Control, Shared};
use crate::sync::fatal;

impl Control {
    /// Call it when the handler of a request has panicked.
    pub fn note_panic(&self) {
        self.0.failures.note_panic();
    }
}

/// Fails all broken resources, whenever a panic was noted. Cancel-safe: a resource that was not handled is still
/// broken.
pub(super) async fn run(shared: &Arc<Shared>) {
    let writer_caught = async || match &shared.store {
        Some(store) => store.panicked().await,
        None => std::future::pending().await,
    };
    loop {
        tokio::select! {
            () = shared.failures.panicked() => {}
            () = shared.receive_threads.panicked() => {}
            () = writer_caught() => {}
        }
        for broken in shared.all_memberships().filter(|membership| membership.is_broken()) {
            shared.failures.fail(&broken);
            // A membership is desired state: it is retried like one whose interface does not exist.
            arm(shared, &broken);
        }
        // A message stays closed, because it is unknown which copies would be sent twice.
        for broken in shared.messages.all().iter().filter(|message| message.is_broken()) {
            shared.failures.fail(broken);
        }
    }
}

/// Runs a task as long as the service. A task that panics, or ends, is started again; if that does not help, the
/// process ends.
pub(super) async fn keep_running<F: Future<Output = ()>>(name: &'static str, start: impl Fn() -> F) {
    /// The most restarts in a row, each less than `SOON` after the one before.
    const MAX_RESTARTS: u32 = 5;
    const SOON: Duration = Duration::from_mins(1);
    const PAUSE: Duration = Duration::from_millis(100);
    let mut restarts = 0;
    loop {
        let started = Instant::now();
        let ended = AssertUnwindSafe(start()).catch_unwind().await;
        restarts = if started.elapsed() < SOON { restarts + 1 } else { 1 };
        if restarts > MAX_RESTARTS {
            fatal("a task that the service needs keeps panicking");
        }
        let how = if ended.is_err() { "panicked" } else { "ended" };
        tracing::error!(task = name, "a task of the service has {how}: it is started again");
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests;
