//! Writes logs that are read without the service, in the formats of the API.

use super::capture::CaptureEncoder;
use super::filter::Filter;
use super::ndjson::{LogLabel, NdjsonEncoder};
use super::stream_encoder::StreamEncoder;
use crate::contract::Encoding;
use crate::contract::datagrams::GapBody;
use crate::contract::datagrams::ItemKind;
use crate::control::ResourceKind;
use crate::store::{Cursor, Page};

/// Writes logs, one after the other, in the same form as responses of the API.
///
/// If there may be several logs, each names its owner: NDJSON lines in leading fields, captures in the descriptions of
/// their interfaces.
pub struct ExportWriter {
    form: Kept,
    filter: Filter,
    several: bool,
    items: ItemKind,
}

enum Kept {
    Lines(NdjsonEncoder),
    Capture(CaptureEncoder),
}

impl ExportWriter {
    /// `application/x-ndjson`. `several`: there may be more than one log.
    pub fn lines(several: bool, filter: Filter) -> Self {
        Self::of(Kept::Lines(NdjsonEncoder::new(Encoding::Auto)), several, filter)
    }

    /// `application/x-pcapng`.
    pub fn capture(several: bool, filter: Filter) -> Self {
        Self::of(Kept::Capture(CaptureEncoder::default()), several, filter)
    }

    fn of(form: Kept, several: bool, filter: Filter) -> Self {
        Self { form, filter, several, items: ItemKind::Datagrams }
    }

    /// Call it once, before all else.
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        self.form().begin(out, None);
    }

    /// The following pages are from this log.
    pub fn start_log(&mut self, kind: ResourceKind, id: &str) {
        self.items = ItemKind::of(kind);
        if self.several {
            match &mut self.form {
                Kept::Lines(lines) => lines.owner = Some(LogLabel { kind: kind.name(), id: id.to_owned() }),
                Kept::Capture(capture) => capture.describe(&format!("{kind} {id}")),
            }
        }
    }

    /// Appends the page's gap, and its datagrams that pass the filter.
    pub fn page(&mut self, out: &mut Vec<u8>, page: &Page) {
        let (filter, items) = (self.filter, self.items);
        let form = self.form();
        if let Some(gap) = page.gap {
            form.gap(out, page.next, &GapBody::from(gap));
        }
        for entry in page.entries().filter(|entry| filter.wants(entry)) {
            form.datagram(out, items, Cursor { sequence: entry.sequence, ..page.next }, &entry);
        }
    }

    fn form(&mut self) -> &mut dyn StreamEncoder {
        match &mut self.form {
            Kept::Lines(lines) => lines,
            Kept::Capture(capture) => capture,
        }
    }
}
