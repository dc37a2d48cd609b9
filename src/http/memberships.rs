//! The routes of memberships.

use axum::Json as JsonAnswer;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::extract::{Json, PathId, Query};
use super::parameters::{DatagramParams, IdParam, IfNoneMatch, LastEventId};
use super::problem::Problem;
use super::reading::{DatagramPath, Reading};
use super::responses::{Created, Joined, LogContent, PayloadContent};
use super::{joins, logs};
use crate::contract::datagrams::{Datagram, DatagramPage};
use crate::contract::lists::{JoinListParams, List};
use crate::contract::memberships::Membership;
use crate::contract::{MembershipBody, ReadQuery};
use crate::control::Control;

/// Join a group
///
/// Everybody who joins has a membership of his own: one leaving never cuts off another. What it hears is
/// kept in its log.
#[utoipa::path(post, path = "/v1/memberships", tag = "memberships", operation_id = "join",
    request_body = MembershipBody, responses(Created<Membership>, Problem))]
pub(super) async fn create(control: State<Control>, body: Json<MembershipBody>) -> Result<Response, Problem> {
    joins::create::<Membership>(control, body).await
}

/// Join under an id of your own, change, or renew
///
/// Idempotent. Sources and interfaces change in place and the log stays; another group starts a new log. The
/// lease starts anew; without `expires_in_ms` there is none from now on. With `If-None-Match: *` it only
/// creates.
#[utoipa::path(put, path = "/v1/memberships/{id}", tag = "memberships", operation_id = "put_membership",
    params(IdParam<Membership>, IfNoneMatch),
    request_body = MembershipBody, responses(Joined<Membership>, Problem))]
pub(super) async fn put(
    control: State<Control>,
    id: PathId,
    headers: HeaderMap,
    body: Json<MembershipBody>,
) -> Result<Response, Problem> {
    joins::put::<Membership>(control, id, headers, body).await
}

type MembershipList = List<Membership>;

/// List memberships
#[utoipa::path(get, path = "/v1/memberships", tag = "memberships", operation_id = "list_memberships",
    params(JoinListParams),
    responses((status = 200, description = "A part of the list", body = MembershipList), Problem))]
pub(super) async fn list(
    control: State<Control>,
    params: Query<JoinListParams>,
) -> Result<JsonAnswer<MembershipList>, Problem> {
    joins::list(control, params)
}

/// Show a membership
#[utoipa::path(get, path = "/v1/memberships/{id}", tag = "memberships", operation_id = "show_membership",
    params(IdParam<Membership>),
    responses((status = 200, description = "The membership", body = Membership), Problem))]
pub(super) async fn show(control: State<Control>, id: PathId) -> Result<JsonAnswer<Membership>, Problem> {
    joins::show(control, id)
}

/// Leave
///
/// Answered once the sockets are closed. The log is gone.
#[utoipa::path(delete, path = "/v1/memberships/{id}", tag = "memberships", operation_id = "leave",
    params(IdParam<Membership>), responses((status = 204, description = "Left"), Problem))]
pub(super) async fn leave(control: State<Control>, id: PathId) -> Result<StatusCode, Problem> {
    joins::leave::<Membership>(control, id).await
}

/// Read what a membership has heard
///
/// As JSON pages, as events that go on, as lines, or as a capture file: `Accept` or `format` says which.
#[utoipa::path(get, path = "/v1/memberships/{id}/datagrams", tag = "memberships", operation_id = "read_datagrams",
    params(IdParam<Membership>, ReadQuery, LastEventId),
    responses(LogContent<DatagramPage<Datagram>>, Problem))]
pub(super) async fn datagrams(
    control: State<Control>,
    id: PathId,
    reading: Reading,
) -> Result<Response, Problem> {
    logs::read::<Membership>(control, id, reading).await
}

/// Read the payload of one datagram
///
/// As it was, without any form around it.
#[utoipa::path(get, path = "/v1/memberships/{id}/datagrams/{seq}/payload", tag = "memberships", operation_id = "read_payload",
    params(DatagramParams<Membership>), responses(PayloadContent, Problem))]
pub(super) async fn payload(control: State<Control>, path: DatagramPath) -> Result<Response, Problem> {
    logs::payload::<Membership>(control, path).await
}
