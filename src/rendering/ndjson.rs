//! One JSON object per line: datagrams as in pages, `{"gap": …}` where datagrams are missing, and `{"closed": …}` when
//! a followed log ends.

use serde::Serialize;
use serde_json::json;

use super::stream_encoder::{EndReason, StreamEncoder};
use crate::contract::Encoding;
use crate::contract::datagrams::GapBody;
use crate::contract::datagrams::ItemKind;
use crate::store::{Cursor, Entry};

pub struct NdjsonEncoder {
    encoding: Encoding,
    /// The owner of the log, if the lines should name it.
    pub owner: Option<LogLabel>,
}

/// The leading fields of a line.
#[derive(Serialize)]
pub struct LogLabel {
    pub kind: &'static str,
    pub id: String,
}

#[derive(Serialize)]
struct Line<'a, T> {
    #[serde(flatten)]
    owner: &'a LogLabel,
    #[serde(flatten)]
    value: &'a T,
}

impl NdjsonEncoder {
    pub fn new(encoding: Encoding) -> Self {
        Self { encoding, owner: None }
    }

    fn line(&self, out: &mut Vec<u8>, value: &impl Serialize) {
        let _ = match &self.owner {
            Some(owner) => serde_json::to_writer(&mut *out, &Line { owner, value }),
            None => serde_json::to_writer(&mut *out, value),
        };
        out.push(b'\n');
    }
}

impl StreamEncoder for NdjsonEncoder {
    fn begin(&mut self, _: &mut Vec<u8>, _: Option<Cursor>) {}

    fn gap(&mut self, out: &mut Vec<u8>, _: Cursor, gap: &GapBody) {
        self.line(out, &json!({"gap": gap}));
    }

    fn datagram(&mut self, out: &mut Vec<u8>, items: ItemKind, _: Cursor, entry: &Entry<'_>) {
        self.line(out, &items.show(entry, self.encoding));
    }

    fn end(&mut self, out: &mut Vec<u8>, reason: EndReason) {
        self.line(out, &json!({"closed": {"reason": reason.name()}}));
    }

    /// Writes nothing, because some readers do not skip empty lines.
    fn heartbeat(&mut self, _: &mut Vec<u8>, _: Option<Cursor>) {}
}
