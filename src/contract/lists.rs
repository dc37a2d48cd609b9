//! Lists of resources: paged by cursor, filtered by group, labels and state.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Ref, Schema, SchemaType, Type};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::datagrams::PageRoom;
use super::field_errors::{FieldError, FieldErrors};
use super::fields::{decimal, parse_group};
use super::labels::read_selector;
use super::memberships::State;
use crate::control::ListQuery;
use crate::model::Id;

/// Parameters of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, bound(deserialize = "S: Deserialize<'de>"))]
#[into_params(parameter_in = Query)]
pub struct ListParams<S: ToSchema> {
    /// The `next_cursor` of the previous page: show the entries after it.
    #[param(nullable = false, min_length = 1)]
    after: Option<String>,
    /// The most entries in a page.
    #[serde(default = "default_limit", deserialize_with = "decimal")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: u64,
    /// Show only entries of this group.
    #[param(nullable = false, min_length = 1)]
    group: Option<String>,
    /// A selector: show only entries whose labels match it.
    #[param(nullable = false, min_length = 1, example = "site=lab,role!=test")]
    label: Option<String>,
    /// Show only entries in this state.
    #[param(inline, nullable = false)]
    pub state: Option<S>,
}

/// Parameters of a list of memberships or responders.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct JoinListParams {
    /// The `next_cursor` of the previous page: show the entries after it.
    #[param(nullable = false, min_length = 1)]
    after: Option<String>,
    /// The most entries in a page.
    #[serde(default = "default_limit", deserialize_with = "decimal")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: u64,
    /// Show only entries of this group.
    #[param(nullable = false, min_length = 1)]
    group: Option<String>,
    /// A selector: show only entries whose labels match it.
    #[param(nullable = false, min_length = 1, example = "site=lab,role!=test")]
    label: Option<String>,
    /// Show only entries in this state.
    #[param(inline, nullable = false)]
    pub state: Option<State>,
    /// Show only entries whose `hears` has this value.
    #[param(nullable = false)]
    pub hears: Option<bool>,
}

pub(super) fn default_limit() -> u64 {
    100
}

/// A page of a list, ordered by id.
#[derive(Debug, Serialize)]
pub struct List<T> {
    items: Vec<T>,
    next_cursor: Option<String>,
}

/// Implemented by hand, for a readable name in the API document: a list of `Membership` is a `MembershipList`.
impl<T: ToSchema> ToSchema for List<T> {
    fn name() -> Cow<'static, str> {
        format!("{}List", T::name()).into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((T::name().into_owned(), T::schema()));
        T::schemas(schemas);
    }
}

impl<T: ToSchema> PartialSchema for List<T> {
    fn schema() -> RefOr<Schema> {
        let items = Ref::from_schema_name(T::name()).to_array_builder().description(Some("The entries."));
        let cursor = ObjectBuilder::new()
            .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
            .description(Some("The cursor after the last entry: pass it as `after` to see the next page; null on the last page."));
        ObjectBuilder::new()
            .description(Some("A page of a list, ordered by id. It ends after `limit` entries, or with the entry that fills 1 MiB."))
            .property("items", items)
            .required("items")
            .property("next_cursor", cursor)
            .required("next_cursor")
            .into()
    }
}

impl<S: ToSchema> ListParams<S> {
    /// `errors`: those that were found before.
    pub fn query(&self, errors: FieldErrors) -> Result<ListQuery, Vec<FieldError>> {
        list_query(errors, self.after.as_deref(), self.limit, self.group.as_deref(), self.label.as_deref())
    }
}

impl JoinListParams {
    /// `errors`: those that were found before.
    pub fn query(&self, errors: FieldErrors) -> Result<ListQuery, Vec<FieldError>> {
        list_query(errors, self.after.as_deref(), self.limit, self.group.as_deref(), self.label.as_deref())
    }
}

fn list_query(
    mut errors: FieldErrors,
    after: Option<&str>,
    limit: u64,
    group: Option<&str>,
    label: Option<&str>,
) -> Result<ListQuery, Vec<FieldError>> {
    let after = after.map(|after| {
        let parsed = Id::parse(after)
            .map_err(|_| "pass a `next_cursor` of this list as it was given, or leave `after` out");
        errors.read("/after", after, parsed)
    });
    let limit = list_limit(&mut errors, limit);
    let group = group.map(|group| parse_group(&mut errors, "/group", group).map(|(group, _)| group));
    let selector = label.map(|label| read_selector(&mut errors, label)).transpose();
    let query =
        || Ok(ListQuery { after: after.transpose()?, limit, group: group.transpose()?, selector: selector? });
    errors.finish(query())
}

impl<T: Serialize> List<T> {
    /// A page of these entries, given with their cursors, as far as it has room for them. `more`: whether further
    /// entries follow.
    pub fn new(entries: impl IntoIterator<Item = (String, T)>, more: bool) -> Self {
        let (mut room, mut items, mut last) = (PageRoom::default(), Vec::new(), None);
        let mut entries = entries.into_iter();
        while !room.is_full()
            && let Some((cursor, item)) = entries.next()
        {
            room.take(&item);
            items.push(item);
            last = Some(cursor);
        }
        let more = more || entries.next().is_some();
        Self { items, next_cursor: last.filter(|_| more) }
    }
}

/// Reads the limit of a list's page.
pub(super) fn list_limit(errors: &mut FieldErrors, limit: u64) -> usize {
    const MAX_LIMIT: u64 = 1_000;
    usize::try_from(errors.bounded("/limit", limit, 1..=MAX_LIMIT)).unwrap_or(usize::MAX)
}
