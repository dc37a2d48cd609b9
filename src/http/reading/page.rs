//! JSON pages, and waiting for the next one.

use std::borrow::Cow;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Ref, RefBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::datagram::GapBody;
use super::filter::Filter;
use super::source::{Item, Source};
use crate::http::fields::Encoding;
use crate::http::problem::Problem;
use crate::store::{Cursor, Entry, Gap, Page, ReadRange};

/// The most datagrams in one page.
pub(in crate::http) const LARGEST_PAGE: usize = 1_000;

/// The most datagrams that one request examines if a filter passes few of them: some 10 ms of work.
const MOST_SCANNED: usize = 100_000;

/// A page of datagrams.
#[derive(Debug, Serialize)]
pub(in crate::http) struct DatagramPage<T> {
    pub(in crate::http) items: Vec<T>,
    pub(in crate::http) next_cursor: String,
    pub(in crate::http) dropped: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::http) gap: Option<GapBody>,
}

/// Written by hand, for a readable name in the document: a page of `Response` is a `ResponsePage`.
impl<T: ToSchema> ToSchema for DatagramPage<T> {
    fn name() -> Cow<'static, str> {
        format!("{}Page", T::name()).into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((T::name().into_owned(), T::schema()));
        schemas.push((GapBody::name().into_owned(), GapBody::schema()));
        T::schemas(schemas);
        GapBody::schemas(schemas);
    }
}

impl<T: ToSchema> PartialSchema for DatagramPage<T> {
    fn schema() -> RefOr<Schema> {
        let cursor = ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("Pass it as `after` to read on."))
            .examples(["1d60f7e7ade273a1-2"]);
        let dropped = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0_u64)).description(Some(
            "Buffers that the kernel has dropped before they could be read, since the log began.",
        ));
        let gap = RefBuilder::new()
            .ref_location_from_schema_name(GapBody::name())
            .description(Some("There if something before the first item is missing."));
        ObjectBuilder::new()
            .description(Some("A page of a log, in the order of arrival. With a filter it may hold fewer than `limit`, or nothing, while \
             `next_cursor` moves on."))
            .property("items", Ref::from_schema_name(T::name()).to_array_builder())
            .required("items")
            .property("next_cursor", cursor)
            .required("next_cursor")
            .property("dropped", dropped)
            .required("dropped")
            .property("gap", gap)
            .into()
    }
}

/// The wanted content of a page, and how long to wait for it.
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
        source: &Source,
        stop: &CancellationToken,
    ) -> Result<DatagramPage<Item>, Problem> {
        let deadline = Instant::now() + self.wait;
        let mut found = PageSoFar { items: Vec::new(), next: self.after, gap: None };
        let mut left = MOST_SCANNED;
        loop {
            let changed = source.log().changed();
            let at_once = if self.filter.wants_all() { self.limit } else { LARGEST_PAGE };
            let page = super::read(source.log(), found.next, at_once, self.scope).await?;
            if page.gap.is_some() && !found.items.is_empty() {
                // Overtaken during the scan: the next page reports the gap.
                return Ok(found.page(source));
            }
            left = left.saturating_sub(self.take(&page, source, &mut found));
            let whole = found.items.len() >= self.limit || left == 0 || page.complete || found.gap.is_some();
            let some = !found.items.is_empty() && (page.is_empty() || self.filter.wants_all());
            if whole || some {
                return Ok(found.page(source));
            }
            if !page.is_empty() {
                tokio::task::yield_now().await;
                continue;
            }
            if Instant::now() >= deadline {
                return Ok(found.page(source));
            }
            tokio::select! {
                // Checked first: when the service stops, its logs end too, and this reader must not be told "gone".
                biased;
                () = stop.cancelled() => return Ok(found.page(source)),
                () = changed => {}
                () = tokio::time::sleep_until(deadline) => {}
            }
        }
    }

    /// Takes wanted datagrams, up to the limit; returns how many were examined.
    fn take(&self, page: &Page, source: &Source, found: &mut PageSoFar) -> usize {
        found.gap = found.gap.or(page.gap);
        let mut next = page.next;
        let mut seen = 0;
        for entry in page.entries() {
            seen += 1;
            if self.filter.wants(&entry) {
                found.items.push(source.items().show(&entry, self.encoding));
                if found.items.len() == self.limit {
                    next = Cursor { sequence: entry.sequence, ..page.next };
                    break;
                }
            }
        }
        found.next = Some(next);
        seen
    }
}

/// The content of a page so far.
struct PageSoFar {
    items: Vec<Item>,
    next: Option<Cursor>,
    gap: Option<Gap>,
}

impl PageSoFar {
    fn page(self, source: &Source) -> DatagramPage<Item> {
        DatagramPage {
            items: self.items,
            next_cursor: self.next.map(|next| next.to_string()).unwrap_or_default(),
            dropped: source.dropped_buffers(),
            gap: self.gap.map(GapBody::from),
        }
    }
}

pub(in crate::http) fn page_of<T>(
    page: &Page,
    dropped: u64,
    item: impl Fn(&Entry<'_>) -> T,
) -> DatagramPage<T> {
    DatagramPage {
        items: page.entries().map(|entry| item(&entry)).collect(),
        next_cursor: page.next.to_string(),
        dropped,
        gap: page.gap.map(GapBody::from),
    }
}
