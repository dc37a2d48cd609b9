//! Joining and leaving a group take the kernel's single lock for network configuration (`rtnl_mutex`). Processes that
//! change much of it, such as container runtimes, hold the lock for milliseconds at a time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, RuntimeFlavor};

/// Whether the last call waited for the lock.
static CONTENDED: AtomicBool = AtomicBool::new(false);

/// Makes a system call that takes the lock. While other processes hold it for long, a worker of the runtime first hands
/// over its other tasks, which costs some microseconds.
pub(super) fn under_rtnl<T>(call: impl FnOnce() -> T) -> T {
    /// A hundred times the duration of the call when the lock is free.
    const LONG: Duration = Duration::from_millis(1);
    let begun = Instant::now();
    let result = if CONTENDED.load(Ordering::Relaxed) && is_on_worker() {
        tokio::task::block_in_place(call)
    } else {
        call()
    };
    CONTENDED.store(begun.elapsed() > LONG, Ordering::Relaxed);
    result
}

fn is_on_worker() -> bool {
    Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread)
}
