use std::time::Duration;

use axum::Json as JsonAnswer;
use axum::extract::{Request, State as AppState};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response as Answer};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::datagrams::{DatagramPage, GapBody, LARGEST_PAGE, ReadQuery, Response, page_of};
use super::extract::{Content, PathId, Query, Wait, parse_json, parse_query, read_body, wrong_type};
use super::fields::{Encoding, Payload, millis, rfc3339};
use super::joins::location;
use super::lists::{List, ListParams};
use super::problem::{Kind as ProblemKind, Problem};
use super::sending::{MessageBody, RawOptions, RawPayload, RepeatBody, Wanted};
use crate::control::{Control, Kind, Message as Sent, MessageView, Outcome, Responder as Heard, Route};
use crate::model::{CloseReason, Id, MessageSpec};
use crate::store::Closed;

pub(super) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::new()
        .routes(routes!(list, send))
        .routes(routes!(show, put, forget))
        .routes(routes!(cancel))
        .routes(routes!(responses))
}

/// A message: what was sent, and who has answered.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "id": "roll-1", "state": "collecting", "created_at": "2026-01-02T03:04:05.678901234Z",
    "group": "239.1.2.3:10000", "payload": "very important data", "ttl": 1, "loopback": true,
    "window_ms": 1000, "expect": 2, "track_attempts": false, "linger_ms": 2000,
    "sent": [{
        "interface": "lo", "source": "127.0.0.1:49152", "count": 1, "failed": 0,
        "first_sent_at": "2026-01-02T03:04:05.679012345Z", "last_sent_at": "2026-01-02T03:04:05.679012345Z"
    }],
    "counters": {
        "responses": 1, "responders": 1, "duplicates": 0, "late": 0, "strays": 0, "dropped_buffers": 0, "evicted": 0
    },
    "responders": [{
        "source": "127.0.0.2:10000", "responses": 1, "first_seq": 1, "first_rtt_us": 181, "late": false
    }]
})))]
struct Message {
    id: String,
    state: State,
    /// Why it collects no longer; absent while it collects.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    close_reason: Option<Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime)]
    closed_at: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
    group: String,
    #[serde(flatten)]
    payload: Payload<'static>,
    #[schema(minimum = 0, maximum = 255)]
    ttl: u8,
    loopback: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 1, maximum = 65535)]
    source_port: Option<u16>,
    window_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    expect: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    stall_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    repeat: Option<RepeatBody>,
    track_attempts: bool,
    linger_ms: u64,
    /// What went out on which interface.
    sent: Vec<SentBy>,
    counters: Counters,
    /// The first 1,000 responders, in the order of their first responses.
    responders: Vec<Responder>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = MessageState)]
enum State {
    Collecting,
    Closed,
}

/// `window`: it passed. `expected`: as many responders as expected have answered. `stalled`: no new one for
/// `stall_ms`. `cancelled`: on request. `restarted`: the service was stopped meanwhile.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = CloseReason)]
enum Reason {
    Window,
    Expected,
    Stalled,
    Cancelled,
    Restarted,
}

/// What went out on one interface.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Sent)]
struct SentBy {
    /// The interface.
    interface: String,
    /// Address and port it left from; absent if nothing could be sent there. With `track_attempts`, the
    /// first attempt's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    source: Option<String>,
    /// How often it was sent.
    count: u32,
    /// How often sending failed.
    failed: u32,
    /// Why sending failed, the last time it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime)]
    first_sent_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime)]
    last_sent_at: Option<String>,
    /// There, and true: `loopback: false` was asked for, and the kernel loops back on `lo` all the same.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    loopback_ignored: bool,
}

/// How many came back.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MessageCounters)]
struct Counters {
    /// All that came back, duplicates and late ones included.
    responses: u64,
    /// Distinct responders that answered in time, told apart by address and port.
    responders: u64,
    /// Responses of responders that had answered before.
    duplicates: u64,
    /// Responses that came after the message was closed.
    late: u64,
    /// Datagrams to the same port that were under way before the first send; not kept.
    strays: u64,
    /// Responses that the kernel dropped before they could be read.
    dropped_buffers: u64,
    /// Responses that made room in the log for later ones.
    evicted: u64,
}

/// Somebody who answered.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MessageResponder)]
struct Responder {
    /// Address and port.
    source: String,
    /// How many responses it sent.
    responses: u64,
    /// Place of its first response in the log.
    first_seq: u64,
    /// Microseconds from the latest send to its first response; null when the clock was set in between.
    #[schema(required)]
    first_rtt_us: Option<u64>,
    /// All of its responses came after the message was closed.
    late: bool,
}

