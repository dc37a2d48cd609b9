//! The state of handlers.

use std::sync::Arc;

use axum::extract::FromRef;

use super::operations::{AdminState, HttpMetrics, Streams};
use crate::control::Control;
use crate::traces::Traces;

/// The parts that handlers extract; cheap to clone.
#[derive(Clone)]
pub(super) struct AppState(Arc<Parts>);

struct Parts {
    control: Control,
    admin: AdminState,
    metrics: Arc<HttpMetrics>,
    streams: Arc<Streams>,
    traces: Traces,
}

impl AppState {
    pub(super) fn new(
        control: Control,
        admin: AdminState,
        metrics: Arc<HttpMetrics>,
        streams: Arc<Streams>,
        traces: Traces,
    ) -> Self {
        Self(Arc::new(Parts { control, admin, metrics, streams, traces }))
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

impl FromRef<AppState> for Arc<HttpMetrics> {
    fn from_ref(state: &AppState) -> Self {
        state.0.metrics.clone()
    }
}

impl FromRef<AppState> for Arc<Streams> {
    fn from_ref(state: &AppState) -> Self {
        state.0.streams.clone()
    }
}

impl FromRef<AppState> for Traces {
    fn from_ref(state: &AppState) -> Self {
        state.0.traces.clone()
    }
}
