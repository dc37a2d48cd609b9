//! Where the last datagrams of a log begin that pass a filter.

use super::log_owner::{LogOwner, MAX_PAGE};
use super::page::MAX_SCANNED;
use crate::control::Done;
use crate::http::problem::Problem;
use crate::rendering::Filter;
use crate::store::{Cursor, ReadRange};

/// The position before the last `count` datagrams that pass the filter, among the latest [`MAX_SCANNED`].
pub(super) async fn before_last(
    owner: &LogOwner,
    count: usize,
    filter: &Filter,
    range: ReadRange,
) -> Result<Cursor, Problem> {
    // The filter compares the time of each datagram.
    let range = ReadRange { since: None, ..range };
    if filter.wants_all() {
        return Ok(owner.log().before_last(count, None, range));
    }
    let mut end = owner.log().before_last(0, None, range);
    let mut left = count;
    for _ in 0..MAX_SCANNED / MAX_PAGE {
        let start = owner.log().before_last(MAX_PAGE, Some(end), range);
        let found = passing(owner, start, end, filter, range).await?;
        if let Some(nth) = found.len().checked_sub(left) {
            return Ok(Cursor { sequence: found[nth] - 1, ..end });
        }
        if start == end {
            break;
        }
        (left, end) = (left - found.len(), start);
        tokio::task::yield_now().await;
    }
    Ok(end)
}

/// The numbers of the datagrams between these positions that pass the filter.
async fn passing(
    owner: &LogOwner,
    start: Cursor,
    end: Cursor,
    filter: &Filter,
    range: ReadRange,
) -> Result<Vec<u64>, Problem> {
    let (mut found, mut at) = (Vec::new(), start);
    while at.sequence < end.sequence {
        let page = owner.read(Done::Nothing, Some(at), MAX_PAGE, range).await?;
        let within = page.entries().filter(|entry| entry.sequence <= end.sequence);
        found.extend(within.filter(|entry| filter.wants(entry)).map(|entry| entry.sequence));
        if page.is_empty() {
            break;
        }
        at = page.next;
    }
    Ok(found)
}
