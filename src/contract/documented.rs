//! Bodies that are not JSON, as the API document shows them.

use std::borrow::Cow;

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

/// Server-sent events.
pub enum EventStream {}

/// NDJSON.
pub enum Lines {}

/// A pcapng file.
pub enum Capture {}

/// A payload, received or to send.
pub enum RawPayload {}

impl ToSchema for EventStream {}
impl ToSchema for Lines {
    fn name() -> Cow<'static, str> {
        "LogLines".into()
    }
}
impl ToSchema for Capture {
    fn name() -> Cow<'static, str> {
        "LogCapture".into()
    }
}
impl ToSchema for RawPayload {}

impl PartialSchema for EventStream {
    fn schema() -> RefOr<Schema> {
        let description = "Server-sent events. `id` is the cursor after the event: to resume there, send it as `Last-Event-ID` or pass it as \
            `after`. `data` is JSON: an item as in pages; for `gap`, a gap; for `closed`, the last event, \
            `{\"reason\": \"deleted\"}`, `complete` (no more items can follow), `stopping`, or `unauthorized` (the token \
            was revoked, lost its scope, or has expired). After 15 s without \
            an event, the service sends a comment.";
        let example = "event: datagram\nid: 1d60f7e7ade273a1-1\ndata: {\"seq\":1}\n\n";
        text(description).examples([example]).into()
    }
}

impl PartialSchema for Lines {
    fn schema() -> RefOr<Schema> {
        let description = "One JSON object per line: datagrams as in pages, `{\"gap\": {…}}` where datagrams are missing \
            and, with `follow`, `{\"closed\": {\"reason\": …}}` at the end.";
        text(description).examples(["{\"seq\":1}\n{\"seq\":2}\n"]).into()
    }
}

impl PartialSchema for Capture {
    fn schema() -> RefOr<Schema> {
        let description = "A pcapng file for Wireshark. Its IP and UDP headers are reconstructed; packet comments contain `seq` \
            and more. With `follow`, the file simply ends when the log does.";
        binary(description).into()
    }
}

impl PartialSchema for RawPayload {
    fn schema() -> RefOr<Schema> {
        binary("A payload: any bytes, or none.").examples(["very important data"]).into()
    }
}

fn text(description: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).description(Some(description))
}

fn binary(description: &str) -> ObjectBuilder {
    text(description).format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary)))
}
