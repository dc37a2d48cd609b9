//! The formats of logged datagrams: JSON pages, NDJSON, server-sent events and capture files.
//!
//! It knows neither HTTP nor connections: `http` streams what the encoders append to a chunk, `export` writes it to a
//! file.

mod capture;
mod export_writer;
mod filter;
mod ndjson;
mod page;
pub mod sse;
mod stream_encoder;

pub use capture::CaptureEncoder;
pub use export_writer::ExportWriter;
pub use filter::{Filter, SourceRange};
pub use ndjson::NdjsonEncoder;
pub use page::{PageBuilder, response_page};
pub use stream_encoder::{EndReason, StreamEncoder};
