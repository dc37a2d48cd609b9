//! Locks, and what a panic under each of them means.
//!
//! A panic under a lock that one resource owns concerns this resource alone: it is `failed`, and whoever caught the
//! panic has it opened again. A panic under a lock that resources share leaves half-changed state that everybody
//! would go on with, so that it ends the process: its supervisor starts a whole one.

use std::sync::{LockResult, Mutex, MutexGuard, PoisonError};

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
        whole(self.lock())
    }
}

/// What a lock that resources share guards, however it was taken. After a panic under it the process ends.
pub(crate) fn whole<G>(taken: LockResult<G>) -> G {
    taken.unwrap_or_else(|_| fatal("a thread panicked while it changed state that resources share"))
}

/// Ends the process, because going on would do harm; a supervisor starts it again.
pub(crate) fn fatal(reason: &str) -> ! {
    /// `EX_SOFTWARE`, sysexits(3).
    const INTERNAL_ERROR: i32 = 70;
    tracing::error!(reason, "the process ends");
    std::process::exit(INTERNAL_ERROR)
}
