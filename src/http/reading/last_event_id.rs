//! Where a client resumes a stream of events (WHATWG HTML, section 9.2).

use axum::http::{HeaderMap, HeaderName};

use crate::http::problem::{Problem, ProblemKind};
use crate::store::Cursor;

/// The client's last cursor; an empty id means none.
pub(in crate::http) fn last_event_id(headers: &HeaderMap) -> Result<Option<Cursor>, Problem> {
    const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
    let Some(id) = headers.get(LAST_EVENT_ID).filter(|id| !id.is_empty()) else {
        return Ok(None);
    };
    Cursor::parse(id.to_str().unwrap_or_default()).map(Some).map_err(|_| {
        let detail =
            "this is not the id of an event: send the last one that you received, or leave the header out";
        Problem::new(ProblemKind::InvalidParameter, detail).at("/last-event-id")
    })
}
