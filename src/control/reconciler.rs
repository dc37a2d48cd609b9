//! Keeps memberships and responders in line with the interfaces and the kernel's lists of groups.
//!
//! Thread: one, counted by the tracker. It opens and closes sockets, which may block while many processes change the
//! network; so it is neither a worker of the runtime nor the task of the timers. It works when the interface table has
//! changed, when a retry is due, and every half minute. Tasks: one that wakes the thread when the table changes, and
//! one that ends it with the service or the runtime. A panic in one membership fails that one alone; any other panic
//! ends the process.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::thread;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

use super::membership::{Membership, SocketId};
use super::orphans::Orphans;
use super::{Control, Shared, comparison};
use crate::logging::rarely;
use crate::model::{Interface, InterfaceTable};
use crate::net::{Action, Registration, SocketError};
use crate::sync::{Lock, Progress, fatal, unpoisoned};

/// The requests to the thread.
#[derive(Default)]
pub(super) struct Reconciler {
    /// Std lock: held to add a request or to take all.
    requests: Mutex<ReconcileRequests>,
    asked: Condvar,
    /// The thread's progress.
    pub(super) progress: Arc<Progress>,
}

#[derive(Default)]
struct ReconcileRequests {
    table_changed: bool,
    /// Memberships to reconcile, and to open again where they have failed.
    retries: Vec<Weak<Membership>>,
    /// Sockets to close, for callers that must not block.
    closing: Vec<Registration>,
    stopped: bool,
}

impl Reconciler {
    /// Has the thread reconcile the membership soon, including failed interfaces.
    pub(super) fn retry(&self, membership: &Arc<Membership>) {
        self.ask(|requests| requests.retries.push(Arc::downgrade(membership)));
    }

    /// Has the thread close the sockets soon.
    pub(super) fn close(&self, sockets: Vec<Registration>) {
        self.ask(|requests| requests.closing.extend(sockets));
    }

    fn ask(&self, add: impl FnOnce(&mut ReconcileRequests)) {
        add(&mut self.requests());
        self.asked.notify_one();
    }

    /// Waits for requests until the deadline at most, and takes them.
    fn wait_until(&self, deadline: Instant) -> ReconcileRequests {
        self.progress.rest();
        let left = deadline.saturating_duration_since(Instant::now());
        let waited = self.asked.wait_timeout_while(self.requests(), left, |requests| requests.is_empty());
        let (mut requests, _) = unpoisoned(waited);
        self.progress.work();
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

/// Ends the thread when it is dropped.
struct EndsThread(Arc<Reconciler>);

impl Drop for EndsThread {
    fn drop(&mut self) {
        self.0.ask(|requests| requests.stopped = true);
    }
}

impl Control {
    /// Starts the thread, which runs until the service stops or the runtime is dropped.
    pub(super) fn start_reconciler(&self) -> Result<(), SocketError> {
        let mut thread = ReconcilerThread::new(self.0.clone());
        let counted = self.0.tasks.token();
        let run = move || {
            if catch_unwind(AssertUnwindSafe(|| thread.run())).is_err() {
                fatal("the thread that follows the interfaces panicked");
            }
            drop(counted);
        };
        let spawned = thread::Builder::new().name("reconciler".to_owned()).spawn(run);
        spawned.map_err(|source| SocketError { action: Action::Interfaces, source })?;
        let (ends_thread, stop) = (EndsThread(self.0.reconciler.clone()), self.0.stop.clone());
        self.0.tasks.spawn(async move {
            stop.cancelled().await;
            drop(ends_thread);
        });
        self.spawn("interfaces", |shared| async move {
            let mut changes = shared.interfaces.subscribe();
            loop {
                shared.reconciler.ask(|requests| requests.table_changed = true);
                if changes.changed().await.is_err() {
                    return;
                }
            }
        });
        Ok(())
    }
}

struct ReconcilerThread {
    shared: Arc<Shared>,
    /// The table with which memberships were last reconciled.
    table: Arc<InterfaceTable>,
    following: Pacer,
    comparing: Pacer,
    /// Sockets that were missing in the kernel's lists at the last comparison. If they are missing again, they are
    /// opened again.
    suspects: HashSet<SocketId>,
    orphans: Orphans,
}

/// Paces recurring work, so that even a storm of changes leaves most of a processor's time free.
struct Pacer {
    /// When the work is done next.
    at: Option<Instant>,
    /// The work is not done before this time.
    earliest: Instant,
    /// The shortest pause, and the rest as a multiple of the processor time that the work took: time during which the
    /// thread or the process was stopped must not count.
    pause: Duration,
    rest: u32,
}

impl Pacer {
    fn new(pause: Duration, rest: u32) -> Self {
        Self { at: None, earliest: Instant::now(), pause, rest }
    }

    fn soon(&mut self) {
        self.at = Some(self.at.map_or(self.earliest, |at| at.min(self.earliest)));
    }

    fn is_due(&self) -> bool {
        self.at.is_some_and(|at| at <= Instant::now())
    }

    /// `cost`: the processor time that the work took.
    fn done(&mut self, cost: Duration) {
        let rest = (cost * self.rest).max(self.pause);
        *self = Self { at: None, earliest: Instant::now() + rest, ..*self };
    }
}

/// The processor time that this thread takes for the work.
fn cpu_time_of(work: impl FnOnce()) -> Duration {
    let now = || clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from);
    let before = now();
    work();
    now().saturating_sub(before)
}

impl ReconcilerThread {
    /// The longest time between two comparisons with the kernel's lists.
    const BACKSTOP: Duration = Duration::from_secs(30);

