use axum::Json as JsonAnswer;
use axum::extract::State as AppState;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{Json, PathId, Query};
use super::fields::{InterfaceName, RetentionBody, Sources, object};
use super::joins::{self, JoinFields, JoinListParams, Membership, OnlyCreate};
use super::lists::List;
use super::problem::{FieldErrors, Problem};
use super::reading::{
    Capture, Datagram, DatagramPage, DatagramPath, EventStream, Lines, RawBytes, ReadQuery, Reading,
};
use crate::control::{Control, JoinRequest, ResourceKind};

pub(super) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, put, leave))
        .routes(routes!(datagrams))
        .routes(routes!(payload))
}

/// A membership to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(
    json!({"group": "239.1.2.3:10000", "interfaces": ["lo"], "expires_in_ms": 60000}),
    json!({"group": "232.1.2.3:10000", "interfaces": ["lo"], "sources": {"include": ["192.0.2.10"]}}),
    json!({"group": "[ff15::1:2:3]:10000", "interfaces": ["lo"]})
))]
pub(super) struct MembershipBody {
    /// `ADDRESS:PORT`, `[ADDRESS]:PORT` or `[ADDRESS%INTERFACE]:PORT`.
    #[schema(
        pattern = r"^(2(2[4-9]|3[0-9])(\.[0-9]{1,3}){3}|\[[Ff]{2}[0-9A-Fa-f:.]+(%[^\]]+)?\]):[0-9]{1,5}$",
        examples("239.1.2.3:10000")
    )]
    group: String,
    /// Where to hear it. Without it: every interface that is up, can do multicast and is no port of a
    /// bridge or bond, also those that appear later.
    #[schema(min_items = 1, max_items = 1024)]
    interfaces: Option<Vec<InterfaceName>>,
    /// Accept interfaces that do not exist yet: they are joined when they appear.
    #[serde(default)]
    #[schema(default = false)]
    allow_missing: bool,
    /// Whom to hear; without it, everybody.
    sources: Option<Sources>,
    /// Count the kernel's drops in datagrams and not in buffers; costs throughput.
    #[serde(default)]
    #[schema(default = false)]
    exact_drops: bool,
    #[serde(default, deserialize_with = "object")]
    retention: Option<RetentionBody>,
    /// Leave by itself after this many milliseconds unless a PUT renews it; without it, stay until deleted.
    #[schema(minimum = 1, maximum = 2_592_000_000_u64)]
    expires_in_ms: Option<u64>,
}

impl MembershipBody {
    pub(super) fn read(self) -> Result<JoinRequest, Problem> {
        let fields = JoinFields {
            group: self.group,
            interfaces: self.interfaces,
            allow_missing: self.allow_missing,
            sources: self.sources,
            exact_drops: self.exact_drops,
            retention: self.retention,
            expires_in_ms: self.expires_in_ms,
        };
        let mut errors = FieldErrors::default();
        let request = fields.read(&mut errors);
        errors.into_result().map(|()| request.expect("no group is an error"))
    }
}

