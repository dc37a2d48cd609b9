//! The log filter as clients see it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::logging::LogFilter;

/// What is to be logged.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"filter": "info,rollcall::net=debug"})))]
pub struct LogFilterBody {
    /// `error`, `warn`, `info`, `debug` or `trace`, for all or per module, the closest wins:
    /// `info,rollcall::net=debug`.
    #[schema(min_length = 1, max_length = 4096)]
    pub filter: String,
}

/// What is logged.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({"filter": "info,rollcall::net=debug", "configured": "info"})))]
pub struct LogFilterView {
    filter: String,
    /// What `--log` says: in force again after SIGHUP.
    configured: String,
}

impl From<&LogFilter> for LogFilterView {
    fn from(filter: &LogFilter) -> Self {
        Self { filter: filter.current(), configured: filter.configured() }
    }
}