    fn new(shared: Arc<Shared>) -> Self {
        let table = Arc::default();
        // Each takes a twentieth of a processor at most; comparisons run at most four times a second.
        let following = Pacer::new(Duration::from_millis(10), 20);
        let comparing = Pacer::new(Duration::from_millis(250), 20);
        let (suspects, orphans) = (HashSet::new(), Orphans::default());
        Self { shared, table, following, comparing, suspects, orphans }
    }

    fn run(&mut self) {
        let reconciler = self.shared.reconciler.clone();
        loop {
            let backstop = self.comparing.at.get_or_insert_with(|| Instant::now() + Self::BACKSTOP);
            let deadline = self.following.at.map_or(*backstop, |at| at.min(*backstop));
            let requests = reconciler.wait_until(deadline);
            if requests.stopped {
                reconciler.progress.end();
                return;
            }
            for socket in requests.closing {
                reconciler.progress.work();
                let _closed = socket.close();
            }
            if requests.table_changed {
                self.following.soon();
            }
            self.retry(&requests.retries);
            if self.following.is_due() {
                let cost = cpu_time_of(|| self.follow_table());
                self.following.done(cost);
                self.comparing.soon();
            }
            if self.comparing.is_due() {
                let cost = cpu_time_of(|| self.compare());
                self.comparing.done(cost);
                if !self.suspects.is_empty() {
                    self.comparing.soon();
                }
            }
        }
    }

    fn retry(&mut self, memberships: &[Weak<Membership>]) {
        let memberships: Vec<_> = memberships.iter().filter_map(Weak::upgrade).collect();
        if !memberships.is_empty() {
            // First, so that all sockets that the kernel has forgotten are closed before one is opened again.
            self.follow_table();
            self.reconcile(&memberships, &self.table.clone(), &HashSet::new(), true);
        }
    }

    fn follow_table(&mut self) {
        let table = self.shared.interfaces.table();
        let changed = changed_names(&self.table, &table);
        self.table = table;
        if !changed.is_empty() {
            let all = self.shared.joined_all();
            let concerned: Vec<_> = all.filter(|membership| membership.is_concerned(&changed)).collect();
            self.reconcile(&concerned, &self.table.clone(), &HashSet::new(), false);
        }
    }

    /// Opens sockets again that were missing in the kernel's lists twice in a row.
    fn compare(&mut self) {
        let sockets = self.shared.membership_context.sockets.clone();
        self.orphans.close_harmless(&self.table, &*sockets);
        let memberships: Vec<_> = self.shared.joined_all().collect();
        if memberships.is_empty() {
            self.suspects.clear();
            return;
        }
        let lacking = comparison::lacking(&*sockets, &memberships).unwrap_or_else(|error| {
            rarely!(WARN, %error, "the kernel's lists of groups cannot be read");
            Vec::new()
        });
        let suspects: HashSet<_> = lacking.iter().map(|(socket, _)| *socket).collect();
        let forgotten: HashSet<_> = suspects.intersection(&self.suspects).copied().collect();
        if !forgotten.is_empty() {
            let concerned = lacking.into_iter().filter(|(socket, _)| forgotten.contains(socket));
            let concerned: Vec<_> = concerned.map(|(_, membership)| membership).collect();
            rarely!(
                WARN,
                sockets = forgotten.len(),
                "the kernel's lists lack groups that the service has joined: it joins them again"
            );
            self.reconcile(&concerned, &self.shared.interfaces.table(), &forgotten, false);
        }
        self.suspects = suspects;
    }

    /// `forgotten`: sockets that are missing in the kernel's lists. `is_retry`: also joins failed interfaces again.
    fn reconcile(
        &mut self,
        memberships: &[Arc<Membership>],
        table: &InterfaceTable,
        forgotten: &HashSet<SocketId>,
        is_retry: bool,
    ) {
        let progress = &self.shared.reconciler.progress;
        let mut orphans = Vec::new();
        for membership in memberships {
            progress.work();
            self.shared.contain(membership, || orphans.extend(membership.follow(table, forgotten)));
        }
        self.orphans.take_in(orphans, table, &*self.shared.membership_context.sockets);
        for membership in memberships {
            progress.work();
            self.shared.contain(membership, || membership.join_missing(table, is_retry));
            self.shared.arm(membership);
        }
    }
}

/// The names of the interfaces that have changed, and of the ports of changed bridges and bonds.
fn changed_names(before: &InterfaceTable, now: &InterfaceTable) -> HashSet<Arc<str>> {
    let mut known: HashMap<u32, &Arc<Interface>> =
        before.interfaces.iter().map(|interface| (interface.index, interface)).collect();
    let mut changed = HashSet::new();
    let mut indexes = HashSet::new();
    for interface in &now.interfaces {
        let old = known.remove(&interface.index);
        if old.is_some_and(|old| Arc::ptr_eq(old, interface)) {
            continue;
        }
        indexes.insert(interface.index);
        changed.insert(interface.name.clone());
        changed.extend(old.map(|old| old.name.clone()));
    }
    indexes.extend(known.keys());
    changed.extend(known.values().map(|gone| gone.name.clone()));
    let of_changed =
        |interface: &&Arc<Interface>| interface.master.is_some_and(|index| indexes.contains(&index));
    changed.extend(now.interfaces.iter().filter(of_changed).map(|port| port.name.clone()));
    changed
}
