//! The routes of memberships.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::conditions::{Conditions, IfMatch, IfNoneMatch, ListConditions, NewConditions, ReadCondition};
use super::deletion;
use super::extract::{Json, NoQuery, OptionalJson, Patch, PathId, Query};
use super::joins;
use super::json::JsonResponse;
use super::problem::Problem;
use super::reading::{DatagramPath, LastEventId, Reading};
use super::resource::{DatagramParams, IdParam, Resource};
use super::responses::{Created, Joined, LogContent, PayloadContent, Shown};
use crate::contract::datagrams::{Datagram, DatagramPage};
use crate::contract::labels::{Deleted, DeletionParams};
use crate::contract::lists::{JoinListParams, List};
use crate::contract::memberships::Membership;
use crate::contract::{MembershipBody, MembershipPatch, ReadQuery, RenewBody};
use crate::control::Control;

/// Join a group
///
/// Each membership is independent: if one leaves the group, the others still receive. The membership's log stores its
/// datagrams. A request with `If-Match` gets 412, because what it creates does not exist before.
#[utoipa::path(post, path = "/v1/memberships", tag = "memberships", operation_id = "create_membership",
    request_body = MembershipBody, responses(Created<Membership>, Problem))]
pub(super) async fn create(
    control: State<Control>,
    conditions: NewConditions,
    body: Json<MembershipBody>,
) -> Result<Response, Problem> {
    joins::create::<Membership>(control, conditions, body).await
}

/// Create, change or renew a membership under a client's id
///
/// Idempotent. Sources and interfaces change in place, and the log stays; a new group starts a new log. The request
/// renews the lease; without `expires_in_ms`, it removes the lease. With `If-None-Match: *`, the request only creates. The
/// body can be what GET gives: the members that only the view has, such as `state`, are ignored.
#[utoipa::path(put, path = "/v1/memberships/{id}", tag = "memberships", operation_id = "put_membership",
    params(IdParam<Membership>, IfMatch, IfNoneMatch),
    request_body = MembershipBody, responses(Joined<Membership>, Problem))]
pub(super) async fn put(
    control: State<Control>,
    id: PathId,
    conditions: Conditions,
    body: Json<MembershipBody>,
) -> Result<Response, Problem> {
    joins::put::<Membership>(control, id, conditions, body).await
}

/// Change some members of a membership
///
/// The JSON merge patch (RFC 7396) is applied to the membership as GET gives it, and the result is accepted or refused like
/// the body of a PUT. The lease stays as it is, unless `expires_in_ms` is in the patch.
#[utoipa::path(patch, path = "/v1/memberships/{id}", tag = "memberships", operation_id = "patch_membership",
    params(IdParam<Membership>, IfMatch, IfNoneMatch),
    request_body(content((MembershipPatch = "application/merge-patch+json"), (MembershipPatch = "application/json"))),
    responses(Shown<Membership>, Problem))]
pub(super) async fn patch(
    control: State<Control>,
    id: PathId,
    conditions: Conditions,
    patch: Patch<MembershipPatch>,
) -> Result<Response, Problem> {
    joins::patch::<Membership>(control, id, conditions, patch).await
}

/// Renew the lease of a membership
///
/// The lease starts again. Without a body, or without `expires_in_ms`, it is as long as before; a membership without a lease
/// needs `expires_in_ms`, else the service responds with 409.
#[utoipa::path(post, path = "/v1/memberships/{id}/renew", tag = "memberships", operation_id = "renew_membership",
    params(IdParam<Membership>, IfMatch),
    request_body(content = Option<RenewBody>), responses(Shown<Membership>, Problem))]
pub(super) async fn renew(
    control: State<Control>,
    id: PathId,
    conditions: Conditions,
    body: OptionalJson<RenewBody>,
) -> Result<Response, Problem> {
    joins::renew::<Membership>(control, id, conditions, body).await
}

type MembershipList = List<Membership>;

/// List memberships
#[utoipa::path(get, path = "/v1/memberships", tag = "memberships", operation_id = "list_memberships",
    params(JoinListParams),
    responses((status = 200, description = "A page of the list", body = MembershipList), Problem))]
pub(super) async fn list(
    control: State<Control>,
    params: Query<JoinListParams>,
) -> Result<JsonResponse<MembershipList>, Problem> {
    joins::list(control, params).await
}

/// Delete memberships by their labels
///
/// The service deletes those whose labels match the selector, each as if by its id, and responds once all are deleted. A
/// list has no `etag`: a request with If-Match for one gets 412.
#[utoipa::path(delete, path = "/v1/memberships", tag = "memberships", operation_id = "delete_memberships",
    params(DeletionParams),
    responses((status = 200, description = "How many were deleted", body = Deleted), Problem))]
pub(super) async fn delete_selected(
    control: State<Control>,
    conditions: ListConditions,
    params: Query<DeletionParams>,
) -> Result<JsonResponse<Deleted>, Problem> {
    deletion::delete_selected::<Membership>(control, conditions, params).await
}

/// Show a membership
///
/// `etag` is the tag of the specification, for If-Match: counters and states change all the time. So the response has
/// `cache-control: no-store`, and is never 304.
#[utoipa::path(get, path = "/v1/memberships/{id}", tag = "memberships", operation_id = "get_membership",
    params(IdParam<Membership>, IfMatch),
    responses(Shown<Membership>, Problem))]
pub(super) async fn show(
    control: State<Control>,
    id: PathId,
    _: NoQuery,
    condition: ReadCondition,
) -> Result<Response, Problem> {
    joins::show::<Membership>(control, id, condition)
}

/// Delete a membership
///
/// The service leaves the group and deletes the log. It responds once the sockets are closed.
#[utoipa::path(delete, path = "/v1/memberships/{id}", tag = "memberships", operation_id = "delete_membership",
    params(IdParam<Membership>, IfMatch), responses((status = 204, description = "Left and deleted"), Problem))]
pub(super) async fn leave(
    control: State<Control>,
    id: PathId,
    _: NoQuery,
    conditions: Conditions,
) -> Result<StatusCode, Problem> {
    joins::leave::<Membership>(control, id, conditions).await
}

/// Read the datagrams of a membership
///
/// `Accept` or `format` selects the form: a JSON page, server-sent events, NDJSON or a pcapng capture file.
#[utoipa::path(get, path = "/v1/memberships/{id}/datagrams", tag = "memberships", operation_id = "read_membership_datagrams",
    params(IdParam<Membership>, ReadQuery, LastEventId),
    responses(LogContent<DatagramPage<Datagram>>, Problem))]
pub(super) async fn datagrams(
    State(control): State<Control>,
    PathId(id): PathId,
    reading: Reading,
) -> Result<Response, Problem> {
    reading.respond(&control, Membership::KIND, &id).await
}

/// Read the payload of one datagram
///
/// The unchanged payload, without any encoding.
#[utoipa::path(get, path = "/v1/memberships/{id}/datagrams/{seq}/payload", tag = "memberships", operation_id = "read_membership_datagram_payload",
    params(DatagramParams<Membership>), responses(PayloadContent, Problem))]
pub(super) async fn payload(
    State(control): State<Control>,
    path: DatagramPath,
    _: NoQuery,
) -> Result<Response, Problem> {
    path.payload(&control, Membership::KIND).await
}
