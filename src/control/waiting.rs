//! How long a request waits for the service's own work: for the kernel's answer, for a receive thread to finish a
//! batch, for the disk.
//!
//! A request that runs out of time is refused, and the refusal says what was done by then ([`Done`]); the work goes on,
//! and the same PUT or DELETE completes it. Waits that the client asks for (a long poll, `Prefer: wait`) are not
//! limited here.

use std::cell::Cell;
use std::fmt;
use std::time::{Duration, Instant};

use super::ControlError;

/// How long a request waits in all: long enough for a busy disk, and shorter than most clients wait.
pub const LIMIT: Duration = Duration::from_secs(10);

tokio::task_local! {
    /// The remaining part of [`LIMIT`] for the request that this task answers.
    static LEFT: Cell<Duration>;
}

/// What a request that ran out of time had done by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    Nothing,
    /// The resource exists, and may not be on disk yet.
    Created,
    /// The resource is as requested, and may not be on disk yet.
    Changed,
    /// This many copies were sent; the message exists, and may not be on disk yet.
    Sent(u32),
    /// The resource is not in the registry any more; its sockets may not be closed yet, or it may still be on disk.
    DeletionUnderWay,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing was changed: try again"),
            Self::Created => f.write_str(
                "it is created, but not on disk yet: a PUT of the same under its id waits for that",
            ),
            Self::Changed => {
                f.write_str("it is changed, but not on disk yet: repeat the request to wait for that")
            }
            Self::Sent(copies) => {
                write!(
                    f,
                    "{copies} copies are sent, and the message is not on disk yet: a PUT of the same under its id waits for that and sends none again"
                )
            }
            Self::DeletionUnderWay => {
                f.write_str("it is deleted, but not from the disk yet: send the same DELETE to wait for that")
            }
        }
    }
}

/// Answers one request: all its waits together take no longer than [`LIMIT`]. Outside of a request, each wait may take
/// the whole limit.
pub async fn one_request<T>(answering: impl Future<Output = T>) -> T {
    limited(LIMIT, answering).await
}

/// [`one_request`] with another limit.
pub(super) async fn limited<T>(limit: Duration, answering: impl Future<Output = T>) -> T {
    LEFT.scope(Cell::new(limit), answering).await
}

/// Waits for the service's own work, as long as the request has time left. `done`: what was done before.
pub async fn within<T>(done: Done, work: impl Future<Output = T>) -> Result<T, ControlError> {
    let begun = Instant::now();
    let left = LEFT.try_with(Cell::get).unwrap_or(LIMIT);
    let outcome = tokio::time::timeout(left, work).await;
    let _ = LEFT.try_with(|left| left.set(left.get().saturating_sub(begun.elapsed())));
    outcome.map_err(|_| ControlError::TimedOut { done })
}

#[cfg(test)]
mod tests;
