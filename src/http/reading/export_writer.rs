//! Logs that are read without a service, in the same forms.

use super::datagram::GapBody;
use super::filter::Filter;
use super::ndjson::{LogLabel, NdjsonEncoder};
use super::pcapng::CaptureEncoder;
use super::source::Items;
use super::stream::StreamEncoder;
use crate::control::ResourceKind;
use crate::http::fields::Encoding;
use crate::store::{Cursor, Page};

/// Writes logs down, one after the other, by appending to a chunk what the API answers with.
///
/// Where there may be several, each says whose it is: lines by fields in front, captures by the descriptions of
/// their interfaces.
pub struct ExportWriter {
    form: Kept,
    filter: Filter,
    several: bool,
    items: Items,
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
        Self { form, filter, several, items: Items::Datagrams }
    }

    /// To be called once, before all else.
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        self.form().begin(out, None);
    }

    /// What follows is of this log.
    pub fn start_log(&mut self, kind: ResourceKind, id: &str) {
        self.items = Items::of(kind);
        if self.several {
            match &mut self.form {
                Kept::Lines(lines) => lines.owner = Some(LogLabel { kind: kind.name(), id: id.to_owned() }),
                Kept::Capture(capture) => capture.describe(&format!("{kind} {id}")),
            }
        }
    }

    /// Appends of a page what passes the filter, and what is missing before it.
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
