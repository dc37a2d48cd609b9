//! The state of the running service that operators see and change.

use std::sync::{Arc, Mutex};

use crate::contract::configuration::Configuration;
use crate::logging::LogFilter;
use crate::sync::Lock;

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
