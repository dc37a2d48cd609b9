//! Server-sent events (WHATWG HTML, section 9.2): each event's id is the cursor after it, so that a disconnected client
//! resumes with `Last-Event-ID`.

use std::fmt::Display;
use std::io::Write as _;

use serde::Serialize;
use serde_json::json;

use super::stream_encoder::{EndReason, StreamEncoder};
use crate::contract::Encoding;
use crate::contract::datagrams::GapBody;
use crate::contract::datagrams::ItemKind;
use crate::store::{Cursor, Entry};

pub struct SseEncoder {
    pub encoding: Encoding,
}

impl StreamEncoder for SseEncoder {
    fn begin(&mut self, out: &mut Vec<u8>, after: Option<Cursor>) {
        begin(out, after);
    }

    fn gap(&mut self, out: &mut Vec<u8>, cursor: Cursor, gap: &GapBody) {
        event(out, "gap", Some(&cursor), gap);
    }

    fn datagram(&mut self, out: &mut Vec<u8>, items: ItemKind, cursor: Cursor, entry: &Entry<'_>) {
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
pub const COMMENT: &[u8] = b":\n\n";

/// Appends an id alone, so that a client that is disconnected before the first event resumes from there too.
pub fn begin(out: &mut Vec<u8>, after: Option<Cursor>) {
    if let Some(cursor) = after {
        let _ = write!(out, "id: {cursor}\n\n");
    }
}

/// Appends an event.
pub fn event(out: &mut Vec<u8>, name: &str, id: Option<&dyn Display>, data: &impl Serialize) {
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
pub fn closed(out: &mut Vec<u8>, reason: EndReason) {
    event(out, "closed", None, &json!({"reason": reason.name()}));
}
