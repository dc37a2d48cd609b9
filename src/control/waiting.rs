//! How long a request waits for the service's own work: for the kernel's reply, for a receive thread to finish a
//! batch, for the disk.
//!
//! A request that runs out of time is refused, and the error says what was done by then ([`Done`]); the work continues,
//! and the same PUT or DELETE completes it. Waits that the client asks for (a long poll, `Prefer: wait`) are not
//! limited here.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::error::{ControlError, Done, WAIT_LIMIT};

tokio::task_local! {
    /// The remaining part of [`WAIT_LIMIT`] for the request that this task handles.
    static LEFT: Cell<Duration>;
}

/// Handles one request: all its waits together take no longer than [`WAIT_LIMIT`]. Outside of a request, each wait may
/// take the whole limit.
pub async fn one_request<T>(handler: impl Future<Output = T>) -> T {
    limited(WAIT_LIMIT, handler).await
}

/// [`one_request`] with another limit.
pub(super) async fn limited<T>(limit: Duration, handler: impl Future<Output = T>) -> T {
    LEFT.scope(Cell::new(limit), handler).await
}

/// Waits for the service's own work, as long as the request has time left. `done`: the state of the resource before
/// that.
pub async fn within<T>(done: Done, work: impl Future<Output = T>) -> Result<T, ControlError> {
    let begun = Instant::now();
    let left = LEFT.try_with(Cell::get).unwrap_or(WAIT_LIMIT);
    let outcome = tokio::time::timeout(left, work).await;
    let _ = LEFT.try_with(|left| left.set(left.get().saturating_sub(begun.elapsed())));
    outcome.map_err(|_| ControlError::TimedOut { done })
}

#[cfg(test)]
mod tests;
