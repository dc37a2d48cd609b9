//! Requests take turns, so that those of an operator are answered between them and not after all of them.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::thread::available_parallelism;

use tokio::sync::Semaphore;
use tokio::task::yield_now;

/// Begins the handling of a request in its turn, as many at once as there are cores. Until then, the runtime reads other
/// requests. What has begun is not interrupted: a request that waits for something does not hold up the next one.
pub(super) async fn in_turn<T>(handling: impl Future<Output = T>) -> T {
    static TURNS: LazyLock<Semaphore> =
        LazyLock::new(|| Semaphore::new(available_parallelism().map_or(1, usize::from)));
    static BEGINNING: AtomicUsize = AtomicUsize::new(0);

    let beginning = Beginning::of(&BEGINNING);
    let turn = if beginning.is_alone {
        None
    } else {
        let turn = TURNS.acquire().await;
        // The runtime looks for new requests before it goes on here.
        yield_now().await;
        Some(turn)
    };
    let mut handling = pin!(handling);
    let first = poll_fn(|context| Poll::Ready(handling.as_mut().poll(context))).await;
    drop((turn, beginning));
    match first {
        Poll::Ready(handled) => handled,
        Poll::Pending => handling.await,
    }
}

/// A request whose handling has not begun.
struct Beginning<'a> {
    count: &'a AtomicUsize,
    is_alone: bool,
}

impl<'a> Beginning<'a> {
    fn of(count: &'a AtomicUsize) -> Self {
        Self { count, is_alone: count.fetch_add(1, Ordering::Relaxed) == 0 }
    }
}

impl Drop for Beginning<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}
