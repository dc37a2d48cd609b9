//! When more requests arrive than the service can handle at once, they take turns, and those of an operator are answered
//! between them and not after all of them.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::yield_now;

/// The turns of requests on one runtime.
pub(super) struct Turns {
    /// As many as the runtime has workers, for the next requests to be handled.
    free: Semaphore,
    waiting: AtomicUsize,
    row: Row,
}

impl Turns {
    pub(super) fn new() -> Self {
        let workers = Handle::current().metrics().num_workers();
        Self { free: Semaphore::new(workers), waiting: AtomicUsize::new(0), row: Row::default() }
    }

    /// Under load, waits until it is this request's turn, while the runtime reads other requests.
    pub(super) async fn wait(&self) {
        if self.waiting.load(Ordering::Relaxed) == 0 && !self.row.is_long() {
            return;
        }
        let _waiting = Waiting::of(&self.waiting);
        let _turn = self.free.acquire().await;
        yield_now().await;
    }
}

/// Requests in a row, between which no worker of the runtime had nothing to do.
#[derive(Default)]
struct Row {
    length: AtomicU64,
    /// How often workers had had nothing to do when it began.
    begun: AtomicU64,
}

impl Row {
    /// A few requests at once are no load.
    const LONG: u64 = 16;

    /// Counts a request.
    fn is_long(&self) -> bool {
        let runtime = Handle::current();
        let metrics = runtime.metrics();
        let idle = (0..metrics.num_workers()).map(|worker| metrics.worker_park_count(worker)).sum();
        // Two requests at once may count as one: the row is long a little later then.
        if self.begun.swap(idle, Ordering::Relaxed) != idle {
            self.length.store(0, Ordering::Relaxed);
        }
        self.length.fetch_add(1, Ordering::Relaxed) >= Self::LONG
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn of(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
