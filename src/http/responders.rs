//! The routes of responders.

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
use crate::contract::responders::Responder;
use crate::contract::{ReadQuery, RenewBody, ResponderBody, ResponderPatch};
use crate::control::Control;

/// Create a responder
///
/// A responder joins like a membership, and sends a reply to the source of each datagram, from the group's port. A
/// request with `If-Match` gets 412, because what it creates does not exist before.
#[utoipa::path(post, path = "/v1/responders", tag = "responders", operation_id = "create_responder",
    request_body = ResponderBody, responses(Created<Responder>, Problem))]
pub(super) async fn create(
    control: State<Control>,
    conditions: NewConditions,
    body: Json<ResponderBody>,
) -> Result<Response, Problem> {
    joins::create::<Responder>(control, conditions, body).await
}

/// Create, change or renew a responder under a client's id
///
/// As for memberships; `reply`, `match` and `delay_ms` also change in place. The body can be what GET gives.
#[utoipa::path(put, path = "/v1/responders/{id}", tag = "responders", operation_id = "put_responder",
    params(IdParam<Responder>, IfMatch, IfNoneMatch),
    request_body = ResponderBody, responses(Joined<Responder>, Problem))]
pub(super) async fn put(
    control: State<Control>,
    id: PathId,
    conditions: Conditions,
    body: Json<ResponderBody>,
) -> Result<Response, Problem> {
    joins::put::<Responder>(control, id, conditions, body).await
}

/// Change some members of a responder
///
/// The JSON merge patch (RFC 7396) is applied to the responder as GET gives it, and the result is accepted or refused like
/// the body of a PUT. The lease stays as it is, unless `expires_in_ms` is in the patch.
#[utoipa::path(patch, path = "/v1/responders/{id}", tag = "responders", operation_id = "patch_responder",
    params(IdParam<Responder>, IfMatch, IfNoneMatch),
    request_body(content((ResponderPatch = "application/merge-patch+json"), (ResponderPatch = "application/json"))),
    responses(Shown<Responder>, Problem))]
pub(super) async fn patch(
    control: State<Control>,
    id: PathId,
    conditions: Conditions,
    patch: Patch<ResponderPatch>,
) -> Result<Response, Problem> {
    joins::patch::<Responder>(control, id, conditions, patch).await
}

/// Renew the lease of a responder
///
/// The lease starts again. Without a body, or without `expires_in_ms`, it is as long as before; a responder without a lease
/// needs `expires_in_ms`, else the service responds with 409.
#[utoipa::path(post, path = "/v1/responders/{id}/renew", tag = "responders", operation_id = "renew_responder",
    params(IdParam<Responder>, IfMatch),
    request_body(content = Option<RenewBody>), responses(Shown<Responder>, Problem))]
pub(super) async fn renew(
    control: State<Control>,
    id: PathId,
    conditions: Conditions,
    body: OptionalJson<RenewBody>,
) -> Result<Response, Problem> {
    joins::renew::<Responder>(control, id, conditions, body).await
}

type ResponderList = List<Responder>;

/// List responders
#[utoipa::path(get, path = "/v1/responders", tag = "responders", operation_id = "list_responders",
    params(JoinListParams),
    responses((status = 200, description = "A page of the list", body = ResponderList), Problem))]
pub(super) async fn list(
    control: State<Control>,
    params: Query<JoinListParams>,
) -> Result<JsonResponse<ResponderList>, Problem> {
    joins::list(control, params).await
}

/// Delete responders by their labels
///
/// The service deletes those whose labels match the selector, each as if by its id, and responds once all are deleted. A
/// list has no `etag`: a request with If-Match for one gets 412.
#[utoipa::path(delete, path = "/v1/responders", tag = "responders", operation_id = "delete_responders",
    params(DeletionParams),
    responses((status = 200, description = "How many were deleted", body = Deleted), Problem))]
pub(super) async fn delete_selected(
    control: State<Control>,
    conditions: ListConditions,
    params: Query<DeletionParams>,
) -> Result<JsonResponse<Deleted>, Problem> {
    deletion::delete_selected::<Responder>(control, conditions, params).await
}

/// Show a responder
///
/// `etag` is the tag of the specification, for If-Match: counters and states change all the time. So the response has
/// `cache-control: no-store`, and is never 304.
#[utoipa::path(get, path = "/v1/responders/{id}", tag = "responders", operation_id = "get_responder",
    params(IdParam<Responder>, IfMatch),
    responses(Shown<Responder>, Problem))]
pub(super) async fn show(
    control: State<Control>,
    id: PathId,
    _: NoQuery,
    condition: ReadCondition,
) -> Result<Response, Problem> {
    joins::show::<Responder>(control, id, condition)
}

/// Delete a responder
///
/// The service leaves the group and deletes the log. It responds once the sockets are closed.
#[utoipa::path(delete, path = "/v1/responders/{id}", tag = "responders", operation_id = "delete_responder",
    params(IdParam<Responder>, IfMatch), responses((status = 204, description = "Left and deleted"), Problem))]
pub(super) async fn leave(
    control: State<Control>,
    id: PathId,
    _: NoQuery,
    conditions: Conditions,
) -> Result<StatusCode, Problem> {
    joins::leave::<Responder>(control, id, conditions).await
}

/// Read the datagrams of a responder
///
/// `Accept` or `format` selects the form: a JSON page, server-sent events, NDJSON or a pcapng capture file.
#[utoipa::path(get, path = "/v1/responders/{id}/datagrams", tag = "responders", operation_id = "read_responder_datagrams",
    params(IdParam<Responder>, ReadQuery, LastEventId),
    responses(LogContent<DatagramPage<Datagram>>, Problem))]
pub(super) async fn datagrams(
    State(control): State<Control>,
    PathId(id): PathId,
    reading: Reading,
) -> Result<Response, Problem> {
    reading.respond(&control, Responder::KIND, &id).await
}

/// Read the payload of one datagram
///
/// The unchanged payload, without any encoding.
#[utoipa::path(get, path = "/v1/responders/{id}/datagrams/{seq}/payload", tag = "responders", operation_id = "read_responder_datagram_payload",
    params(DatagramParams<Responder>), responses(PayloadContent, Problem))]
pub(super) async fn payload(
    State(control): State<Control>,
    path: DatagramPath,
    _: NoQuery,
) -> Result<Response, Problem> {
    path.payload(&control, Responder::KIND).await
}
