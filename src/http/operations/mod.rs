//! Resources for operators: health, metrics, traces, the configuration in force, the log filter.

mod admin_state;
pub(super) mod configuration;
mod exposition;
pub(super) mod health;
mod http_metrics;
mod limit_metrics;
pub(super) mod log_filter;
pub(super) mod metrics;
mod process;
pub(super) mod spans;
mod streams;

pub use admin_state::AdminState;
pub(super) use http_metrics::HttpMetrics;
pub(super) use streams::{Streamed, Streams};
