//! The handlers that memberships and responders share.

use axum::Json as JsonResponse;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use utoipa::{IntoParams, ToSchema};

use super::compute::{compute, compute_within};
use super::extract::{Json, PathId, Query};
use super::problem::{Problem, ProblemKind};
use super::resource::{Resource, location};
use crate::contract::lists::{JoinListParams, List};
use crate::contract::memberships::Membership;
use crate::contract::responders::Responder;
use crate::contract::{FieldError, FieldErrors, MembershipBody, ResponderBody};
use crate::control::{Control, ControlError, Done, JoinRequest, MembershipView, Outcome};
use crate::model::Id;

/// The view of a membership or responder.
pub(super) trait Join:
    Resource + Serialize + Send + 'static + for<'a> From<&'a MembershipView>
{
    type Body: DeserializeOwned + ToSchema + Send + 'static;
    /// The description of the response to a creation.
    const CREATED: &'static str;

    /// `errors`: those that were found before.
    fn read(body: Self::Body, errors: FieldErrors) -> Result<JoinRequest, Vec<FieldError>>;

    /// Whether to read the body takes long.
    fn has_pattern(_: &Self::Body) -> bool {
        false
    }
}

impl Join for Membership {
    type Body = MembershipBody;
    const CREATED: &'static str = "The membership has joined the group, or waits for an interface";

    fn read(body: MembershipBody, errors: FieldErrors) -> Result<JoinRequest, Vec<FieldError>> {
        body.read(errors)
    }
}

impl Join for Responder {
    type Body = ResponderBody;
    const CREATED: &'static str = "The responder has joined the group, or waits for an interface";

    fn read(body: ResponderBody, errors: FieldErrors) -> Result<JoinRequest, Vec<FieldError>> {
        body.read(errors)
    }

    fn has_pattern(body: &ResponderBody) -> bool {
        body.has_pattern()
    }
}

/// Creates under a new id: 201 with its location.
pub(super) async fn create<T: Join>(
    State(control): State<Control>,
    Json(body, errors): Json<T::Body>,
) -> Result<Response, Problem> {
    let request = read::<T>(body, errors).await?;
    let id = Id::generate();
    let joined = control.join_as(id.clone(), request, true).await;
    if let Err(error @ ControlError::TimedOut { done: Done::Created }) = joined {
        // The resource exists, so the client needs its id.
        return Ok((location(T::KIND, &id), Problem::from(error)).into_response());
    }
    let view = joined?.0.view();
    Ok((StatusCode::CREATED, location(T::KIND, &view.id), JsonResponse(T::from(&view))).into_response())
}

/// Creates, renews or changes the resource under the client's id: 201 or 200.
pub(super) async fn put<T: Join>(
    State(control): State<Control>,
    PathId(id): PathId,
    headers: HeaderMap,
    Json(body, errors): Json<T::Body>,
) -> Result<Response, Problem> {
    let request = read::<T>(body, errors).await?;
    let (membership, outcome) = control.join_as(id, request, only_creates(&headers)?).await?;
    let view = membership.view();
    let status = if outcome == Outcome::Created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, location(T::KIND, &view.id), JsonResponse(T::from(&view))).into_response())
}

pub(super) async fn list<T: Join>(
    State(control): State<Control>,
    Query(params, errors): Query<JoinListParams>,
) -> Result<JsonResponse<List<T>>, Problem> {
    let query = params.query(errors).map_err(Problem::of_parameters)?;
    let list = compute(Done::Nothing, move || {
        let (page, more) = control.memberships(T::KIND, &query, params.state.map(Into::into), params.hears);
        let entries =
            page.iter().map(|membership| (membership.id().to_string(), T::from(&membership.view())));
        List::new(entries, more)
    });
    Ok(JsonResponse(list.await?))
}

pub(super) fn show<T: Join>(
    State(control): State<Control>,
    PathId(id): PathId,
) -> Result<JsonResponse<T>, Problem> {
    let membership = control.membership(T::KIND, &id)?;
    Ok(JsonResponse(T::from(&membership.view())))
}

pub(super) async fn leave<T: Join>(
    State(control): State<Control>,
    PathId(id): PathId,
) -> Result<StatusCode, Problem> {
    control.leave(T::KIND, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Reads a body. A pattern takes up to 100 ms to compile, so not on a worker of the runtime; and one at a time, so that
/// clients that send the worst patterns occupy one core.
async fn read<T: Join>(body: T::Body, errors: FieldErrors) -> Result<JoinRequest, Problem> {
    static COMPILING: Semaphore = Semaphore::const_new(1);
    if !T::has_pattern(&body) {
        return T::read(body, errors).map_err(Problem::of_fields);
    }
    let request = compute_within(&COMPILING, Done::Nothing, || T::read(body, errors)).await?;
    request.map_err(Problem::of_fields)
}

/// The header as the API document shows it.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "the handler reads the headers; this is the documentation")]
pub(super) struct IfNoneMatch {
    /// `*`: only create; the service responds with 412 if the resource exists
    #[param(rename = "if-none-match", inline, nullable = false, example = "*")]
    condition: Option<OnlyCreate>,
}

/// Only create (RFC 9110 section 13.1.2).
#[derive(ToSchema)]
#[expect(dead_code, reason = "the handler reads the headers; this is the schema")]
enum OnlyCreate {
    #[schema(rename = "*")]
    Any,
}

/// `If-None-Match: *` (RFC 9110 section 13.1.2): only create. Resources have no entity tags to compare.
fn only_creates(headers: &HeaderMap) -> Result<bool, Problem> {
    match headers.get(header::IF_NONE_MATCH).map(|value| value.as_bytes().trim_ascii()) {
        None => Ok(false),
        Some(b"*") => Ok(true),
        Some(_) => {
            let detail = "If-None-Match takes only `*` here, to create and never change";
            Err(Problem::new(ProblemKind::InvalidParameter, detail))
        }
    }
}
