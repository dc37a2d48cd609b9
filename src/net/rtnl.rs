//! Joining and leaving wait for the kernel's one lock for changes to the network (`rtnl_mutex`). Other processes that
//! change much there, as container runtimes do, hold it for milliseconds at a time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, RuntimeFlavor};

/// Whether the last call waited for the lock.
static CONTENDED: AtomicBool = AtomicBool::new(false);

/// Makes a system call that takes the lock. While others hold it for long, a worker of the runtime first hands its other
/// tasks over, which costs some microseconds.
pub(super) fn under_rtnl<T>(call: impl FnOnce() -> T) -> T {
    /// A hundred times what the call takes where nobody else holds the lock.
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
