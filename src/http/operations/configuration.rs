//! The routes of the configuration and of the log filter, which can be changed while the service runs.

use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use crate::contract::configuration::{Configuration, LogFilterBody, LogFilterView};
use crate::contract::{FieldError, FieldErrors, LogFilterPatch, Parsed};
use crate::http::conditions::{IfMatch, IfNoneMatch, IfNoneMatchOfGet, Text, TextCondition};
use crate::http::extract::{Json, NoQuery, Patch};
use crate::http::problem::Problem;
use crate::logging::{FilterError, LogFilter};
use crate::sync::Lock;

/// Show the configuration
///
/// Each value in force with its source: a default, the file, the environment or a flag. With If-None-Match, 304 if it is
/// still the same.
#[utoipa::path(get, path = "/v1/config", tag = "service", operation_id = "get_config",
    params(IfMatch, IfNoneMatchOfGet),
    responses(
        (status = 200, description = "The configuration", body = Configuration,
            headers(("etag" = String, description = "The tag of the body"))),
        (status = 304, description = "The client has it"),
        Problem,
    ))]
pub(in crate::http) async fn show(
    State(admin): State<AdminState>,
    _: NoQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    Text::json(&admin.configuration()).respond(&headers)
}

/// Show the log filter
///
/// With If-None-Match, 304 if it is still the same.
#[utoipa::path(get, path = "/v1/log-filter", tag = "service", operation_id = "get_log_filter",
    params(IfMatch, IfNoneMatchOfGet),
    responses(
        (status = 200, description = "The filter", body = LogFilterView,
            headers(("etag" = String, description = "The tag of the body, also for If-Match"))),
        (status = 304, description = "The client has it"),
        Problem,
    ))]
pub(in crate::http) async fn show_log_filter(
    State(admin): State<AdminState>,
    _: NoQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    log_filter(&admin).respond(&headers)
}

/// Set the log filter
///
/// The filter takes effect immediately, until the next change, a restart or SIGHUP.
#[utoipa::path(put, path = "/v1/log-filter", tag = "service", operation_id = "put_log_filter",
    params(IfMatch, IfNoneMatch),
    request_body = LogFilterBody,
    responses(
        (status = 200, description = "The filter", body = LogFilterView,
            headers(("etag" = String, description = "The tag of the body, for If-Match"))),
        Problem,
    ))]
pub(in crate::http) async fn put_log_filter(
    State(admin): State<AdminState>,
    condition: TextCondition,
    Json(body, errors, misplaced): Json<LogFilterBody>,
) -> Result<Response, Problem> {
    let body = misplaced.with(read(body, errors))?;
    set_log_filter(&admin, &body, |current| condition.check(current).map(|()| true))?;
    log_filter(&admin).respond(&HeaderMap::new())
}

/// Change the log filter
///
/// As PUT, with a JSON merge patch (RFC 7396).
#[utoipa::path(patch, path = "/v1/log-filter", tag = "service", operation_id = "patch_log_filter",
    params(IfMatch, IfNoneMatch),
    request_body(content((LogFilterPatch = "application/merge-patch+json"), (LogFilterPatch = "application/json"))),
    responses(
        (status = 200, description = "The filter", body = LogFilterView,
            headers(("etag" = String, description = "The tag of the body, for If-Match"))),
        Problem,
    ))]
pub(in crate::http) async fn patch_log_filter(
    State(admin): State<AdminState>,
    condition: TextCondition,
    Patch(patch, misplaced, _): Patch<LogFilterPatch>,
) -> Result<Response, Problem> {
    loop {
        let filter = admin.log_filter();
        let view = LogFilterView::new(&filter.current(), &filter.configured());
        let (body, errors): Parsed<LogFilterBody> = misplaced.with_parsed(patch.apply(&view))?;
        let body = misplaced.with(read(body, errors))?;
        let patched = Text::json(&view);
        // Another request may be faster: the patch is applied to what that one has made.
        if set_log_filter(&admin, &body, |current| condition.check(current).map(|()| *current == patched))? {
            return log_filter(&admin).respond(&HeaderMap::new());
        }
    }
}

fn log_filter(admin: &AdminState) -> Text {
    let filter = admin.log_filter();
    Text::json(&LogFilterView::new(&filter.current(), &filter.configured()))
}

/// The body, if its filter can be set.
fn read(body: LogFilterBody, mut errors: FieldErrors) -> Result<LogFilterBody, Vec<FieldError>> {
    if let Err(error) = LogFilter::check(&body.filter) {
        errors.push(wrong_filter(&body, &error));
    }
    errors.finish(Ok(body))
}

fn wrong_filter(body: &LogFilterBody, error: &FilterError) -> FieldError {
    let given = serde_json::Value::from(&*body.filter);
    let detail = match error {
        FilterError::Syntax { reason, .. } => format!(
            "`filter` is {given}: use error, warn, info, debug or trace, or per module as in `info,rollcall::net=debug` ({reason})"
        ),
        FilterError::Length => error.to_string(),
    };
    FieldError::new("/filter", detail)
}

/// Sets the filter if `check` accepts the current one; no other request changes it in between. Returns whether it did.
fn set_log_filter(
    admin: &AdminState,
    body: &LogFilterBody,
    check: impl FnOnce(&Text) -> Result<bool, Problem>,
) -> Result<bool, Problem> {
    let mut checked = Ok(true);
    let set = admin.log_filter().set_if(&body.filter, |current, configured| {
        checked = check(&Text::json(&LogFilterView::new(current, configured)));
        matches!(checked, Ok(true))
    });
    set.map_err(|error| Problem::of_fields(vec![wrong_filter(body, &error)]))?;
    checked
}

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
