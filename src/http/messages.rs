//! The routes of messages.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};

use super::access::Authorization;
use super::compute::{MAX_ON_A_WORKER, compute};
use super::conditions::{
    Conditions, IfMatch, IfNoneMatch, ListConditions, NewConditions, ReadCondition, identity, tagged,
};
use super::deletion;
use super::extract::{Content, NoQuery, PathId, PreferWait, PreferredWait, Query, read_body, wrong_type};
use super::json::JsonResponse;
use super::misplaced::MisplacedOptions;
use super::problem::Problem;
use super::reading::{DatagramPath, LastEventId, LogOwner, MAX_PAGE, Reading};
use super::request_bytes::RequestBytes;
use super::resource::{DatagramParams, IdParam, Resource, location};
use super::responses::{LogContent, PayloadContent};
use crate::contract::datagrams::{self, DatagramPage};
use crate::contract::documented::RawPayload;
use crate::contract::labels::{Deleted, DeletionParams};
use crate::contract::lists::{List, ListParams, list_cursor};
use crate::contract::messages::{Collected, Message, State as MessageState};
use crate::contract::{
    FieldError, MessageBody, MessageRequest, RawOptions, ReadQuery, WaitQuery, parse_json, parse_query,
};
use crate::control::{Control, Done, ListEntry, Message as Sent, MessageView, Outcome, Purpose};
use crate::model::MessageSpec;
use crate::rendering::response_page;
use crate::store::ReadRange;

/// Send a message to a group and collect the responses
///
/// The service responds with 202 while the message collects. With `wait_ms`, it waits up to that long and responds
/// with 200 and the collected responses once the message is closed. A body of `text/plain` or
/// `application/octet-stream` is the payload, and the options are in the query. If the client disconnects, the message
/// continues to collect. A request with `If-Match` gets 412, because what it creates does not exist before.
#[utoipa::path(post, path = "/v1/messages", tag = "messages", operation_id = "send_message",
    params(RawOptions, PreferWait),
    request_body(content((MessageBody = "application/json"), (String = "text/plain", example = "very important data"), (RawPayload = "application/octet-stream"))),
    responses(
        (status = 200, description = "The message is closed", body = Collected,
            headers(("location" = String, description = "The path of the message"), ("etag" = String, description = "The tag of the specification, for If-Match"), ("preference-applied" = String, description = "The `wait` of `prefer` that was applied"))),
        (status = 202, description = "The message is sent and collects responses", body = Message,
            headers(("location" = String, description = "The path of the message"), ("etag" = String, description = "The tag of the specification, for If-Match"), ("preference-applied" = String, description = "The `wait` of `prefer` that was applied; it ended before the message was closed"))),
        Problem,
    ))]
pub(super) async fn send(
    State(control): State<Control>,
    State(budget): State<Arc<RequestBytes>>,
    conditions: NewConditions,
    preferred: PreferredWait,
    authorization: Authorization,
    request: Request,
) -> Result<Response, Problem> {
    let (spec, wait_ms) = read_spec(&control, &budget, request, false).await?;
    conditions.check()?;
    let message = control.send(spec).await?;
    let done = Done::Sent(message.copies_sent());
    respond(&message, Wait::of(wait_ms, preferred), &authorization, StatusCode::ACCEPTED, done).await
}

/// Send a message under a client's id
///
/// Idempotent: the same request finds the message and sends nothing; for a different one, the service responds with
/// 409. What GET gives is the same request: the members that only the view has, such as `sent`, are ignored.
#[utoipa::path(put, path = "/v1/messages/{id}", tag = "messages", operation_id = "put_message",
    params(IdParam<Message>, IfMatch, IfNoneMatch, RawOptions, PreferWait),
    request_body(content((MessageBody = "application/json"), (String = "text/plain", example = "very important data"), (RawPayload = "application/octet-stream"))),
    responses(
        (status = 200, description = "The message is closed, or existed before", body = Collected,
            headers(("location" = String, description = "The path of the message"), ("etag" = String, description = "The tag of the specification, for If-Match"), ("preference-applied" = String, description = "The `wait` of `prefer` that was applied"))),
        (status = 202, description = "The message is sent and collects responses", body = Message,
            headers(("location" = String, description = "The path of the message"), ("etag" = String, description = "The tag of the specification, for If-Match"), ("preference-applied" = String, description = "The `wait` of `prefer` that was applied; it ended before the message was closed"))),
        Problem,
    ))]
pub(super) async fn put(
    State(control): State<Control>,
    State(budget): State<Arc<RequestBytes>>,
    PathId(id): PathId,
    Conditions(condition): Conditions,
    preferred: PreferredWait,
    authorization: Authorization,
    request: Request,
) -> Result<Response, Problem> {
    let known = control.message(&id).is_ok();
    let (spec, wait_ms) = read_spec(&control, &budget, request, known).await?;
    let (message, outcome) = control.send_as(id, spec, &condition).await?;
    let otherwise = if outcome == Outcome::Created { StatusCode::ACCEPTED } else { StatusCode::OK };
    let wait = Wait::of(wait_ms, preferred);
    respond(&message, wait, &authorization, otherwise, Done::Sent(message.copies_sent())).await
}

