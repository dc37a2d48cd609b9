//! Work that would keep a worker of the runtime from other requests for too long, such as large pages.
//!
//! It has threads of its own, one for each core. Their priority is lower, so that short requests, and reception above
//! all, come first where processors are short.

use std::sync::LazyLock;
use std::thread::available_parallelism;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::task::JoinError;

use super::problem::{Problem, ProblemKind};
use crate::control::Done;
use crate::control::waiting::within;
use crate::net::lower_priority;

/// Work waits here for its turn; each waiting request has a connection, whose number is limited.
static THREADS: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_multi_thread()
        .worker_threads(available_parallelism().map_or(1, usize::from))
        .thread_name("compute")
        .on_thread_start(lower_priority)
        .build()
        .expect("threads for as many as there are cores")
});

/// Starts the threads.
pub(super) fn start() {
    LazyLock::force(&THREADS);
}

/// Runs work of some milliseconds beside the runtime's workers. `done`: what the request has done so far. A panic of the
/// work is one of the caller.
pub(super) async fn compute<T: Send + 'static>(
    done: Done,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let computed = async { THREADS.spawn(async { work() }).await };
    match within(done, computed).await?.map_err(JoinError::try_into_panic) {
        Ok(result) => Ok(result),
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(error)) => Err(Problem::new(ProblemKind::Internal, error.to_string())),
    }
}

/// The same for work that takes longer, as many at once as these permits allow.
pub(super) async fn compute_within<T: Send + 'static>(
    permits: &'static Semaphore,
    done: Done,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let permit = within(done, permits.acquire()).await?;
    // It keeps the permit also if the client no longer waits.
    let work = move || {
        let _permit = permit;
        work()
    };
    compute(done, work).await
}
