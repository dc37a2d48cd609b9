//! Spans of work under way, and the traces that they belong to.

use std::borrow::Cow;
use std::sync::Arc;

use hyper::HeaderMap;
use opentelemetry::context::FutureExt as _;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{SpanBuilder, SpanKind, Status, TraceContextExt as _, TraceId, Tracer as _};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracer;

use super::queue::{SpanCounters, SpanCounts};

/// Begins traces, or continues those of callers; cheap to clone. By default it does neither.
#[derive(Clone, Default)]
pub struct Traces(Option<Arc<Tracing>>);

struct Tracing {
    /// Holds the tracer, and no span.
    root: Context,
    counters: Arc<SpanCounters>,
}

/// Work under way; it ends when this is dropped.
pub struct Span(Context);

impl Traces {
    pub(super) fn new(tracer: SdkTracer, counters: Arc<SpanCounters>) -> Self {
        Self(Some(Arc::new(Tracing { root: Context::new().with_value(tracer), counters })))
    }

    pub fn are_off(&self) -> bool {
        self.0.is_none()
    }

    /// A span for a request with these headers, in the trace that they name (`traceparent`, W3C Trace Context), else in
    /// a new one. None if it would not be recorded: traces are off, or the caller has decided against this one.
    pub fn serve(&self, headers: &HeaderMap, describe: impl FnOnce() -> Description) -> Option<Span> {
        let tracing = self.0.as_ref()?;
        let parent = TraceContextPropagator::new().extract_with_context(&tracing.root, &Headers(headers));
        Span::begin(&parent, SpanKind::Server, describe())
    }

    /// How many spans were exported and dropped; none if traces are off.
    pub fn counts(&self) -> Option<SpanCounts> {
        self.0.as_ref().map(|tracing| tracing.counters.counts())
    }
}

/// The name and the attributes of a span.
pub struct Description {
    /// One of few values: the details of a span are in its attributes.
    pub name: Cow<'static, str>,
    pub attributes: Vec<KeyValue>,
}

impl Span {
    /// A span for a part of the running task's work; none if that task is not traced.
    pub fn child(describe: impl FnOnce() -> Description) -> Option<Self> {
        Context::map_current(|current| {
            current.has_active_span().then(|| Self::begin(current, SpanKind::Internal, describe()))
        })?
    }

    fn begin(parent: &Context, kind: SpanKind, description: Description) -> Option<Self> {
        let tracer = parent.get::<SdkTracer>()?;
        let builder =
            SpanBuilder::from_name(description.name).with_kind(kind).with_attributes(description.attributes);
        let context = parent.with_span(tracer.build_with_context(builder, parent));
        context.span().is_recording().then_some(Self(context))
    }

    /// The same future, with its work as a part of this span.
    pub fn around<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        work.with_context(self.0.clone())
    }

    pub fn trace_id(&self) -> TraceId {
        self.0.span().span_context().trace_id()
    }

    pub fn set(&self, key: &'static str, value: impl Into<Value>) {
        self.0.span().set_attribute(KeyValue::new(key, value));
    }

    /// Marks the work as failed; `why` may be empty if attributes say it.
    pub fn fail(&self, why: impl Into<Cow<'static, str>>) {
        self.0.span().set_status(Status::error(why));
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        self.0.span().end();
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(hyper::header::HeaderName::as_str).collect()
    }
}