/// Join a group
///
/// Everybody who joins has a membership of his own: one leaving never cuts off another. What it hears is
/// kept in its log.
#[utoipa::path(post, path = "/v1/memberships", tag = "memberships", operation_id = "join",
    request_body = MembershipBody,
    responses(
        (status = 201, description = "Joined, or waiting to", body = Membership,
            headers(("location" = String, description = "Where the membership is"))),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn create(
    AppState(control): AppState<Control>,
    Json(body): Json<MembershipBody>,
) -> Result<Response, Problem> {
    joins::create(&control, body.read()?, |view| Membership::from(view)).await
}

/// Join under an id of your own, change, or renew
///
/// Idempotent. Sources and interfaces change in place and the log stays; another group starts a new log. The
/// lease starts anew; without `expires_in_ms` there is none from now on. With `If-None-Match: *` it only
/// creates.
#[utoipa::path(put, path = "/v1/memberships/{id}", tag = "memberships", operation_id = "put_membership",
    params(("id" = String, Path, description = "A client\'s own id, or the one that was given", pattern = "^[a-z0-9][a-z0-9._-]{0,62}$", example = "monitor"),
        ("if-none-match" = inline(Option<OnlyCreate>), Header, nullable = false, example = "*", description = "`*`: only create, and answer 412 if it is there")),
    request_body = MembershipBody,
    responses(
        (status = 200, description = "As requested, and it was there before", body = Membership,
            headers(("location" = String, description = "Where the membership is"))),
        (status = 201, description = "Created", body = Membership,
            headers(("location" = String, description = "Where the membership is"))),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn put(
    AppState(control): AppState<Control>,
    PathId(id): PathId,
    headers: HeaderMap,
    Json(body): Json<MembershipBody>,
) -> Result<Response, Problem> {
    joins::put(&control, id, &headers, body.read()?, |view| Membership::from(view)).await
}

type MembershipList = List<Membership>;

/// List memberships
#[utoipa::path(get, path = "/v1/memberships", tag = "memberships", operation_id = "list_memberships",
    params(JoinListParams),
    responses(
        (status = 200, description = "A part of the list", body = MembershipList),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list(
    AppState(control): AppState<Control>,
    Query(params): Query<JoinListParams>,
) -> Result<JsonAnswer<List<Membership>>, Problem> {
    let (page, more) = joins::list(&control, ResourceKind::Membership, &params)?;
    let items = page.iter().map(|membership| Membership::from(&membership.view())).collect();
    Ok(JsonAnswer(List::new(items, page.last().map(|membership| membership.id()), more)))
}

/// Show a membership
#[utoipa::path(get, path = "/v1/memberships/{id}", tag = "memberships", operation_id = "show_membership",
    params(("id" = String, Path, description = "A client\'s own id, or the one that was given", pattern = "^[a-z0-9][a-z0-9._-]{0,62}$", example = "monitor")),
    responses(
        (status = 200, description = "The membership", body = Membership),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn show(
    AppState(control): AppState<Control>,
    PathId(id): PathId,
) -> Result<JsonAnswer<Membership>, Problem> {
    let membership = control.membership(ResourceKind::Membership, &id)?;
    Ok(JsonAnswer(Membership::from(&membership.view())))
}

/// Leave
///
/// Answered once the sockets are closed. The log is gone.
#[utoipa::path(delete, path = "/v1/memberships/{id}", tag = "memberships", operation_id = "leave",
    params(("id" = String, Path, description = "A client\'s own id, or the one that was given", pattern = "^[a-z0-9][a-z0-9._-]{0,62}$", example = "monitor")),
    responses(
        (status = 204, description = "Left"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn leave(AppState(control): AppState<Control>, PathId(id): PathId) -> Result<StatusCode, Problem> {
    control.leave(ResourceKind::Membership, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

type Datagrams = DatagramPage<Datagram>;

/// Read what a membership has heard
///
/// As JSON pages, as events that go on, as lines, or as a capture file: `Accept` or `format` says which.
#[utoipa::path(get, path = "/v1/memberships/{id}/datagrams", tag = "memberships", operation_id = "read_datagrams",
    params(("id" = String, Path, description = "A client\'s own id, or the one that was given", pattern = "^[a-z0-9][a-z0-9._-]{0,62}$", example = "monitor"), ReadQuery,
        ("last-event-id" = Option<String>, Header, nullable = false, description = "Of events, the `id` of the last that came: go on behind it. Goes before `after`", example = "1d60f7e7ade273a1-2")),
    responses(
        (status = 200, description = "The log, or a page of it",
            content((Datagrams = "application/json"), (EventStream = "text/event-stream"), (Lines = "application/x-ndjson"), (Capture = "application/x-pcapng")),
            headers(("vary" = String, description = "`accept`"), ("content-disposition" = Option<String>, description = "A name for the capture file"))),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn datagrams(
    AppState(control): AppState<Control>,
    PathId(id): PathId,
    reading: Reading,
) -> Result<Response, Problem> {
    reading.answer(control.membership(ResourceKind::Membership, &id)?, &control).await
}

/// Read the payload of one datagram
///
/// As it was, without any form around it.
#[utoipa::path(get, path = "/v1/memberships/{id}/datagrams/{seq}/payload", tag = "memberships", operation_id = "read_payload",
    params(("id" = String, Path, description = "A client\'s own id, or the one that was given", pattern = "^[a-z0-9][a-z0-9._-]{0,62}$", example = "monitor"),
        ("seq" = u64, Path, description = "The datagram\'s `seq`", example = 1)),
    responses(
        (status = 200, description = "The payload", body = RawBytes, content_type = "application/octet-stream"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn payload(AppState(control): AppState<Control>, place: DatagramPath) -> Result<Response, Problem> {
    place.payload(&control.membership(ResourceKind::Membership, &place.id)?.into()).await
}
