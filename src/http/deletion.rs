//! What the handlers that delete all resources which a selector matches share.

use axum::extract::State;

use super::conditions::ListConditions;
use super::extract::Query;
use super::json::JsonResponse;
use super::problem::Problem;
use super::resource::Resource;
use crate::contract::labels::{Deleted, DeletionParams};
use crate::control::Control;

pub(super) async fn delete_selected<T: Resource>(
    State(control): State<Control>,
    conditions: ListConditions,
    Query(params, errors): Query<DeletionParams>,
) -> Result<JsonResponse<Deleted>, Problem> {
    let selector = params.selector(errors).map_err(Problem::of_parameters)?;
    conditions.check()?;
    let deleted = control.delete_selected(T::KIND, selector).await?;
    Ok(JsonResponse(Deleted { deleted }))
}
