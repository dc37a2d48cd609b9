//! The handlers that memberships and responders share.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use utoipa::ToSchema;

use super::compute::{compute, compute_within};
use super::conditions::{Conditions, NewConditions, ReadCondition, identity, tagged};
use super::extract::{Json, OptionalJson, Patch, PathId, Query};
use super::json::JsonResponse;
use super::misplaced::MisplacedOptions;
use super::problem::Problem;
use super::resource::{Resource, location};
use crate::contract::lists::{JoinListParams, List, list_cursor};
use crate::contract::memberships::Membership;
use crate::contract::responders::Responder;
use crate::contract::{
    FieldError, FieldErrors, MembershipBody, MembershipPatch, RenewBody, ResponderBody, ResponderPatch,
};
use crate::control::{
    Condition, Control, ControlError, Done, JoinRequest, ListEntry, MembershipView, Outcome, RequestedLease,
};
use crate::model::Id;

/// The view of a membership or responder.
pub(super) trait Join:
    Resource + Serialize + Send + 'static + for<'a> From<&'a MembershipView>
{
    type Body: DeserializeOwned + ToSchema + Send + 'static;
    type Patch: ToSchema + 'static;
    /// The description of the response to a creation.
    const CREATED: &'static str;

    /// `errors`: those that were found before.
    fn read(body: Self::Body, errors: FieldErrors) -> Result<JoinRequest, Vec<FieldError>>;

    /// Without the members that can be large.
    fn brief(view: &MembershipView) -> Self;

    /// Whether to read the body takes long.
    fn has_pattern(_: &Self::Body) -> bool {
        false
    }
}

impl Join for Membership {
    type Body = MembershipBody;
    type Patch = MembershipPatch;
    const CREATED: &'static str = "The membership has joined the group, or waits for an interface";

    fn read(body: MembershipBody, errors: FieldErrors) -> Result<JoinRequest, Vec<FieldError>> {
        body.read(errors)
    }

    fn brief(view: &MembershipView) -> Self {
        Self::brief(view)
    }
}

impl Join for Responder {
    type Body = ResponderBody;
    type Patch = ResponderPatch;
    const CREATED: &'static str = "The responder has joined the group, or waits for an interface";

    fn read(body: ResponderBody, errors: FieldErrors) -> Result<JoinRequest, Vec<FieldError>> {
        body.read(errors)
    }

    fn brief(view: &MembershipView) -> Self {
        Self::brief(view)
    }

    fn has_pattern(body: &ResponderBody) -> bool {
        body.has_pattern()
    }
}

/// Creates under a new id: 201 with its location.
pub(super) async fn create<T: Join>(
    State(control): State<Control>,
    conditions: NewConditions,
    Json(body, errors, misplaced): Json<T::Body>,
) -> Result<Response, Problem> {
    let request = read::<T>(body, errors, &misplaced).await?;
    conditions.check()?;
    let id = Id::generate();
    let joined = control.join_as(id.clone(), request, &Condition::ONLY_CREATE).await;
    if let Err(error @ ControlError::TimedOut { done: Done::Created }) = joined {
        // The resource exists, so the client needs its id.
        return Ok((location(T::KIND, &id), Problem::from(error)).into_response());
    }
    let view = joined?.0.view();
    Ok((StatusCode::CREATED, identity(T::KIND, &view.id, view.revision), JsonResponse(T::from(&view)))
        .into_response())
}

/// Creates, renews or changes the resource under the client's id: 201 or 200.
pub(super) async fn put<T: Join>(
    State(control): State<Control>,
    PathId(id): PathId,
    Conditions(condition): Conditions,
    Json(body, errors, misplaced): Json<T::Body>,
) -> Result<Response, Problem> {
    let request = read::<T>(body, errors, &misplaced).await?;
    let (membership, outcome) = control.join_as(id, request, &condition).await?;
    let view = membership.view();
    let status = if outcome == Outcome::Created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, identity(T::KIND, &view.id, view.revision), JsonResponse(T::from(&view))).into_response())
}

