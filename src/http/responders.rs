use axum::Json as JsonAnswer;
use axum::extract::State as AppState;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
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
use super::rules::{DelayBody, MatchBody, ReplyBody, ReplyFromBody, read_rules};
use crate::control::{Control, JoinRequest, MembershipView, ResourceKind};

pub(super) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, put, leave))
        .routes(routes!(datagrams))
        .routes(routes!(payload))
}

/// A responder to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(
    json!({"group": "239.1.2.3:10000", "interfaces": ["lo"], "reply": "ack", "reply_from": {"address": "127.0.0.2"}}),
    json!({
        "group": "239.1.2.3:10000", "interfaces": ["lo"], "match": {"prefix": "M-SEARCH "},
        "reply": {"echo": true}, "delay_ms": {"min": 10, "max": 50}, "reply_from": {"port": 0}
    })
))]
pub(super) struct ResponderBody {
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
    reply: Option<ReplyBody>,
    #[serde(rename = "match")]
    matches: Option<MatchBody>,
    delay_ms: Option<DelayBody>,
    reply_from: Option<ReplyFromBody>,
    /// Answer once when the same datagram arrives on several interfaces within 50 ms.
    #[serde(default = "yes")]
    #[schema(default = true)]
    dedupe: bool,
}

fn yes() -> bool {
    true
}

impl ResponderBody {
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
        let rules =
            read_rules(&mut errors, self.reply, self.matches, self.delay_ms, self.reply_from, self.dedupe);
        let request = fields.read(&mut errors);
        errors.into_result()?;
        let request = request.expect("no group is an error");
        Ok(JoinRequest { rules: Some(rules), ..request })
    }
}

/// A responder: a membership that also answers.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "id": "lamp", "group": "239.1.2.3:10000", "state": "joined", "hears": true,
    "interfaces": [{"name": "lo", "state": "joined", "hears": true, "datagrams": 1, "bytes": 19,
        "last_received_at": "2026-01-02T03:04:31.415926535Z", "receive_buffer": {"requested": 4_194_304, "granted": 4_194_304}, "dropped_buffers": 0}],
    "allow_missing": false, "exact_drops": false, "created_at": "2026-01-02T03:04:05.678901234Z",
    "counters": {"datagrams": 1, "bytes": 19, "dropped_buffers": 0, "truncated": 0, "evicted": 0, "lost": 0},
    "reply": {"payload": "ack"}, "reply_from": {"address": "127.0.0.2"}, "reply_addresses": ["127.0.0.2:10000"],
    "dedupe": true,
    "replies": {"received": 1, "matched": 1, "replied": 1, "failed": 0, "limited": 0, "suppressed": 0}
})))]
struct Responder {
    #[serde(flatten)]
    membership: Membership,
    reply: ReplyBody,
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    matches: Option<MatchBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    delay_ms: Option<DelayBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reply_from: Option<ReplyFromBody>,
    /// The addresses and ports that `reply_from` came to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    reply_addresses: Vec<String>,
    dedupe: bool,
    replies: Replies,
}

/// What has become of the datagrams that were heard.
#[derive(Debug, Serialize, ToSchema)]
struct Replies {
    /// All that was heard.
    received: u64,
    /// Those that `match` selects.
    matched: u64,
    /// Replies handed to the system.
    replied: u64,
    /// The system could not send the reply.
    failed: u64,
    /// Withheld by the rate limits, or because the source is no address to answer to.
    limited: u64,
    /// Withheld because the same datagram was answered on another interface.
    suppressed: u64,
}

impl From<&MembershipView> for Responder {
    fn from(view: &MembershipView) -> Self {
        let responder = view.responder.as_ref().expect("responders have rules");
        let rules = &responder.rules;
        let counters = responder.counters;
        Self {
            membership: view.into(),
            reply: (&rules.reply).into(),
            matches: MatchBody::of(&rules.matches),
            delay_ms: DelayBody::of(&rules.delay),
            reply_from: rules.reply_from.map(Into::into),
            reply_addresses: responder.reply_addresses.iter().map(ToString::to_string).collect(),
            dedupe: rules.dedupe,
            replies: Replies {
                received: counters.received,
                matched: counters.matched,
                replied: counters.replied,
                failed: counters.failed,
                limited: counters.limited,
                suppressed: counters.suppressed,
            },
        }
    }
}

