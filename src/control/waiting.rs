//! How long a request waits for what the service itself has to do: for the kernel's answer, for a receive thread to
//! finish a batch, for the disk.
//!
//! A request that has run out of time is refused with what was done until then ([`Done`]); the work goes on, and the
//! same PUT or DELETE completes it. A wait that the client asked for (a long poll, `Prefer: wait`) is none of these.

use std::cell::Cell;
use std::fmt;
use std::time::{Duration, Instant};

use super::Refusal;

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
            Self::Created => {
                f.write_str("it is created, but not on disk yet: repeat the request to wait for that")
            }
            Self::Changed => {
                f.write_str("it is changed, but not on disk yet: repeat the request to wait for that")
            }
            Self::Sent(copies) => {
                write!(
                    f,
                    "{copies} copies are sent, but that is not on disk yet: a PUT of the same message waits for that and sends nothing"
                )
            }
            Self::DeletionUnderWay => f.write_str(
                "nobody finds it any more, and its deletion goes on: repeat the request to wait for that",
            ),
        }
    }
}

/// Answers one request: all its waits together take no longer than [`LIMIT`]. Elsewhere each wait has the whole of it.
pub async fn one_request<T>(answering: impl Future<Output = T>) -> T {
    LEFT.scope(Cell::new(LIMIT), answering).await
}

/// Waits for what the service itself does, as long as the request has time left. `done`: what was done before.
pub async fn within<T>(done: Done, work: impl Future<Output = T>) -> Result<T, Refusal> {
    let begun = Instant::now();
    let left = LEFT.try_with(Cell::get).unwrap_or(LIMIT);
    let outcome = tokio::time::timeout(left, work).await;
    let _ = LEFT.try_with(|left| left.set(left.get().saturating_sub(begun.elapsed())));
    outcome.map_err(|_| Refusal::TimedOut { done })
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn all_waits_of_a_request_have_one_limit_and_say_what_was_done() {
        let request = async {
            assert_eq!(within(Done::Nothing, async { 1 }).await.ok(), Some(1));
            let first = within(Done::Sent(2), pending::<()>()).await;
            assert!(matches!(first, Err(Refusal::TimedOut { done: Done::Sent(2) })));
            assert!(LEFT.with(Cell::get).is_zero(), "nothing is left for the next");
            let second = within(Done::Created, pending::<()>()).await;
            assert!(matches!(second, Err(Refusal::TimedOut { done: Done::Created })));
        };
        LEFT.scope(Cell::new(Duration::from_millis(20)), request).await;
    }
}