type MessageList = List<Message>;

/// List messages
#[utoipa::path(get, path = "/v1/messages", tag = "messages", operation_id = "list_messages",
    params(ListParams<MessageState>),
    responses((status = 200, description = "A page of the list", body = MessageList), Problem))]
pub(super) async fn list(
    State(control): State<Control>,
    Query(params, errors): Query<ListParams<MessageState>>,
) -> Result<JsonResponse<List<Message>>, Problem> {
    let closed = params.state.map(|state| state == MessageState::Closed);
    let query = params.query(errors).map_err(Problem::of_parameters)?;
    let show: fn(&MessageView) -> Message =
        if params.brief == Some(true) { Message::brief } else { |view| Message::from(view) };
    let list = compute(Done::Nothing, move || {
        let page = control.messages(&query, closed);
        let entries = page
            .entries
            .iter()
            .map(|message| (list_cursor(params.sort, &message.position()), show(&message.view())));
        List::new(entries, page.more, page.total)
    });
    Ok(JsonResponse(list.await?))
}

/// Delete messages by their labels
///
/// The service deletes those whose labels match the selector, each as if by its id, and responds once all are deleted. A
/// list has no `etag`: a request with If-Match for one gets 412.
#[utoipa::path(delete, path = "/v1/messages", tag = "messages", operation_id = "delete_messages",
    params(DeletionParams),
    responses((status = 200, description = "How many were deleted", body = Deleted), Problem))]
pub(super) async fn delete_selected(
    control: State<Control>,
    conditions: ListConditions,
    params: Query<DeletionParams>,
) -> Result<JsonResponse<Deleted>, Problem> {
    deletion::delete_selected::<Message>(control, conditions, params).await
}

/// Show a message
///
/// With `wait_ms`, the service waits up to that long until the message is closed, and then also shows the first 1,000
/// responses, or the first MiB of them. `etag` is the tag of the specification, which never changes; the response
/// has `cache-control: no-store`, and is never 304.
#[utoipa::path(get, path = "/v1/messages/{id}", tag = "messages", operation_id = "get_message",
    params(IdParam<Message>, IfMatch, WaitQuery, PreferWait),
    responses((status = 200, description = "The message", body = Collected,
        headers(("etag" = String, description = "The tag of the specification, for If-Match"),
            ("cache-control" = String, description = "`no-store`: counters and states change all the time"))), Problem))]
pub(super) async fn show(
    State(control): State<Control>,
    PathId(id): PathId,
    Query(query, errors): Query<WaitQuery>,
    ReadCondition(condition): ReadCondition,
    preferred: PreferredWait,
    authorization: Authorization,
) -> Result<Response, Problem> {
    let wait = Wait::of(query.read(errors).map_err(Problem::of_parameters)?, preferred);
    let message = control.message(&id)?;
    condition.check(Message::KIND, &id, Some(message.revision()))?;
    if wait.is_none() {
        let identity = identity(Message::KIND, message.id(), message.revision());
        let is_large = message.responders() > MAX_ON_A_WORKER;
        let show = move || Message::from(&message.view());
        let shown = if is_large { compute(Done::Nothing, show).await? } else { show() };
        return Ok((identity, JsonResponse(shown)).into_response());
    }
    respond(&message, wait, &authorization, StatusCode::OK, Done::Nothing).await
}

/// Cancel a message
///
/// The message stops collecting; its log stays.
#[utoipa::path(post, path = "/v1/messages/{id}/cancel", tag = "messages", operation_id = "cancel_message",
    params(IdParam<Message>, IfMatch),
    responses((status = 200, description = "The message is closed", body = Message,
        headers(("etag" = String, description = "The tag of the specification, for If-Match"))), Problem))]
pub(super) async fn cancel(
    State(control): State<Control>,
    PathId(id): PathId,
    _: NoQuery,
    Conditions(condition): Conditions,
) -> Result<Response, Problem> {
    let message = control.cancel(&id, &condition).await?;
    Ok((tagged(message.revision()), JsonResponse(Message::from(&message.view()))).into_response())
}

/// Delete a message
///
/// The message stops collecting, and the service deletes its log.
#[utoipa::path(delete, path = "/v1/messages/{id}", tag = "messages", operation_id = "delete_message",
    params(IdParam<Message>, IfMatch),
    responses((status = 204, description = "Deleted"), Problem))]
pub(super) async fn delete(
    State(control): State<Control>,
    PathId(id): PathId,
    _: NoQuery,
    Conditions(condition): Conditions,
) -> Result<StatusCode, Problem> {
    control.delete(&id, &condition).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Read the responses to a message
///
/// `Accept` or `format` selects the form: a JSON page, server-sent events, NDJSON or a pcapng capture file.
#[utoipa::path(get, path = "/v1/messages/{id}/responses", tag = "messages", operation_id = "read_message_responses",
    params(IdParam<Message>, ReadQuery, LastEventId),
    responses(LogContent<DatagramPage<datagrams::Response>>, Problem))]
