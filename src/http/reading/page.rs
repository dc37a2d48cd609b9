//! JSON pages, and waiting for the next one.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::log_owner::{LogOwner, MAX_PAGE};
use crate::contract::Encoding;
use crate::control::Done;
use crate::http::compute::{MAX_ON_A_WORKER, compute};
use crate::http::problem::Problem;
use crate::rendering::{Filter, PageBuilder};
use crate::store::{Cursor, Page, ReadRange};

/// The most datagrams that one request examines if a filter passes few of them: some 10 ms of work.
pub(super) const MAX_SCANNED: usize = 100_000;

/// The requested content of a page, and how long to wait for it.
pub(super) struct PageRequest {
    pub(super) after: Option<Cursor>,
    pub(super) limit: usize,
    pub(super) wait: Duration,
    pub(super) encoding: Encoding,
    pub(super) filter: Filter,
    pub(super) scope: ReadRange,
}

impl PageRequest {
    /// Reads a page, as JSON. If there is nothing to read, waits for `wait`, or until the service stops.
    pub(super) async fn read(self, owner: &LogOwner, stop: &CancellationToken) -> Result<Vec<u8>, Problem> {
        let deadline = Instant::now() + self.wait;
        let mut found = PageBuilder::new(self.after, self.limit, self.filter, owner.items(), self.encoding);
        let mut left = MAX_SCANNED;
        loop {
            let changed = owner.log().changed();
            let max_read = if self.filter.wants_all() { self.limit } else { MAX_PAGE };
            let page = owner.read(Done::Nothing, found.next(), max_read, self.scope).await?;
            if page.gap.is_some() && !found.is_empty() {
                // Overtaken during the scan: the next page reports the gap.
                break;
            }
            let (is_empty, complete) = (page.is_empty(), page.complete);
            let examined;
            (found, examined) = take(found, page).await?;
            left = left.saturating_sub(examined);
            let whole = found.is_full() || left == 0 || complete;
            let some = !found.is_empty() && (is_empty || self.filter.wants_all());
            if whole || some {
                break;
            }
            if !is_empty {
                tokio::task::yield_now().await;
                continue;
            }
            if Instant::now() >= deadline {
                break;
            }
            tokio::select! {
                // Checked first: when the service stops, its logs end too, and this reader must not get "gone".
                biased;
                () = stop.cancelled() => break,
                () = changed => {}
                () = tokio::time::sleep_until(deadline) => {}
            }
        }
        Ok(found.build(owner.dropped_buffers()))
    }
}

/// Has the builder take what was read; returns how many datagrams it examined.
async fn take(mut found: PageBuilder, page: Page) -> Result<(PageBuilder, usize), Problem> {
    let is_large = page.len() > MAX_ON_A_WORKER;
    let take = move || {
        let examined = found.take(&page);
        (found, examined)
    };
    if is_large { compute(Done::Nothing, take).await } else { Ok(take()) }
}