/// Applies a patch to the specification as GET gives it. The lease stays as it is, unless the patch has it.
pub(super) async fn patch<T: Join>(
    State(control): State<Control>,
    PathId(id): PathId,
    Conditions(condition): Conditions,
    Patch(patch, misplaced, _): Patch<T::Patch>,
) -> Result<Response, Problem> {
    loop {
        let view = control.membership(T::KIND, &id)?.view();
        condition.check(T::KIND, &id, Some(view.revision))?;
        let (body, errors) = misplaced.with_parsed(patch.apply(&T::from(&view)))?;
        let request = read::<T>(body, errors, &misplaced).await?;
        let lease = if patch.has_lease() { request.lease } else { RequestedLease::Unchanged };
        let request = JoinRequest { lease, ..request };
        match control.join_as(id.clone(), request, &Condition::at(view.revision)).await {
            // Another request was faster: the patch is applied to what that one has made.
            Err(ControlError::OtherRevision { .. }) => {}
            changed => {
                let view = changed?.0.view();
                return Ok((tagged(view.revision), JsonResponse(T::from(&view))).into_response());
            }
        }
    }
}

/// Starts the lease again.
pub(super) async fn renew<T: Join>(
    State(control): State<Control>,
    PathId(id): PathId,
    Conditions(condition): Conditions,
    OptionalJson(body, misplaced): OptionalJson<RenewBody>,
) -> Result<Response, Problem> {
    let (body, errors) = body.unwrap_or_default();
    let lease = misplaced.with(body.read(errors))?;
    let view = control.renew(T::KIND, &id, lease, &condition).await?.view();
    Ok((tagged(view.revision), JsonResponse(T::from(&view))).into_response())
}

pub(super) async fn list<T: Join>(
    State(control): State<Control>,
    Query(params, errors): Query<JoinListParams>,
) -> Result<JsonResponse<List<T>>, Problem> {
    let query = params.query(errors).map_err(Problem::of_parameters)?;
    let show: fn(&MembershipView) -> T =
        if params.brief == Some(true) { T::brief } else { |view| T::from(view) };
    let list = compute(Done::Nothing, move || {
        let page = control.memberships(T::KIND, &query, params.state.map(Into::into), params.hears);
        let entries = page
            .entries
            .iter()
            .map(|membership| (list_cursor(params.sort, &membership.position()), show(&membership.view())));
        List::new(entries, page.more, page.total)
    });
    Ok(JsonResponse(list.await?))
}

pub(super) fn show<T: Join>(
    State(control): State<Control>,
    PathId(id): PathId,
    ReadCondition(condition): ReadCondition,
) -> Result<Response, Problem> {
    let view = control.membership(T::KIND, &id)?.view();
    condition.check(T::KIND, &id, Some(view.revision))?;
    Ok((tagged(view.revision), JsonResponse(T::from(&view))).into_response())
}

pub(super) async fn leave<T: Join>(
    State(control): State<Control>,
    PathId(id): PathId,
    Conditions(condition): Conditions,
) -> Result<StatusCode, Problem> {
    control.leave(T::KIND, &id, &condition).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Reads a body. A pattern takes up to 100 ms to compile, so not on a worker of the runtime; and one at a time, so that
/// clients that send the worst patterns occupy one core.
async fn read<T: Join>(
    body: T::Body,
    errors: FieldErrors,
    misplaced: &MisplacedOptions,
) -> Result<JoinRequest, Problem> {
    static COMPILING: Semaphore = Semaphore::const_new(1);
    if !T::has_pattern(&body) {
        return misplaced.with(T::read(body, errors));
    }
    let request = compute_within(&COMPILING, Done::Nothing, || T::read(body, errors)).await?;
    misplaced.with(request)
}