pub(super) async fn responses(
    State(control): State<Control>,
    PathId(id): PathId,
    reading: Reading,
) -> Result<Response, Problem> {
    reading.respond(&control, Message::KIND, &id).await
}

/// Read the payload of one response
///
/// The unchanged payload, without any encoding.
#[utoipa::path(get, path = "/v1/messages/{id}/responses/{seq}/payload", tag = "messages", operation_id = "read_message_response_payload",
    params(DatagramParams<Message>),
    responses(PayloadContent, Problem))]
pub(super) async fn payload(
    State(control): State<Control>,
    path: DatagramPath,
    _: NoQuery,
) -> Result<Response, Problem> {
    path.payload(&control, Message::KIND).await
}

/// The message to send, and how many milliseconds the request waits for it. `known`: the message already exists, and
/// its interfaces may no longer exist.
async fn read_spec(
    control: &Control,
    budget: &Arc<RequestBytes>,
    request: Request,
    known: bool,
) -> Result<(MessageSpec, Option<u64>), Problem> {
    let content = Content::of(request.headers());
    let (request, wait): (MessageRequest, _) = match content {
        Content::Json => {
            let (wait, misplaced) = MisplacedOptions::beside_wait::<MessageBody>(request.uri());
            let parsed = parse_json::<MessageBody>(&read_body(request, budget).await?.bytes);
            let (body, errors) = misplaced.with_parsed(parsed)?;
            (misplaced.with(body.read(errors))?, wait)
        }
        Content::Raw => {
            let query = request.uri().query().unwrap_or_default();
            let (options, errors) = parse_query::<RawOptions>(query).map_err(Problem::of_parameters)?;
            let (in_query, wait) = (errors.left_out("/payload"), options.wait_ms);
            let read = options.read(read_body(request, budget).await?.bytes, errors);
            (read.map_err(|errors| wrong_options(errors, in_query))?, wait)
        }
        Content::MergePatch | Content::Other => {
            let hint = "send application/json (with curl, use --json), or the payload as text/plain or application/octet-stream";
            return Err(wrong_type(request.headers(), hint));
        }
    };
    let interfaces = control.resolve(&request.interfaces, Purpose::Send, |_| known).await?;
    Ok((request.on(interfaces), wait))
}

/// The errors of a message whose body is the payload: in its options, or only in the payload. `in_query`: an option has
/// the name of the payload.
fn wrong_options(errors: Vec<FieldError>, in_query: bool) -> Problem {
    let is_of_body = !in_query && errors.iter().all(|error| error.pointer == "/payload");
    if is_of_body { Problem::of_fields(errors) } else { Problem::of_parameters(errors) }
}

/// How long a request waits for a message.
struct Wait {
    time: Duration,
    /// The seconds, if `Prefer` names them.
    preferred: Option<u64>,
}

impl Wait {
    fn of(wait_ms: Option<u64>, PreferredWait(preferred): PreferredWait) -> Option<Self> {
        let given = wait_ms.map(|wait| Self { time: Duration::from_millis(wait), preferred: None });
        given.or_else(|| preferred.map(|wait| Self { time: Duration::from_secs(wait), preferred }))
    }
}

/// The message, once it is closed or the wait is over. `otherwise`: the status if the request did not wait, or the
/// message was not closed in time. `done`: what the request has done so far.
async fn respond(
    message: &Arc<Sent>,
    wait: Option<Wait>,
    authorization: &Authorization,
    otherwise: StatusCode,
    done: Done,
) -> Result<Response, Problem> {
    let identity = identity(Message::KIND, message.id(), message.revision());
    let Some(wait) = wait else {
        return Ok((otherwise, identity, JsonResponse(Message::from(&message.view()))).into_response());
    };
    let location = location(Message::KIND, message.id());
    // When the service stops, it closes its messages, so this wait ends too.
    tokio::select! {
        _ = tokio::time::timeout(wait.time, message.wait_closed()) => {}
        // The message exists and continues; the client needs its id.
        problem = authorization.ended() => return Ok((location, problem).into_response()),
    }
    let name = HeaderName::from_static("preference-applied");
    let applied = wait.preferred.map(|seconds| [(name, format!("wait={seconds}"))]);
    let view = message.view();
    if view.closed.is_none() {
        return Ok((otherwise, identity, applied, JsonResponse(Message::from(&view))).into_response());
    }
    let page = match LogOwner::Message(message.clone()).read(done, None, MAX_PAGE, ReadRange::ALL).await {
        Ok(page) => page,
        // The message exists, so the client needs its id.
        Err(problem) => return Ok((location, problem).into_response()),
    };
    let collected = move || {
        let page = response_page(&page, view.dropped_buffers);
        Collected {
            message: Message::from(&view),
            responses: Some(page.items),
            next_cursor: Some(page.next_cursor),
            gap: page.gap,
        }
    };
    match compute(done, collected).await {
        Ok(collected) => Ok((StatusCode::OK, identity, applied, JsonResponse(collected)).into_response()),
        Err(problem) => Ok((location, problem).into_response()),
    }
}
