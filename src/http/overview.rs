//! The routes of groups and interfaces.

use axum::extract::State;

use super::compute::compute;
use super::extract::Query;
use super::json_response::JsonResponse;
use super::problem::{Problem, ProblemKind};
use crate::contract::lists::List;
use crate::contract::overview::{Group, GroupParams, Interface, Interfaces};
use crate::control::{Control, Done};

type GroupList = List<Group>;

/// List groups with their members
#[utoipa::path(get, path = "/v1/groups", tag = "overview", operation_id = "list_groups",
    params(GroupParams),
    responses(
        (status = 200, description = "A page of the groups that memberships or responders have joined", body = GroupList),
        Problem,
    ))]
pub(super) async fn groups(
    State(control): State<Control>,
    Query(params, errors): Query<GroupParams>,
) -> Result<JsonResponse<GroupList>, Problem> {
    let query = params.query(errors).map_err(Problem::of_parameters)?;
    let list = compute(Done::Nothing, move || {
        let mut matching = control.groups().into_iter().filter(|(group, _)| query.matches(group));
        let page: Vec<_> = matching.by_ref().take(query.limit).collect();
        let more = matching.next().is_some();
        let entries = page.into_iter().map(|(group, view)| (group.to_string(), Group::new(group, view)));
        List::new(entries, more)
    });
    Ok(JsonResponse(list.await?))
}

/// List the host's interfaces, and whether they support multicast
#[utoipa::path(get, path = "/v1/interfaces", tag = "overview", operation_id = "list_interfaces",
    responses((status = 200, description = "All interfaces", body = Interfaces), Problem))]
pub(super) async fn interfaces(State(control): State<Control>) -> Result<JsonResponse<Interfaces>, Problem> {
    let table = control.interfaces().await;
    let table = table.map_err(|error| Problem::new(ProblemKind::NetworkFailure, error.to_string()))?;
    Ok(JsonResponse(Interfaces {
        items: table.interfaces.iter().map(|interface| Interface::new(interface, &table)).collect(),
    }))
}
