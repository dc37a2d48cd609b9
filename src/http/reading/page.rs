//! JSON pages, and waiting for the next one.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::log_owner::{LogOwner, MAX_PAGE};
use crate::contract::Encoding;
use crate::contract::datagrams::{DatagramPage, Item};
use crate::control::Done;
use crate::http::problem::Problem;
use crate::rendering::{Filter, PageBuilder};
use crate::store::{Cursor, ReadRange};

/// The most datagrams that one request examines if a filter passes few of them: some 10 ms of work.
const MAX_SCANNED: usize = 100_000;

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
    /// Reads a page. If there is nothing to read, waits for `wait`, or until the service stops.
    pub(super) async fn read(
        self,
        owner: &LogOwner,
        stop: &CancellationToken,
    ) -> Result<DatagramPage<Item>, Problem> {
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
            left = left.saturating_sub(found.take(&page));
            let whole = found.is_full() || left == 0 || page.complete;
            let some = !found.is_empty() && (page.is_empty() || self.filter.wants_all());
            if whole || some {
                break;
            }
            if !page.is_empty() {
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
