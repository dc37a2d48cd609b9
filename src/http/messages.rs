use std::time::Duration;

use axum::Json as JsonAnswer;
use axum::extract::{Request, State as AppState};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response as Answer};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{Content, PathId, Query, Wait, parse_json, parse_query, read_body, wrong_type};
use super::fields::Encoding;
use super::joins::location;
use super::lists::{List, ListParams};
use super::message_view::{Collected, Message, State};
use super::problem::{Problem, ProblemKind};
use super::reading::{
    Capture, DatagramPage, DatagramPath, EventStream, Lines, RawBytes, ReadQuery, Reading, Response,
    first_page, page_of,
};
use super::sending::{MessageBody, MessageRequest, RawOptions, RawPayload};
use crate::control::{Control, Done, Message as Sent, Outcome, ResourceKind};
use crate::model::MessageSpec;

pub(super) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::new()
        .routes(routes!(list, send))
        .routes(routes!(show, put, forget))
        .routes(routes!(cancel))
        .routes(routes!(responses))
        .routes(routes!(payload))
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
    let spec = read_spec(&control, request, false).await?;
    let message = control.send(spec).await?;
    answer(&message, wait, StatusCode::ACCEPTED, Done::Sent(message.copies_sent())).await
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
    let known = control.message(&id).is_ok();
    let spec = read_spec(&control, request, known).await?;
    let (message, outcome) = control.send_as(id, spec).await?;
    let otherwise = if outcome == Outcome::Created { StatusCode::ACCEPTED } else { StatusCode::OK };
    answer(&message, wait, otherwise, Done::Sent(message.copies_sent())).await
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
    answer(&message, wait, StatusCode::OK, Done::Nothing).await
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
    let message = control.cancel(&id).await?;
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
    control.forget(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

type Responses = DatagramPage<Response>;

/// Read what came back to a message
///
/// As JSON pages, as events that go on, as lines, or as a capture file: `Accept` or `format` says which.
#[utoipa::path(get, path = "/v1/messages/{id}/responses", tag = "messages", operation_id = "read_responses",
    params(("id" = String, Path, description = "A client\'s own id, or the one that was given", pattern = "^[a-z0-9][a-z0-9._-]{0,62}$", example = "roll-1"), ReadQuery,
        ("last-event-id" = Option<String>, Header, nullable = false, description = "Of events, the `id` of the last that came: go on behind it. Goes before `after`", example = "1d60f7e7ade273a1-2")),
    responses(
        (status = 200, description = "The log, or a page of it",
            content((Responses = "application/json"), (EventStream = "text/event-stream"), (Lines = "application/x-ndjson"), (Capture = "application/x-pcapng")),
            headers(("vary" = String, description = "`accept`"), ("content-disposition" = Option<String>, description = "A name for the capture file"))),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn responses(
    AppState(control): AppState<Control>,
    PathId(id): PathId,
    reading: Reading,
) -> Result<Answer, Problem> {
    reading.answer(control.message(&id)?, &control).await
}

/// Read the payload of one response
///
/// As it was, without any form around it.
#[utoipa::path(get, path = "/v1/messages/{id}/responses/{seq}/payload", tag = "messages", operation_id = "read_response_payload",
    params(("id" = String, Path, description = "A client\'s own id, or the one that was given", pattern = "^[a-z0-9][a-z0-9._-]{0,62}$", example = "roll-1"),
        ("seq" = u64, Path, description = "The response\'s `seq`", example = 1)),
    responses(
        (status = 200, description = "The payload", body = RawBytes, content_type = "application/octet-stream"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn payload(AppState(control): AppState<Control>, place: DatagramPath) -> Result<Answer, Problem> {
    place.payload(&control.message(&place.id)?.into()).await
}

/// `known`: the message exists already, and its interfaces may be gone by now.
async fn read_spec(control: &Control, request: Request, known: bool) -> Result<MessageSpec, Problem> {
    let content = Content::of(request.headers());
    let query = request.uri().query().unwrap_or_default().to_owned();
    let wanted: MessageRequest = match content {
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
    let interfaces = control.resolve(&wanted.interfaces, |_| known).await?;
    Ok(wanted.on(interfaces))
}

/// The message, once it is closed or the wait is over; `otherwise` is the status if it was not closed in time or not
/// waited for. `done`: what the request has done so far.
async fn answer(message: &Sent, wait: Wait, otherwise: StatusCode, done: Done) -> Result<Answer, Problem> {
    let location = location(ResourceKind::Message, message.id());
    let Some(seconds) = wait.0 else {
        return Ok((otherwise, location, JsonAnswer(Message::from(&message.view()))).into_response());
    };
    // When the service stops, it closes its messages, so this wait ends too.
    let _ = tokio::time::timeout(Duration::from_secs(seconds), message.wait_closed()).await;
    let applied = [(HeaderName::from_static("preference-applied"), format!("wait={seconds}"))];
    let view = message.view();
    if view.closed.is_none() {
        return Ok((otherwise, location, applied, JsonAnswer(Message::from(&view))).into_response());
    }
    let page = match first_page(message.log(), done).await {
        Ok(page) => page,
        // The message exists, so the client has to learn its id.
        Err(problem) => return Ok((location, problem).into_response()),
    };
    let page = page_of(&page, view.dropped_buffers, |entry| Response::of(entry, Encoding::Auto));
    let collected = Collected {
        message: Message::from(&view),
        responses: Some(page.items),
        next_cursor: Some(page.next_cursor),
        gap: page.gap,
    };
    Ok((StatusCode::OK, location, applied, JsonAnswer(collected)).into_response())
}
