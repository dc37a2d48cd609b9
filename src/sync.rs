//! Shared between threads: locks, with the effect of a panic under each of them, and the progress of a thread.
//!
//! A panic under a lock that one resource owns concerns this resource alone: it is `failed`, and the code that caught
//! the panic has it opened again. A panic under a lock that resources share leaves half-changed state that all of them
//! would use, so it ends the process, and the supervisor starts a new one.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{LockResult, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// How to take a lock.
pub(crate) trait Lock<T> {
    /// Takes a lock that one resource owns. After a panic under it the resource is failed, and can still be shown
    /// and deleted.
    fn lock_own(&self) -> MutexGuard<'_, T>;

    /// Takes a lock that resources share. After a panic under it the process ends.
    fn lock_shared(&self) -> MutexGuard<'_, T>;
}

impl<T> Lock<T> for Mutex<T> {
    fn lock_own(&self) -> MutexGuard<'_, T> {
        self.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_shared(&self) -> MutexGuard<'_, T> {
        unpoisoned(self.lock())
    }
}

/// The guard of a lock that resources share, however it was taken. After a panic under the lock the process ends.
pub(crate) fn unpoisoned<G>(taken: LockResult<G>) -> G {
    taken.unwrap_or_else(|_| fatal("a thread panicked while it changed state that resources share"))
}

/// Ends the process, because going on would do harm; a supervisor starts it again.
pub(crate) fn fatal(reason: &'static str) -> ! {
    /// `EX_SOFTWARE`, sysexits(3).
    const INTERNAL_ERROR: i32 = 70;
    /// How long to wait for the log: perhaps no process reads standard error any more.
    const MAX_LOG_WAIT: Duration = Duration::from_secs(1);
    let (logged, is_logged) = mpsc::channel::<()>();
    let log = thread::Builder::new().spawn(move || {
        tracing::error!(reason, "the process ends");
        drop(logged);
    });
    if log.is_ok() {
        let _ = is_logged.recv_timeout(MAX_LOG_WAIT);
    }
    std::process::exit(INTERNAL_ERROR)
}

/// The heartbeats of a thread or a task, and whether it is at work; others read what it reports.
pub(crate) struct Progress {
    started: Instant,
    /// Milliseconds after `started`, plus one; 0 once the thread has ended.
    last_heartbeat: AtomicU64,
    busy: AtomicBool,
}

impl Default for Progress {
    fn default() -> Self {
        Self { started: Instant::now(), last_heartbeat: AtomicU64::new(1), busy: AtomicBool::new(false) }
    }
}

impl Progress {
    /// The thread begins another piece of work.
    pub(crate) fn begin_work(&self) {
        self.heartbeat();
        self.busy.store(true, Ordering::Relaxed);
    }

    /// The thread waits for work.
    pub(crate) fn idle(&self) {
        self.busy.store(false, Ordering::Relaxed);
    }

    /// The thread has woken, and may find nothing to do.
    pub(crate) fn heartbeat(&self) {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.last_heartbeat.store(elapsed + 1, Ordering::Relaxed);
    }

    /// The thread has ended in order.
    pub(crate) fn end(&self) {
        self.idle();
        self.last_heartbeat.store(0, Ordering::Relaxed);
    }

    /// How long the thread has been at one piece of work.
    pub(crate) fn busy_for(&self, now: Instant) -> Duration {
        if self.busy.load(Ordering::Relaxed) { self.since_heartbeat(now) } else { Duration::ZERO }
    }

    /// How long ago the thread's last heartbeat was.
    pub(crate) fn since_heartbeat(&self, now: Instant) -> Duration {
        self.last_heartbeat().map_or(Duration::ZERO, |began| {
            let began = Duration::from_millis(began.get() - 1);
            now.saturating_duration_since(self.started).saturating_sub(began)
        })
    }

    /// Identifies the last heartbeat, to the millisecond; none once the thread has ended.
    pub(crate) fn last_heartbeat(&self) -> Option<NonZeroU64> {
        NonZeroU64::new(self.last_heartbeat.load(Ordering::Relaxed))
    }

    /// Identifies the piece of work in progress, to the millisecond; none if there is none.
    pub(crate) fn current_work(&self) -> Option<NonZeroU64> {
        self.last_heartbeat().filter(|_| self.busy.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_panic_under_a_shared_lock_ends_the_process() {
        let mut itself = Command::new(std::env::current_exe().unwrap());
        let ended =
            itself.args(["--ignored", "--exact", "sync::tests::panic_under_a_shared_lock"]).output().unwrap();
        assert_eq!(ended.status.code(), Some(70), "{ended:?}");
    }

    #[test]
    #[ignore = "it ends its process, see above"]
    fn panic_under_a_shared_lock() {
        let lock = Mutex::new(());
        std::thread::scope(|scope| {
            let panicked = scope.spawn(|| {
                let _held = lock.lock_shared();
                panic!("under a lock, on purpose");
            });
            panicked.join().unwrap_err();
        });
        drop(lock.lock_own());
        drop(lock.lock_shared());
    }

    #[test]
    fn progress_measures_one_piece_of_work() {
        let progress = Progress::default();
        let later = Instant::now() + Duration::from_secs(9);
        assert_eq!((progress.current_work(), progress.busy_for(later)), (None, Duration::ZERO));
        progress.begin_work();
        assert!(progress.current_work().is_some() && progress.busy_for(later) > Duration::from_secs(8));
        progress.idle();
        assert_eq!(progress.busy_for(later), Duration::ZERO);
        assert!(progress.since_heartbeat(later) > Duration::from_secs(8));
        progress.end();
        assert_eq!((progress.last_heartbeat(), progress.since_heartbeat(later)), (None, Duration::ZERO));
    }
}
