//! The routes of groups and interfaces.

use axum::extract::State;

use super::compute::compute;
use super::extract::{NoQuery, PathText, Query};
use super::json::JsonResponse;
use super::problem::{Problem, ProblemKind};
use crate::contract::lists::List;
use crate::contract::overview::{Group, GroupParams, Interface, Interfaces, path_group};
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
        let page = control.groups(&query);
        let entries =
            page.groups.into_iter().map(|(group, view)| (group.to_string(), Group::new(group, view)));
        List::new(entries, page.more, page.total)
    });
    Ok(JsonResponse(list.await?))
}

/// Show a group with its members
///
/// As in the list of groups.
#[utoipa::path(get, path = "/v1/groups/{group}", tag = "overview", operation_id = "get_group",
    params(("group" = String, Path, description = "The group, as in `239.1.2.3:10000` or `[ff15::1]:10000`; its characters may be percent-encoded",
        example = "239.1.2.3:10000")),
    responses((status = 200, description = "The group", body = Group), Problem))]
pub(super) async fn group(
    State(control): State<Control>,
    PathText(text): PathText,
    _: NoQuery,
) -> Result<JsonResponse<Group>, Problem> {
    let group = path_group(&text).map_err(Problem::of_parameters)?;
    let view = compute(Done::Nothing, move || control.group(group)).await?;
    view.map(|view| JsonResponse(Group::new(group, view))).ok_or_else(|| {
        let detail = format!(
            "no membership or responder is in {group}: GET /v1/groups lists the groups that are in use"
        );
        Problem::new(ProblemKind::NotFound, detail)
    })
}

/// List the host's interfaces, and whether they support multicast
#[utoipa::path(get, path = "/v1/interfaces", tag = "overview", operation_id = "list_interfaces",
    responses((status = 200, description = "All interfaces", body = Interfaces), Problem))]
pub(super) async fn interfaces(
    State(control): State<Control>,
    _: NoQuery,
) -> Result<JsonResponse<Interfaces>, Problem> {
    let table = control.interfaces().await;
    let table = table.map_err(|error| Problem::new(ProblemKind::NetworkFailure, error.to_string()))?;
    Ok(JsonResponse(Interfaces {
        items: table.interfaces.iter().map(|interface| Interface::new(interface, &table)).collect(),
    }))
}
