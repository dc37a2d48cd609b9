//! A capture file for Wireshark, or a capture stream that follows the log.

use super::stream_encoder::{EndReason, StreamEncoder};
use crate::contract::datagrams::GapBody;
use crate::contract::datagrams::ItemKind;
use crate::pcapng::CaptureWriter;
use crate::store::{Cursor, Entry};

#[derive(Default)]
pub struct CaptureEncoder {
    /// Present once the file has begun.
    writer: Option<CaptureWriter>,
}

impl CaptureEncoder {
    /// Interfaces described from here on belong to this log.
    pub fn describe(&mut self, log: &str) {
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

    fn datagram(&mut self, out: &mut Vec<u8>, _: ItemKind, _: Cursor, entry: &Entry<'_>) {
        if let Some(writer) = &mut self.writer {
            writer.write(out, entry.sequence, &entry.metadata, entry.response.as_ref(), entry.payload);
        }
    }

    /// The format cannot express a reason: the file just ends.
    fn end(&mut self, _: &mut Vec<u8>, _: EndReason) {}

    fn heartbeat(&mut self, _: &mut Vec<u8>, _: Option<Cursor>) {}
}
