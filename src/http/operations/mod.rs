//! Resources for operators: health, metrics, traces, the configuration in force, the log filter.

mod configuration;
mod exposition;
mod health;
mod http_metrics;
mod log_filter;
mod metrics;
mod process;
pub(super) mod spans;
mod streams;

use std::sync::{Arc, Mutex};

use utoipa_axum::router::OpenApiRouter;

use crate::control::Control;
use crate::logging::LogFilter;
use crate::sync::Lock;
use crate::traces::Traces;

pub use configuration::{
    Configuration, ConfigurationProblem, Setting, SettingSource, SettingValue, TokenName,
};
pub(super) use health::Check;
pub(super) use http_metrics::HttpMetrics;
pub(super) use streams::{Streamed, Streams};

/// The state of the running service that operators see; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct AdminState {
    /// Std lock: held to copy or to replace the configuration.
    configuration: Arc<Mutex<Configuration>>,
    log_filter: LogFilter,
}

impl AdminState {
    pub fn new(log_filter: LogFilter) -> Self {
        Self { log_filter, ..Self::default() }
    }

    pub fn log_filter(&self) -> &LogFilter {
        &self.log_filter
    }

    pub fn configuration(&self) -> Configuration {
        self.configuration.lock_shared().clone()
    }

    /// Shows this configuration from now on.
    pub fn show(&self, configuration: Configuration) {
        *self.configuration.lock_shared() = configuration;
    }
}

pub(super) fn routes(
    operations: AdminState,
    traffic: &Arc<HttpMetrics>,
    streams: &Arc<Streams>,
    traces: &Traces,
) -> OpenApiRouter<Control> {
    health::routes(&operations)
        .merge(metrics::routes(traffic, streams, &operations, traces))
        .merge(configuration::routes(operations.clone()))
        .merge(log_filter::routes(operations))
}
