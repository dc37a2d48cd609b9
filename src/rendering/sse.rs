//! Server-sent events (WHATWG HTML, section 9.2): each event's id is the cursor after it, so that a disconnected client
//! resumes with `Last-Event-ID`.

use std::fmt::Display;
use std::io::Write as _;

use axum::http::{HeaderMap, HeaderName};
use serde::Serialize;
use serde_json::json;

use super::datagram::GapBody;
use super::source::Items;
use super::stream::{EndReason, StreamEncoder};
use crate::http::fields::Encoding;
use crate::http::problem::{Problem, ProblemKind};
use crate::store::{Cursor, Entry};

pub(super) struct SseEncoder {
    pub(super) encoding: Encoding,
}

impl StreamEncoder for SseEncoder {
    fn begin(&mut self, out: &mut Vec<u8>, after: Option<Cursor>) {
        begin(out, after);
    }

    fn gap(&mut self, out: &mut Vec<u8>, cursor: Cursor, gap: &GapBody) {
        event(out, "gap", Some(&cursor), gap);
    }

    fn datagram(&mut self, out: &mut Vec<u8>, items: Items, cursor: Cursor, entry: &Entry<'_>) {
        event(out, items.name(), Some(&cursor), &items.show(entry, self.encoding));
    }

    fn end(&mut self, out: &mut Vec<u8>, reason: EndReason) {
        closed(out, reason);
    }

    fn heartbeat(&mut self, out: &mut Vec<u8>, after: Option<Cursor>) {
        out.extend_from_slice(COMMENT);
        begin(out, after);
    }
}

/// A line that clients skip.
pub(in crate::http) const COMMENT: &[u8] = b":\n\n";

/// Appends an id alone, so that a client that is disconnected before the first event resumes from there too.
pub(in crate::http) fn begin(out: &mut Vec<u8>, after: Option<Cursor>) {
    if let Some(cursor) = after {
        let _ = write!(out, "id: {cursor}\n\n");
    }
}

/// Appends an event.
pub(in crate::http) fn event(out: &mut Vec<u8>, name: &str, id: Option<&dyn Display>, data: &impl Serialize) {
    let _ = writeln!(out, "event: {name}");
    if let Some(id) = id {
        let _ = writeln!(out, "id: {id}");
    }
    // JSON without white space is one line.
    out.extend_from_slice(b"data: ");
    let _ = serde_json::to_writer(&mut *out, data);
    out.extend_from_slice(b"\n\n");
}

/// Appends the last event of a stream.
pub(in crate::http) fn closed(out: &mut Vec<u8>, reason: EndReason) {
    event(out, "closed", None, &json!({"reason": reason.name()}));
}

/// The client's last cursor; an empty id is none.
pub(in crate::http) fn last_event_id(headers: &HeaderMap) -> Result<Option<Cursor>, Problem> {
    const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
    let Some(id) = headers.get(LAST_EVENT_ID).filter(|id| !id.is_empty()) else {
        return Ok(None);
    };
    Cursor::parse(id.to_str().unwrap_or_default()).map(Some).map_err(|_| {
        let detail = "this is no id of an event: send the last one that came, or leave the header out";
        Problem::new(ProblemKind::InvalidParameter, detail).at("/last-event-id")
    })
}