/// A message; if it has been waited for, with its first 1,000 responses.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "id": "roll-1", "state": "closed", "close_reason": "expected",
    "closed_at": "2026-01-02T03:04:05.679193345Z", "created_at": "2026-01-02T03:04:05.678901234Z",
    "group": "239.1.2.3:10000", "payload": "very important data", "ttl": 1, "loopback": true,
    "window_ms": 1000, "expect": 1, "track_attempts": false, "linger_ms": 2000,
    "sent": [{
        "interface": "lo", "source": "127.0.0.1:49152", "count": 1, "failed": 0,
        "first_sent_at": "2026-01-02T03:04:05.679012345Z", "last_sent_at": "2026-01-02T03:04:05.679012345Z"
    }],
    "counters": {
        "responses": 1, "responders": 1, "duplicates": 0, "late": 0, "strays": 0, "dropped_buffers": 0, "evicted": 0
    },
    "responders": [{
        "source": "127.0.0.2:10000", "responses": 1, "first_seq": 1, "first_rtt_us": 181, "late": false
    }],
    "responses": [{
        "seq": 1, "received_at": "2026-01-02T03:04:05.679193345Z", "source": "127.0.0.2:10000",
        "destination": "127.0.0.1:49152", "interface": "lo", "ttl": 64, "payload": "ack",
        "rtt_us": 181, "attempt": 1, "duplicate": false, "late": false
    }],
    "next_cursor": "1d60f7e7ade273a1-1"
})))]
struct Collected {
    #[serde(flatten)]
    message: Message,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    responses: Option<Vec<Response>>,
    /// Pass it as `after` to read the rest of the responses, and late ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_cursor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    gap: Option<GapBody>,
}

impl From<&MessageView> for Message {
    fn from(view: &MessageView) -> Self {
        let spec = &view.spec;
        Self {
            id: view.id.to_string(),
            state: if view.closed.is_some() { State::Closed } else { State::Collecting },
            close_reason: view.closed.map(|(reason, _)| reason.into()),
            closed_at: view.closed.map(|(_, at)| rfc3339(at)),
            created_at: rfc3339(view.created_at),
            group: spec.group.to_string(),
            payload: Payload::new(&spec.payload, Encoding::Auto).into_owned(),
            ttl: spec.hop_limit.0,
            loopback: spec.loopback,
            source_port: spec.source_port,
            window_ms: millis(spec.window),
            expect: spec.expect,
            stall_ms: spec.stall.map(millis),
            repeat: (spec.repeat.count > 1).then(|| RepeatBody {
                count: spec.repeat.count.into(),
                interval_ms: millis(spec.repeat.interval),
            }),
            track_attempts: spec.track_attempts,
            linger_ms: millis(spec.linger),
            sent: view.routes.iter().map(SentBy::from).collect(),
            counters: Counters {
                responses: view.counters.responses,
                responders: view.counters.responders,
                duplicates: view.counters.duplicates,
                late: view.counters.late,
                strays: view.counters.strays,
                dropped_buffers: view.dropped_buffers,
                evicted: view.log.evicted,
            },
            responders: view.responders.iter().map(|(source, heard)| Responder::new(source, heard)).collect(),
        }
    }
}

impl From<&Route> for SentBy {
    fn from(route: &Route) -> Self {
        Self {
            interface: route.interface.to_string(),
            source: route.source.map(|source| source.to_string()),
            count: route.sent,
            failed: route.failed,
            error: route.error.clone(),
            first_sent_at: route.first_sent_at.map(rfc3339),
            last_sent_at: route.last_sent_at.map(rfc3339),
            loopback_ignored: route.loopback_ignored,
        }
    }
}

impl Responder {
    fn new(source: &std::net::SocketAddr, heard: &Heard) -> Self {
        Self {
            source: source.to_string(),
            responses: heard.responses,
            first_seq: heard.first_sequence,
            first_rtt_us: heard.first_rtt_us,
            late: heard.late,
        }
    }
}

impl From<CloseReason> for Reason {
    fn from(reason: CloseReason) -> Self {
        match reason {
            CloseReason::Window => Self::Window,
            CloseReason::Expected => Self::Expected,
            CloseReason::Stalled => Self::Stalled,
            CloseReason::Cancelled => Self::Cancelled,
            CloseReason::Restarted => Self::Restarted,
        }
    }
}

