//! How long a request waits for what the service itself has to do: for the kernel's answer, for a receive thread to
//! finish a batch, for the disk.
//!
//! A request that has run out of time is refused with what was done until then ([`Done`]); the work goes on, and the
//! same PUT or DELETE completes it. A wait that the client asked for (a long poll, `Prefer: wait`) is none of these.

use std::cell::Cell;
use std::fmt;
use std::time::{Duration, Instant};

use super::ControlError;

/// For how long a request waits in all. Long enough for a busy disk, and shorter than most clients wait.
pub const LIMIT: Duration = Duration::from_secs(10);

tokio::task_local! {
    /// What is left of [`LIMIT`] for the request that this task answers.
    static LEFT: Cell<Duration>;
}

/// What a request that ran out of time had done by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    Nothing,
    /// It is there, and may not be on disk yet.
    Created,
    /// It is as requested, and may not be on disk yet.
    Changed,
    /// So many copies were sent; the message is there, and may not be on disk yet.
    Sent(u32),
    /// Nobody finds it any more; a socket may not be closed yet, or the disk not have forgotten it.
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

/// Answers one request: all its waits together take no longer than [`LIMIT`]. Elsewhere each wait has the whole of it.
pub async fn one_request<T>(answering: impl Future<Output = T>) -> T {
    limited(LIMIT, answering).await
}

/// The same with another limit.
pub(super) async fn limited<T>(limit: Duration, answering: impl Future<Output = T>) -> T {
    LEFT.scope(Cell::new(limit), answering).await
}

/// Waits for what the service itself does, as long as the request has time left. `done`: what was done before.
pub async fn within<T>(done: Done, work: impl Future<Output = T>) -> Result<T, ControlError> {
    let begun = Instant::now();
    let left = LEFT.try_with(Cell::get).unwrap_or(LIMIT);
    let outcome = tokio::time::timeout(left, work).await;
    let _ = LEFT.try_with(|left| left.set(left.get().saturating_sub(begun.elapsed())));
    outcome.map_err(|_| ControlError::TimedOut { done })
}

#[cfg(test)]
mod tests;
