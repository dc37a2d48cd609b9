//! Keeps memberships and responders in line with the interfaces and the kernel's lists of groups.
//!
//! Thread: one, counted by the tracker. It opens and closes sockets, which may block while many processes change the
//! network; so it is neither a worker of the runtime nor the task of the timers. It works when the interface table has
//! changed, when a retry is due, and every half minute. Tasks: one that wakes the thread when the table changes, and
//! one that ends it with the service or the runtime. A panic in one membership fails that one alone; any other panic
//! ends the process.

mod comparison;
mod orphans;
mod pacer;
mod requests;

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::membership::{Membership, SocketId, arm};
use super::shared::Shared;
use crate::logging::log_throttled;
use crate::model::{Interface, InterfaceTable};
use crate::net::{Action, SocketError, interface_exists};
use crate::sync::fatal;
use comparison::MissingSocket;
pub(super) use comparison::lacking;
pub(super) use orphans::{Orphan, Orphans};
use pacer::{Pacer, cpu_time_of};
pub(super) use requests::ReconcilerHandle;

/// Starts the thread, which runs until the service stops or the runtime is dropped.
pub(super) fn start(shared: &Arc<Shared>) -> Result<(), SocketError> {
    let mut thread = ReconcilerThread::new(shared.clone());
    let counted = shared.tasks.token();
    let run = move || {
        if catch_unwind(AssertUnwindSafe(|| thread.run())).is_err() {
            fatal("the thread that follows the interfaces panicked");
        }
        drop(counted);
    };
    let spawned = thread::Builder::new().name("reconciler".to_owned()).spawn(run);
    spawned.map_err(|source| SocketError { action: Action::StartThread, source })?;
    let (ends_thread, stop) = (EndsThread(shared.reconciler.clone()), shared.stop.clone());
    shared.tasks.spawn(async move {
        stop.cancelled().await;
        drop(ends_thread);
    });
    Ok(())
}

/// Ends the thread when it is dropped.
struct EndsThread(Arc<ReconcilerHandle>);

impl Drop for EndsThread {
    fn drop(&mut self) {
        self.0.stop();
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
                reconciler.progress.begin_work();
                let _closing = socket.release();
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
            let all = self.shared.all_memberships();
            let concerned: Vec<_> = all.filter(|membership| membership.is_concerned(&changed)).collect();
            self.reconcile(&concerned, &self.table.clone(), &HashSet::new(), false);
        }
    }

    /// Opens sockets again that are missing in the kernel's lists twice in a row.
    fn compare(&mut self) {
        let sockets = self.shared.membership_context.sockets.clone();
        self.orphans.close_harmless(&self.table, &*sockets);
        let memberships: Vec<_> = self.shared.all_memberships().collect();
        if memberships.is_empty() {
            self.suspects.clear();
            return;
        }
        let lacking = lacking(&*sockets, &memberships).unwrap_or_else(|error| {
            log_throttled!(WARN, %error, "the kernel's lists of groups cannot be read");
            Vec::new()
        });
        let suspects = lacking.iter().map(|missing| missing.id).collect();
        // The lists of an interface that is gone are gone, too, before the kernel announces that.
        let is_forgotten = |missing: &MissingSocket| {
            self.suspects.contains(&missing.id) && interface_exists(missing.interface_index)
        };
        let lacking: Vec<_> = lacking.into_iter().filter(is_forgotten).collect();
        if !lacking.is_empty() {
            let forgotten: HashSet<_> = lacking.iter().map(|missing| missing.id).collect();
            let concerned: Vec<_> = lacking.into_iter().map(|missing| missing.membership).collect();
            log_throttled!(
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
            progress.begin_work();
            self.shared.failures.contain(membership, || orphans.extend(membership.follow(table, forgotten)));
        }
        self.orphans.take_in(orphans, table, &*self.shared.membership_context.sockets);
        for membership in memberships {
            progress.begin_work();
            self.shared.failures.contain(membership, || membership.join_missing(table, is_retry));
            arm(&self.shared, membership);
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
