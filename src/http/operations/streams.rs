//! Counts of open streams, by content and format.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use axum::response::Response;

use crate::contract::Format;
use crate::control::ResourceKind;
use crate::http::guarded_body::GuardedBody;
use crate::traces::Span;

/// The content of a stream. The handler puts it into the response's extensions.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) struct Streamed {
    /// The kind of the log's owner; none for events.
    pub(in crate::http) kind: Option<ResourceKind>,
    pub(in crate::http) format: Format,
}

/// The open streams.
#[derive(Debug, Default)]
pub(in crate::http) struct Streams([[AtomicU64; FORMATS.len()]; SHOWN.len()]);

const SHOWN: [(Option<ResourceKind>, &str); 4] = [
    (Some(ResourceKind::Membership), "membership"),
    (Some(ResourceKind::Responder), "responder"),
    (Some(ResourceKind::Message), "message"),
    (None, "event"),
];
const FORMATS: [Format; 3] = [Format::Sse, Format::Ndjson, Format::Pcapng];

impl Streams {
    /// If the response is a stream, counts it until its body is dropped; its span lasts as long.
    pub(in crate::http) fn count(self: &Arc<Self>, response: &mut Response, span: Option<Span>) {
        let Some(streamed) = response.extensions_mut().remove::<Streamed>() else { return };
        self.of(streamed).fetch_add(1, Ordering::Relaxed);
        let body = std::mem::take(response.body_mut());
        *response.body_mut() =
            Body::new(GuardedBody::new(body, OpenStream { streams: self.clone(), streamed, _span: span }));
    }

    /// Content, format and count of open streams. Events have only one format.
    pub(in crate::http) fn report(&self) -> Vec<(&'static str, &'static str, u64)> {
        let all = SHOWN.iter().flat_map(|shown| FORMATS.map(|format| (*shown, format)));
        let had = all.filter(|((kind, _), format)| kind.is_some() || *format == Format::Sse);
        had.map(|((kind, shown), format)| {
            let open = self.of(Streamed { kind, format }).load(Ordering::Relaxed);
            (shown, format.name(), open)
        })
        .collect()
    }

    fn of(&self, streamed: Streamed) -> &AtomicU64 {
        let shown = SHOWN.iter().position(|(kind, _)| *kind == streamed.kind);
        let format = FORMATS.iter().position(|format| *format == streamed.format);
        &self.0[shown.expect("all are there")][format.expect("JSON is not a stream")]
    }
}

/// Counts a stream as open until it is dropped.
struct OpenStream {
    streams: Arc<Streams>,
    streamed: Streamed,
    _span: Option<Span>,
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.streams.of(self.streamed).fetch_sub(1, Ordering::Relaxed);
    }
}
