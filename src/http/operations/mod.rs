//! Resources for operators: health, metrics, traces, the configuration in force, the log filter.

pub(super) mod configuration;
mod connection_counts;
mod exposition;
pub(super) mod health;
mod http_metrics;
mod limit_metrics;
pub(super) mod metrics;
mod process;
pub(super) mod spans;
mod streams;

pub use configuration::AdminState;
pub use connection_counts::{CloseCause, ConnectionCounts};
pub(super) use http_metrics::HttpMetrics;
pub(super) use streams::{Streamed, Streams};
