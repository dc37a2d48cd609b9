//! The requests to the thread that keeps memberships in line.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::time::Instant;

use crate::control::membership::Membership;
use crate::net::{InterfaceWatch, Registration};
use crate::sync::{Lock, Progress, unpoisoned};

/// How other tasks reach the thread: each request wakes it.
#[derive(Default)]
pub(in crate::control) struct ReconcilerHandle {
    /// Std lock: held to add a request or to take all.
    requests: Mutex<ReconcileRequests>,
    added: Condvar,
    /// The thread's progress.
    pub(in crate::control) progress: Arc<Progress>,
}

#[derive(Default)]
pub(super) struct ReconcileRequests {
    pub(super) table_changed: bool,
    /// Memberships to reconcile, and to open again where they have failed.
    pub(super) retries: Vec<Weak<Membership>>,
    /// Sockets to close, for callers that must not block.
    pub(super) closing: Vec<Registration>,
    pub(super) stopped: bool,
}

impl ReconcilerHandle {
    /// Has the thread reconcile the membership soon, including failed interfaces.
    pub(in crate::control) fn retry(&self, membership: &Arc<Membership>) {
        self.add(|requests| requests.retries.push(Arc::downgrade(membership)));
    }

    /// Has the thread close the sockets soon.
    pub(in crate::control) fn close(&self, sockets: Vec<Registration>) {
        self.add(|requests| requests.closing.extend(sockets));
    }

    /// Has the thread follow each change of the interfaces. Cancel-safe.
    pub(in crate::control) async fn note_changes(&self, interfaces: &InterfaceWatch) {
        let mut changes = interfaces.subscribe();
        loop {
            self.add(|requests| requests.table_changed = true);
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Ends the thread.
    pub(super) fn stop(&self) {
        self.add(|requests| requests.stopped = true);
    }

    fn add(&self, add: impl FnOnce(&mut ReconcileRequests)) {
        add(&mut self.requests());
        self.added.notify_one();
    }

    /// Waits for requests until the deadline at most, and takes them.
    pub(super) fn wait_until(&self, deadline: Instant) -> ReconcileRequests {
        self.progress.idle();
        let left = deadline.saturating_duration_since(Instant::now());
        let waited = self.added.wait_timeout_while(self.requests(), left, |requests| requests.is_empty());
        let (mut requests, _) = unpoisoned(waited);
        self.progress.begin_work();
        std::mem::take(&mut *requests)
    }

    fn requests(&self) -> MutexGuard<'_, ReconcileRequests> {
        self.requests.lock_shared()
    }
}

impl ReconcileRequests {
    fn is_empty(&self) -> bool {
        !self.table_changed && !self.stopped && self.retries.is_empty() && self.closing.is_empty()
    }
}
