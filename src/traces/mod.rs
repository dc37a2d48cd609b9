//! Traces: spans of the service's work, sent to a collector by OTLP; off unless there is an [`Endpoint`].
//!
//! A span travels with the future that works for it ([`Span::around`]), and code that does a part of that work finds it
//! there ([`Span::child`]): nothing in between passes it on. If nothing is traced, that costs a read of a thread-local
//! variable. These are not the spans of the crate `tracing`: log filters do not decide what is traced.
//!
//! Tasks: one [`Exporter`], while the service runs.

mod endpoint;
mod exporter;
mod queue;
mod span;

pub use endpoint::{Endpoint, EndpointError};
pub use exporter::Exporter;
pub use opentelemetry::KeyValue;
pub use queue::SpanCounts;
pub use span::{Description, Span, Traces};