/// Answer a group
///
/// Joins like a membership, and sends a reply to the source of each datagram, from the group's port.
#[utoipa::path(post, path = "/v1/responders", tag = "responders", operation_id = "respond",
    request_body = ResponderBody,
    responses(
        (status = 201, description = "Answering, or waiting to join", body = Responder,
            headers(("location" = String, description = "Where the responder is"))),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn create(
    AppState(control): AppState<Control>,
    Json(body): Json<ResponderBody>,
) -> Result<Response, Problem> {
    joins::create(&control, body.read()?, |view| Responder::from(view)).await
}

/// Answer under an id of your own, change, or renew
///
/// As for memberships; the reply, `match` and `delay_ms` change in place too.
#[utoipa::path(put, path = "/v1/responders/{id}", tag = "responders", operation_id = "put_responder",
    params(("id" = String, Path, description = "A client\'s own id, or the one that was given", pattern = "^[a-z0-9][a-z0-9._-]{0,62}$", example = "lamp"),
        ("if-none-match" = inline(Option<OnlyCreate>), Header, nullable = false, example = "*", description = "`*`: only create, and answer 412 if it is there")),
    request_body = ResponderBody,
    responses(
        (status = 200, description = "As requested, and it was there before", body = Responder,
            headers(("location" = String, description = "Where the responder is"))),
        (status = 201, description = "Created", body = Responder,
            headers(("location" = String, description = "Where the responder is"))),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn put(
    AppState(control): AppState<Control>,
    PathId(id): PathId,
    headers: HeaderMap,
    Json(body): Json<ResponderBody>,
) -> Result<Response, Problem> {
    joins::put(&control, id, &headers, body.read()?, |view| Responder::from(view)).await
}

type ResponderList = List<Responder>;

/// List responders
#[utoipa::path(get, path = "/v1/responders", tag = "responders", operation_id = "list_responders",
    params(JoinListParams),
    responses(
        (status = 200, description = "A part of the list", body = ResponderList),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list(
    AppState(control): AppState<Control>,
    Query(params): Query<JoinListParams>,
) -> Result<JsonAnswer<List<Responder>>, Problem> {
    let (page, more) = joins::list(&control, ResourceKind::Responder, &params)?;
    let items = page.iter().map(|responder| Responder::from(&responder.view())).collect();
    Ok(JsonAnswer(List::new(items, page.last().map(|responder| responder.id()), more)))
}

/// Show a responder
#[utoipa::path(get, path = "/v1/responders/{id}", tag = "responders", operation_id = "show_responder",
    params(("id" = String, Path, description = "A client\'s own id, or the one that was given", pattern = "^[a-z0-9][a-z0-9._-]{0,62}$", example = "lamp")),
    responses(
        (status = 200, description = "The responder", body = Responder),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn show(
    AppState(control): AppState<Control>,
    PathId(id): PathId,
) -> Result<JsonAnswer<Responder>, Problem> {
    let responder = control.membership(ResourceKind::Responder, &id)?;
    Ok(JsonAnswer(Responder::from(&responder.view())))
}

/// Stop answering and leave
#[utoipa::path(delete, path = "/v1/responders/{id}", tag = "responders", operation_id = "delete_responder",
    params(("id" = String, Path, description = "A client\'s own id, or the one that was given", pattern = "^[a-z0-9][a-z0-9._-]{0,62}$", example = "lamp")),
    responses(
        (status = 204, description = "Left"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn leave(AppState(control): AppState<Control>, PathId(id): PathId) -> Result<StatusCode, Problem> {
    control.leave(ResourceKind::Responder, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

type Datagrams = DatagramPage<Datagram>;

/// Read what a responder has heard
///
/// As JSON pages, as events that go on, as lines, or as a capture file: `Accept` or `format` says which.
#[utoipa::path(get, path = "/v1/responders/{id}/datagrams", tag = "responders", operation_id = "read_responder_datagrams",
    params(("id" = String, Path, description = "A client\'s own id, or the one that was given", pattern = "^[a-z0-9][a-z0-9._-]{0,62}$", example = "lamp"), ReadQuery,
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
    reading.answer(control.membership(ResourceKind::Responder, &id)?, &control).await
}

/// Read the payload of one datagram
///
/// As it was, without any form around it.
#[utoipa::path(get, path = "/v1/responders/{id}/datagrams/{seq}/payload", tag = "responders", operation_id = "read_responder_payload",
    params(("id" = String, Path, description = "A client\'s own id, or the one that was given", pattern = "^[a-z0-9][a-z0-9._-]{0,62}$", example = "lamp"),
        ("seq" = u64, Path, description = "The datagram\'s `seq`", example = 1)),
    responses(
        (status = 200, description = "The payload", body = RawBytes, content_type = "application/octet-stream"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn payload(AppState(control): AppState<Control>, place: DatagramPath) -> Result<Response, Problem> {
    place.payload(&control.membership(ResourceKind::Responder, &place.id)?.into()).await
}
