//! The log filter as clients see it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::logging::LogFilter;

/// A new log filter.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"filter": "info,rollcall::net=debug"})))]
pub struct LogFilterBody {
    /// `error`, `warn`, `info`, `debug` or `trace`, for all modules or per module; the most specific one applies:
    /// `info,rollcall::net=debug`.
    #[schema(min_length = 1, max_length = 4096)]
    pub filter: String,
}

/// The log filter in force.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({"filter": "info,rollcall::net=debug", "configured": "info"})))]
pub struct LogFilterView {
    filter: String,
    /// The filter of `--log`, which SIGHUP restores.
    configured: String,
}

impl From<&LogFilter> for LogFilterView {
    fn from(filter: &LogFilter) -> Self {
        Self { filter: filter.current(), configured: filter.configured() }
    }
}
