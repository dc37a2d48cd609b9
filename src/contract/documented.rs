//! Bodies that are not JSON, as the API document shows them.

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

/// Server-sent events.
pub enum EventStream {}

/// NDJSON.
pub enum Lines {}

/// A pcapng file.
pub enum Capture {}

/// A payload that was received.
pub enum RawBytes {}

/// A payload to send.
pub enum RawPayload {}

impl ToSchema for EventStream {}
impl ToSchema for Lines {}
impl ToSchema for Capture {}
impl ToSchema for RawBytes {}
impl ToSchema for RawPayload {}

impl PartialSchema for EventStream {
    fn schema() -> RefOr<Schema> {
        let description = "Server-sent events. `id` is a cursor: what to send as `Last-Event-ID`, or to pass as \
            `after`, to go on behind the event. `data` is JSON: the same as in pages; of a `gap`, what is \
            missing; of `closed`, the last, `{\"reason\": \"deleted\"}`, `complete` (nothing can come any \
            more) or `stopping`. A comment every 15 s of silence.";
        let example = "event: datagram\nid: 1d60f7e7ade273a1-1\ndata: {\"seq\":1}\n\n";
        text(description).examples([example]).into()
    }
}

impl PartialSchema for Lines {
    fn schema() -> RefOr<Schema> {
        let description = "A JSON object a line: datagrams as in pages, `{\"gap\": {…}}` where something is missing \
            and, when following, `{\"closed\": {\"reason\": …}}` at the end.";
        text(description).examples(["{\"seq\":1}\n{\"seq\":2}\n"]).into()
    }
}

impl PartialSchema for Capture {
    fn schema() -> RefOr<Schema> {
        let description = "A pcapng file that Wireshark opens. IP and UDP headers are made anew; comments have `seq` \
            and more. One that is followed just ends when the log does.";
        binary(description).into()
    }
}

impl PartialSchema for RawBytes {
    fn schema() -> RefOr<Schema> {
        binary("The payload itself: any bytes, or none.").examples(["very important data"]).into()
    }
}

impl PartialSchema for RawPayload {
    fn schema() -> RefOr<Schema> {
        binary("The payload itself: any bytes, or none.").into()
    }
}

fn text(description: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).description(Some(description))
}

fn binary(description: &str) -> ObjectBuilder {
    text(description).format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary)))
}
