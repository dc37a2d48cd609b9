//! A capture file for Wireshark, or one that goes on growing.

use super::datagram::GapBody;
use super::source::Items;
use super::stream::{EndReason, StreamEncoder};
use crate::pcapng::CaptureWriter;
use crate::store::{Cursor, Entry};

#[derive(Default)]
pub(super) struct CaptureEncoder {
    /// There once the file has begun.
    writer: Option<CaptureWriter>,
}

impl CaptureEncoder {
    /// Interfaces that come from here on are of this log.
    pub(super) fn describe(&mut self, log: &str) {
        if let Some(writer) = &mut self.writer {
            writer.describe(log);
        }
    }
}

impl StreamEncoder for CaptureEncoder {
    fn begin(&mut self, out: &mut Vec<u8>, _: Option<Cursor>) {
        self.writer = Some(CaptureWriter::new(out));
    }

    fn gap(&mut self, _: &mut Vec<u8>, _: Cursor, gap: &GapBody) {
        if let Some(writer) = &mut self.writer {
            writer.gap(gap.missed, gap.reason.name());
        }
    }

    fn datagram(&mut self, out: &mut Vec<u8>, _: Items, _: Cursor, entry: &Entry<'_>) {
        if let Some(writer) = &mut self.writer {
            writer.write(out, entry.sequence, &entry.heard, entry.answer.as_ref(), entry.payload);
        }
    }

    /// A file has no words for it: it just ends.
    fn end(&mut self, _: &mut Vec<u8>, _: EndReason) {}

    fn heartbeat(&mut self, _: &mut Vec<u8>, _: Option<Cursor>) {}
}
