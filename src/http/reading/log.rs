//! Reads of a log, with their failures as problems.

use crate::control::waiting::within;
use crate::control::{Done, DurabilityError};
use crate::http::problem::{Problem, ProblemKind};
use crate::store::{Cursor, DiskError, Log, Page, ReadError, ReadRange};

/// The most datagrams in one page.
pub(super) const LARGEST_PAGE: usize = 1_000;

/// The first datagrams of a log, at most [`LARGEST_PAGE`]. `done`: what the request has done so far.
pub(in crate::http) async fn first_page(log: &Log, done: Done) -> Result<Page, Problem> {
    let reading = log.read(None, LARGEST_PAGE, ReadRange::ALL);
    within(done, reading).await?.map_err(unreadable)
}

/// Reads a log for a request that changes nothing.
pub(super) async fn read(
    log: &Log,
    after: Option<Cursor>,
    limit: usize,
    scope: ReadRange,
) -> Result<Page, Problem> {
    within(Done::Nothing, log.read(after, limit, scope)).await?.map_err(unreadable)
}

/// The problem of a log that could not be read.
#[expect(clippy::needless_pass_by_value, reason = "callers pass it to `map_err`")]
fn unreadable(error: ReadError) -> Problem {
    let kind = match &error {
        ReadError::Closed => ProblemKind::NotFound,
        ReadError::Disk(_) => ProblemKind::Store,
    };
    Problem::new(kind, error.to_string())
}

/// The problem of a log that may not be on disk.
pub(super) fn unsettled(reason: DurabilityError) -> Problem {
    match reason {
        DurabilityError::NoStore => {
            let detail = "the service runs with --memory and has nothing on disk: leave this out";
            Problem::new(ProblemKind::InvalidParameter, detail).at("/durable")
        }
        DurabilityError::TimedOut(error) => Problem::from(*error),
        DurabilityError::Disk(DiskError::Closed) => {
            Problem::new(ProblemKind::Stopping, "the service is stopping")
        }
        DurabilityError::Disk(error) => Problem::new(ProblemKind::Store, error.to_string()),
    }
}
