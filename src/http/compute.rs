//! Work that would keep a worker of the runtime from other requests for too long, such as large pages.

use std::sync::LazyLock;
use std::thread::available_parallelism;

use tokio::sync::Semaphore;
use tokio::task::JoinError;

use super::problem::{Problem, ProblemKind};
use crate::control::Done;
use crate::control::waiting::within;

/// Items of a response that a worker of the runtime makes itself. More take so long that other requests would notice.
pub(super) const MAX_ON_A_WORKER: usize = 64;

/// Runs work of some milliseconds beside the runtime's workers, as many at once as there are cores; more wait in turn.
/// `done`: what the request has done so far. A panic of the work is one of the caller.
pub(super) async fn compute<T: Send + 'static>(
    done: Done,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    static CORES: LazyLock<Semaphore> =
        LazyLock::new(|| Semaphore::new(available_parallelism().map_or(1, usize::from)));
    compute_within(&CORES, done, work).await
}

/// The same, as many at once as these permits allow.
pub(super) async fn compute_within<T: Send + 'static>(
    permits: &'static Semaphore,
    done: Done,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let computed = async {
        let permit = permits.acquire().await;
        // It keeps the permit also if the client no longer waits.
        let computing = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        computing.await.map_err(JoinError::try_into_panic)
    };
    match within(done, computed).await? {
        Ok(result) => Ok(result),
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(error)) => Err(Problem::new(ProblemKind::Internal, error.to_string())),
    }
}
