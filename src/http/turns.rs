//! When more requests arrive than the service can handle at once, they take turns, and those of an operator are answered
//! between them and not after all of them.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::runtime::{Handle, RuntimeMetrics};
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
        let runtime = Handle::current().metrics();
        let free = Semaphore::new(runtime.num_workers());
        let row = Row { runtime, length: AtomicU64::new(0), begun: AtomicU64::new(0) };
        Self { free, waiting: AtomicUsize::new(0), row }
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
struct Row {
    runtime: RuntimeMetrics,
    length: AtomicU64,
    /// How often workers had had nothing to do when it began.
    begun: AtomicU64,
}

impl Row {
    /// A few requests at once are no load.
    const LONG: u64 = 16;

    /// Counts a request.
    fn is_long(&self) -> bool {
        let workers = 0..self.runtime.num_workers();
        let idle = workers.map(|worker| self.runtime.worker_park_count(worker)).sum();
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test]
    async fn a_request_that_takes_no_turn_is_handled_before_those_that_wait() {
        const REQUESTS: usize = 40;
        let (turns, handled) = (Arc::new(Turns::new()), Arc::new(Mutex::new(Vec::new())));
        let request = |nth| {
            let (turns, handled) = (turns.clone(), handled.clone());
            async move {
                turns.wait().await;
                handled.lock().unwrap().push(nth);
            }
        };
        let requests: Vec<_> = (0..REQUESTS).map(|nth| tokio::spawn(request(nth))).collect();
        let operational = {
            let handled = handled.clone();
            tokio::spawn(async move { handled.lock().unwrap().push(REQUESTS) })
        };
        for request in requests.into_iter().chain([operational]) {
            request.await.unwrap();
        }

        let handled = handled.lock().unwrap();
        let at_once = usize::try_from(Row::LONG).unwrap();
        assert_eq!(handled[at_once], REQUESTS, "{handled:?}");
        assert!(handled.iter().filter(|&&nth| nth < REQUESTS).is_sorted(), "each in its turn: {handled:?}");
        assert_eq!(handled.len(), REQUESTS + 1);
    }

    #[tokio::test]
    async fn a_few_requests_at_once_wait_for_nothing() {
        let turns = Turns::new();
        for _ in 0..Row::LONG {
            assert!(futures_util::FutureExt::now_or_never(turns.wait()).is_some());
        }
        assert!(futures_util::FutureExt::now_or_never(turns.wait()).is_none());
        // Nothing waits any more, and the runtime has nothing to do for a moment.
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        assert!(futures_util::FutureExt::now_or_never(turns.wait()).is_some());
    }
}
