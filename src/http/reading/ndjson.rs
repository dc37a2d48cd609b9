//! A JSON object a line: datagrams as in pages, `{"gap": …}` where something is missing, and `{"closed": …}`
//! when a log that is followed ends.

use serde::Serialize;
use serde_json::json;

use super::datagram::GapBody;
use super::source::Source;
use super::stream::{EndReason, Form};
use crate::http::fields::Encoding;
use crate::store::{Cursor, Entry};

pub(super) struct Lines {
    pub(super) encoding: Encoding,
}

impl Form for Lines {
    fn begin(&mut self, _: &mut Vec<u8>) {}

    fn gap(&mut self, out: &mut Vec<u8>, _: Cursor, gap: &GapBody) {
        line(out, &json!({"gap": gap}));
    }

    fn datagram(&mut self, out: &mut Vec<u8>, source: &Source, _: Cursor, entry: &Entry<'_>) {
        line(out, &source.item(entry, self.encoding));
    }

    fn end(&mut self, out: &mut Vec<u8>, reason: EndReason) {
        line(out, &json!({"closed": {"reason": reason.name()}}));
    }

    /// None: not every reader skips empty lines.
    fn heartbeat(&mut self, _: &mut Vec<u8>) {}
}

fn line(out: &mut Vec<u8>, value: &impl Serialize) {
    let _ = serde_json::to_writer(&mut *out, value);
    out.push(b'\n');
}