/// Send a message to a group and collect the answers
///
/// Answers at once with 202 while it collects; with `Prefer: wait=N` it waits up to N seconds and answers 200
/// with the responses once collecting has ended. A body of `text/plain` or `application/octet-stream` is the
/// payload itself, and the options are in the query. A client that goes away loses nothing: the message
/// collects on.
#[utoipa::path(post, path = "/v1/messages", tag = "messages", operation_id = "send",
    params(RawOptions, ("prefer" = Option<String>, Header, nullable = false, description = "`wait=N`: wait up to N seconds, at most 60", example = "wait=5")),
    request_body(content((MessageBody = "application/json"), (String = "text/plain", example = "very important data"), (RawPayload = "application/octet-stream"))),
    responses(
        (status = 200, description = "Collecting has ended", body = Collected,
            headers(("location" = String, description = "Where the message is"), ("preference-applied" = String, description = "The `wait` that was applied"))),
        (status = 202, description = "Sent, and collecting", body = Message,
            headers(("location" = String, description = "Where the message is"), ("preference-applied" = String, description = "The `wait` that was applied, and was too short"))),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn send(AppState(control): AppState<Control>, wait: Wait, request: Request) -> Result<Answer, Problem> {
    let spec = read_spec(&control, request).await?;
    let message = control.send(spec).await?;
    answer(&message, wait, StatusCode::ACCEPTED).await
}

/// Send a message under an id of your own
///
/// Safe to repeat: the same request again finds the message and sends nothing; another one is refused with
/// 409.
#[utoipa::path(put, path = "/v1/messages/{id}", tag = "messages", operation_id = "put_message",
    params(("id" = String, Path, description = "A client\'s own id, or the one that was given", pattern = "^[a-z0-9][a-z0-9._-]{0,62}$", example = "roll-1"), RawOptions,
        ("prefer" = Option<String>, Header, nullable = false, description = "`wait=N`: wait up to N seconds, at most 60", example = "wait=5")),
    request_body(content((MessageBody = "application/json"), (String = "text/plain", example = "very important data"), (RawPayload = "application/octet-stream"))),
    responses(
        (status = 200, description = "Collecting has ended, or the message was there before", body = Collected,
            headers(("location" = String, description = "Where the message is"), ("preference-applied" = String, description = "The `wait` that was applied"))),
        (status = 202, description = "Sent, and collecting", body = Message,
            headers(("location" = String, description = "Where the message is"), ("preference-applied" = String, description = "The `wait` that was applied, and was too short"))),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn put(
    AppState(control): AppState<Control>,
    PathId(id): PathId,
    wait: Wait,
    request: Request,
) -> Result<Answer, Problem> {
    let spec = read_spec(&control, request).await?;
    let (message, outcome) = control.send_as(id, spec).await?;
    let otherwise = if outcome == Outcome::Created { StatusCode::ACCEPTED } else { StatusCode::OK };
    answer(&message, wait, otherwise).await
}

type MessageList = List<Message>;

/// List messages
#[utoipa::path(get, path = "/v1/messages", tag = "messages", operation_id = "list_messages",
    params(ListParams<State>),
    responses(
        (status = 200, description = "A part of the list", body = MessageList),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list(
    AppState(control): AppState<Control>,
    Query(params): Query<ListParams<State>>,
) -> Result<JsonAnswer<List<Message>>, Problem> {
    let closed = params.state.map(|state| state == State::Closed);
    let (page, more) = control.messages(&params.query()?, closed);
    let items = page.iter().map(|message| Message::from(&message.view())).collect();
    Ok(JsonAnswer(List::new(items, page.last().map(|message| message.id()), more)))
}

/// Show a message
///
/// With `Prefer: wait=N` it waits up to N seconds for the collecting to end, and then shows the first 1,000
/// responses too.
#[utoipa::path(get, path = "/v1/messages/{id}", tag = "messages", operation_id = "show_message",
    params(("id" = String, Path, description = "A client\'s own id, or the one that was given", pattern = "^[a-z0-9][a-z0-9._-]{0,62}$", example = "roll-1"),
        ("prefer" = Option<String>, Header, nullable = false, description = "`wait=N`: wait up to N seconds, at most 60", example = "wait=5")),
    responses(
        (status = 200, description = "The message", body = Collected),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn show(
    AppState(control): AppState<Control>,
    PathId(id): PathId,
    wait: Wait,
) -> Result<Answer, Problem> {
    let message = control.message(&id)?;
    answer(&message, wait, StatusCode::OK).await
}

/// Stop collecting and keep what came
#[utoipa::path(post, path = "/v1/messages/{id}/cancel", tag = "messages", operation_id = "cancel_message",
    params(("id" = String, Path, description = "A client\'s own id, or the one that was given", pattern = "^[a-z0-9][a-z0-9._-]{0,62}$", example = "roll-1")),
    responses(
        (status = 200, description = "Closed, now or before", body = Message),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn cancel(
    AppState(control): AppState<Control>,
    PathId(id): PathId,
) -> Result<JsonAnswer<Message>, Problem> {
    let message = control.cancel(&id)?;
    Ok(JsonAnswer(Message::from(&message.view())))
}

/// Stop collecting and forget the message
#[utoipa::path(delete, path = "/v1/messages/{id}", tag = "messages", operation_id = "delete_message",
    params(("id" = String, Path, description = "A client\'s own id, or the one that was given", pattern = "^[a-z0-9][a-z0-9._-]{0,62}$", example = "roll-1")),
    responses(
        (status = 204, description = "Forgotten"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn forget(AppState(control): AppState<Control>, PathId(id): PathId) -> Result<StatusCode, Problem> {
    control.forget(&id)?;
    Ok(StatusCode::NO_CONTENT)
}

type Responses = DatagramPage<Response>;

/// Read what came back to a message
#[utoipa::path(get, path = "/v1/messages/{id}/responses", tag = "messages", operation_id = "read_responses",
    params(("id" = String, Path, description = "A client\'s own id, or the one that was given", pattern = "^[a-z0-9][a-z0-9._-]{0,62}$", example = "roll-1"), ReadQuery),
    responses(
        (status = 200, description = "A page of the log", body = Responses),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn responses(
    AppState(control): AppState<Control>,
    PathId(id): PathId,
    Query(query): Query<ReadQuery>,
) -> Result<JsonAnswer<DatagramPage<Response>>, Problem> {
    let message = control.message(&id)?;
    let page = query.read(message.log(), control.stopping()).await?;
    let dropped = message.dropped_buffers();
    Ok(JsonAnswer(page_of(&page, dropped, |entry| Response::of(entry, query.encoding()))))
}

async fn read_spec(control: &Control, request: Request) -> Result<MessageSpec, Problem> {
    let content = Content::of(request.headers());
    let query = request.uri().query().unwrap_or_default().to_owned();
    let wanted: Wanted = match content {
        Content::Json if !query.is_empty() => {
            let detail = "with a JSON body the options belong into the body: leave out the query";
            return Err(Problem::new(ProblemKind::InvalidParameter, detail));
        }
        Content::Json => parse_json::<MessageBody>(&read_body(request).await?)?.read()?,
        Content::Raw => {
            let options = parse_query::<RawOptions>(&query)?;
            options.read(read_body(request).await?)?
        }
        Content::Other => {
            let accepted =
                "application/json, or the payload itself as text/plain or application/octet-stream";
            return Err(wrong_type(request.headers(), accepted));
        }
    };
    let interfaces = control.resolve(&wanted.interfaces, |_| false).await?;
    Ok(wanted.on(interfaces))
}

/// The message, once it is closed or the wait is over; `otherwise` is the status if it was not closed in time
/// or not waited for.
async fn answer(message: &Sent, wait: Wait, otherwise: StatusCode) -> Result<Answer, Problem> {
    let location = location(Kind::Message, message.id());
    let Some(seconds) = wait.0 else {
        return Ok((otherwise, location, JsonAnswer(Message::from(&message.view()))).into_response());
    };
    // A service that stops closes its messages, so that this ends too.
    let _ = tokio::time::timeout(Duration::from_secs(seconds), message.wait_closed()).await;
    let applied = [(HeaderName::from_static("preference-applied"), format!("wait={seconds}"))];
    let view = message.view();
    if view.closed.is_none() {
        return Ok((otherwise, location, applied, JsonAnswer(Message::from(&view))).into_response());
    }
    let page = message.log().read(None, LARGEST_PAGE).map_err(|Closed| not_found(message.id()))?;
    let page = page_of(&page, view.dropped_buffers, |entry| Response::of(entry, Encoding::Auto));
    let collected = Collected {
        message: Message::from(&view),
        responses: Some(page.items),
        next_cursor: Some(page.next_cursor),
        gap: page.gap,
    };
    Ok((StatusCode::OK, location, applied, JsonAnswer(collected)).into_response())
}

fn not_found(id: &Id) -> Problem {
    crate::control::Refusal::NotFound { kind: Kind::Message, id: id.clone() }.into()
}
