//! Keeps memberships and responders in line with the interfaces and the kernel's lists of groups.
//!
//! Thread: one, counted by the tracker. It opens and closes sockets, for which it may wait while many processes change
//! the network: so it is none of the runtime's workers, and not the task of the timers. It works when the table of
//! interfaces has changed, when a retry is due, and every half minute. Task: one, which wakes it when the table changes
//! and ends it with the service. A panic in one membership fails that one alone; any other ends the process.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::membership::{Membership, SocketId};
use super::{Control, Shared};
use crate::model::{Interface, InterfaceTable};
use crate::net::{Action, Fault, Registration};
use crate::sync::{Lock, fatal};

/// What is asked of the thread.
#[derive(Default)]
pub(super) struct Reconciler {
    /// Std lock: held to add to it or to take it all.
    requests: Mutex<Requests>,
    asked: Condvar,
}

#[derive(Default)]
struct Requests {
    table_changed: bool,
    /// Memberships that are to be looked at, and opened again where they have failed.
    retries: Vec<Weak<Membership>>,
    /// Sockets that are to be closed, of those who have no time for it.
    closing: Vec<Registration>,
    stopped: bool,
}

impl Reconciler {
    /// Looks at the membership soon, and tries again what has failed.
    pub(super) fn retry(&self, membership: &Arc<Membership>) {
        self.ask(|requests| requests.retries.push(Arc::downgrade(membership)));
    }

    /// Closes the sockets soon.
    pub(super) fn close(&self, sockets: Vec<Registration>) {
        self.ask(|requests| requests.closing.extend(sockets));
    }

    fn ask(&self, add: impl FnOnce(&mut Requests)) {
        add(&mut self.requests());
        self.asked.notify_one();
    }

    /// What was asked meanwhile; waits for it until the deadline at most.
    fn wait_until(&self, deadline: Instant) -> Requests {
        let left = deadline.saturating_duration_since(Instant::now());
        let waited = self.asked.wait_timeout_while(self.requests(), left, |requests| requests.is_empty());
        let Ok((mut requests, _)) = waited else {
            fatal("the reconciler's requests were left half changed");
        };
        std::mem::take(&mut *requests)
    }

    fn requests(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock_shared()
    }
}

impl Requests {
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
    /// Starts the thread, which runs until the service stops or the runtime goes.
    pub(super) fn start_reconciler(&self) -> Result<(), Fault> {
        let mut thread = ReconcilerThread::new(self.0.clone());
        let counted = self.0.tasks.token();
        let run = move || {
            if catch_unwind(AssertUnwindSafe(|| thread.run())).is_err() {
                fatal("the thread that follows the interfaces panicked");
            }
            drop(counted);
        };
        let spawned = thread::Builder::new().name("reconciler".to_owned()).spawn(run);
        spawned.map_err(|source| Fault { action: Action::Interfaces, source })?;
        self.spawn(|shared| async move {
            let ends_thread = EndsThread(shared.reconciler.clone());
            let mut changes = shared.interfaces.subscribe();
            while changes.changed().await.is_ok() {
                ends_thread.0.ask(|requests| requests.table_changed = true);
            }
        });
        Ok(())
    }
}

struct ReconcilerThread {
    shared: Arc<Shared>,
    /// The table that memberships were brought in line with last.
    table: Arc<InterfaceTable>,
    /// When memberships are brought in line with the table, if it has changed.
    follow_at: Option<Instant>,
    /// They are not before then: a storm of changes leaves most of the thread's time.
    may_follow_at: Instant,
}

impl ReconcilerThread {
    /// Between two rounds of following the table: so many times as long as the last one took, within these bounds.
    const FOLLOW_REST: u32 = 10;
    const FOLLOW_PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(250));
    /// Longer than any pause.
    const IDLE: Duration = Duration::from_secs(30);

    fn new(shared: Arc<Shared>) -> Self {
        let table = shared.interfaces.table();
        Self { shared, table, follow_at: None, may_follow_at: Instant::now() }
    }

    fn run(&mut self) {
        let reconciler = self.shared.reconciler.clone();
        loop {
            let deadline = self.follow_at.unwrap_or_else(|| Instant::now() + Self::IDLE);
            let requests = reconciler.wait_until(deadline);
            if requests.stopped {
                return;
            }
            for socket in requests.closing {
                let _closed = socket.close();
            }
            if requests.table_changed && self.follow_at.is_none() {
                self.follow_at = Some(self.may_follow_at);
            }
            self.retry(&requests.retries);
            if self.follow_at.is_some_and(|at| at <= Instant::now()) {
                self.follow_table();
            }
        }
    }

    fn retry(&self, memberships: &[Weak<Membership>]) {
        let memberships: Vec<_> = memberships.iter().filter_map(Weak::upgrade).collect();
        if !memberships.is_empty() {
            self.reconcile(&memberships, &self.shared.interfaces.table(), &HashSet::new(), true);
        }
    }

    fn follow_table(&mut self) {
        let begun = Instant::now();
        self.follow_at = None;
        let table = self.shared.interfaces.table();
        let changed = changed_names(&self.table, &table);
        let concerned: Vec<_> =
            self.shared.joined_all().filter(|membership| membership.is_concerned(&changed)).collect();
        self.reconcile(&concerned, &table, &HashSet::new(), false);
        self.table = table;
        let pause = begun.elapsed() * Self::FOLLOW_REST;
        self.may_follow_at = Instant::now() + pause.clamp(Self::FOLLOW_PAUSES.0, Self::FOLLOW_PAUSES.1);
    }

    /// `forgotten`: sockets that the kernel's lists lack. `is_retry`: also what has failed.
    fn reconcile(
        &self,
        memberships: &[Arc<Membership>],
        table: &InterfaceTable,
        forgotten: &HashSet<SocketId>,
        is_retry: bool,
    ) {
        for membership in memberships {
            self.contain(membership, || membership.follow(table, forgotten));
        }
        for membership in memberships {
            self.contain(membership, || membership.join_missing(table, is_retry));
            self.shared.arm(membership);
        }
    }

    fn contain(&self, membership: &Arc<Membership>, work: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            tracing::error!(kind = %membership.kind(), id = %membership.id(), "it panicked: closed until it is tried again");
            membership.fail();
        }
    }
}

/// The names of the interfaces that are others than before, and of the ports of those.
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
