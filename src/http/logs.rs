//! The handlers of logs, which resources of all kinds share.

use axum::extract::State;
use axum::response::Response;

use super::extract::PathId;
use super::problem::Problem;
use super::reading::{DatagramPath, LogOwner, Reading};
use super::resource::Resource;
use crate::control::Control;

/// Responds with the log in the requested format.
pub(super) async fn read<T: Resource>(
    State(control): State<Control>,
    PathId(id): PathId,
    reading: Reading,
) -> Result<Response, Problem> {
    reading.answer(LogOwner::find(&control, T::KIND, &id)?, &control).await
}

/// Responds with the payload of one datagram.
pub(super) async fn payload<T: Resource>(
    State(control): State<Control>,
    path: DatagramPath,
) -> Result<Response, Problem> {
    path.payload(&LogOwner::find(&control, T::KIND, &path.id)?).await
}
