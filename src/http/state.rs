//! The state of handlers.

use std::ops::Deref;
use std::sync::Arc;

use axum::extract::FromRef;

use super::operations::{AdminState, ConnectionCounts, HttpMetrics, Streams};
use super::request_bytes::RequestBytes;
use crate::control::Control;
use crate::traces::Traces;

/// The parts that handlers extract; cheap to clone.
#[derive(Clone)]
pub(super) struct AppState(Arc<AppParts>);

pub(super) struct AppParts {
    pub(super) control: Control,
    pub(super) admin: AdminState,
    pub(super) metrics: Arc<HttpMetrics>,
    pub(super) streams: Arc<Streams>,
    pub(super) connection_counts: Arc<ConnectionCounts>,
    pub(super) request_bytes: Arc<RequestBytes>,
    pub(super) traces: Traces,
}

impl AppState {
    pub(super) fn new(parts: AppParts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Deref for AppState {
    type Target = AppParts;

    fn deref(&self) -> &AppParts {
        &self.0
    }
}

impl FromRef<AppState> for Control {
    fn from_ref(state: &AppState) -> Self {
        state.0.control.clone()
    }
}

impl FromRef<AppState> for AdminState {
    fn from_ref(state: &AppState) -> Self {
        state.0.admin.clone()
    }
}

impl FromRef<AppState> for Arc<RequestBytes> {
    fn from_ref(state: &AppState) -> Self {
        state.0.request_bytes.clone()
    }
}

impl FromRef<AppState> for Traces {
    fn from_ref(state: &AppState) -> Self {
        state.0.traces.clone()
    }
}
