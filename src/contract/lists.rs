//! Lists of resources: sorted, paged by cursor, filtered by group, labels and state.

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
use crate::control::{ListOrder, ListPosition, ListQuery};
use crate::model::{Id, Timestamp, parse_decimal};

/// Parameters of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, bound(deserialize = "S: Deserialize<'de>"))]
#[into_params(parameter_in = Query)]
pub struct ListParams<S: ToSchema> {
    /// The `next_cursor` of the previous page: show the entries after it.
    #[param(nullable = false, min_length = 1)]
    after: Option<String>,
    /// The order; default: `id`. Of resources created at the same time, the ids decide.
    #[serde(default)]
    #[param(inline)]
    pub sort: Sort,
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
    /// Leave out what can be large: `payload`, `payload_base64`, `interfaces`, `sent`, `responders` and
    /// `responders_complete`. The rest is not the whole specification, so do not send it back with PUT.
    #[param(nullable = false, default = false)]
    pub brief: Option<bool>,
}

/// Parameters of a list of memberships or responders.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct JoinListParams {
    /// The `next_cursor` of the previous page: show the entries after it.
    #[param(nullable = false, min_length = 1)]
    after: Option<String>,
    /// The order; default: `id`. Of resources created at the same time, the ids decide.
    #[serde(default)]
    #[param(inline)]
    pub sort: Sort,
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
    /// Leave out what can be large: `interfaces`, `sources` and, of a responder, `reply`, `match` and `reply_addresses`.
    /// The rest is not the whole specification, so do not send it back with PUT.
    #[param(nullable = false, default = false)]
    pub brief: Option<bool>,
}

/// The order of a list; with `-`, from the last to the first.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
pub enum Sort {
    #[default]
    #[serde(rename = "id")]
    Id,
    #[serde(rename = "-id")]
    IdDescending,
    #[serde(rename = "created_at")]
    CreatedAt,
    #[serde(rename = "-created_at")]
    CreatedAtDescending,
}

/// What to write instead of a text that is no cursor of a list.
pub(super) const CURSOR_HINT: &str =
    "pass a `next_cursor` of this list as it was given, or leave `after` out";

pub(super) fn default_limit() -> u64 {
    100
}

/// A page of a list.
#[derive(Debug, Serialize)]
pub struct List<T> {
    items: Vec<T>,
    next_cursor: Option<String>,
    total: usize,
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
        let total = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(0_u64))
            .description(Some("How many entries the filters select, on all pages."));
        ObjectBuilder::new()
            .description(Some(
                "A page of a list. It ends after `limit` entries, or with the entry that fills 1 MiB.",
            ))
            .property("items", items)
            .required("items")
            .property("next_cursor", cursor)
            .required("next_cursor")
            .property("total", total)
            .required("total")
            .into()
    }
}

impl<S: ToSchema> ListParams<S> {
    /// `errors`: those that were found before.
    pub fn query(&self, errors: FieldErrors) -> Result<ListQuery, Vec<FieldError>> {
        list_query(
            errors,
            self.after.as_deref(),
            self.sort,
            self.limit,
            self.group.as_deref(),
            self.label.as_deref(),
        )
    }
}

impl JoinListParams {
    /// `errors`: those that were found before.
    pub fn query(&self, errors: FieldErrors) -> Result<ListQuery, Vec<FieldError>> {
        list_query(
            errors,
            self.after.as_deref(),
            self.sort,
            self.limit,
            self.group.as_deref(),
            self.label.as_deref(),
        )
    }
}

fn list_query(
    mut errors: FieldErrors,
    after: Option<&str>,
    sort: Sort,
    limit: u64,
    group: Option<&str>,
    label: Option<&str>,
) -> Result<ListQuery, Vec<FieldError>> {
    let after = after.map(|after| match parse_cursor(after) {
        // The order of the list is not known.
        _ if errors.left_out("/sort") => Err(errors.refused()),
        Some((of, position)) if of == sort => Ok(position),
        Some((of, _)) => {
            let fact = format!("`after` is a cursor of `sort={}`", of.name());
            let hint = "write that too, or leave `after` out to begin in another order";
            Err(errors.push(FieldError::new("/after", fact).hint(hint)))
        }
        None => errors.read("/after", after, Err(CURSOR_HINT)),
    });
    let limit = list_limit(&mut errors, limit);
    let group = group.map(|group| parse_group(&mut errors, "/group", group).map(|(group, _)| group));
    let selector = label.map(|label| read_selector(&mut errors, label)).transpose();
    let query = || {
        let (after, group) = (after.transpose()?, group.transpose()?);
        Ok(ListQuery { order: sort.into(), after, limit, group, selector: selector? })
    };
    errors.finish(query())
}

/// The cursor after the entry at this position. It names its order: another order goes on from elsewhere.
pub fn list_cursor(sort: Sort, position: &ListPosition) -> String {
    format!("{}:{}:{}", sort.name(), position.created_at.0, position.id)
}

fn parse_cursor(text: &str) -> Option<(Sort, ListPosition)> {
    let (sort, position) = text.split_once(':')?;
    let (created_at, id) = position.split_once(':')?;
    let sort = Sort::ALL.into_iter().find(|known| known.name() == sort)?;
    let created_at = Timestamp(parse_decimal(created_at)?);
    Some((sort, ListPosition { created_at, id: Id::parse(id).ok()? }))
}

impl Sort {
    const ALL: [Self; 4] = [Self::Id, Self::IdDescending, Self::CreatedAt, Self::CreatedAtDescending];

    fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::IdDescending => "-id",
            Self::CreatedAt => "created_at",
            Self::CreatedAtDescending => "-created_at",
        }
    }
}

impl From<Sort> for ListOrder {
    fn from(sort: Sort) -> Self {
        match sort {
            Sort::Id => Self::Id,
            Sort::IdDescending => Self::IdDescending,
            Sort::CreatedAt => Self::CreatedAt,
            Sort::CreatedAtDescending => Self::CreatedAtDescending,
        }
    }
}

impl<T: Serialize> List<T> {
    /// A page of these entries, given with their cursors, as far as it has room for them. `more`: whether further
    /// entries follow. `total`: how many there are on all pages.
    pub fn new(entries: impl IntoIterator<Item = (String, T)>, more: bool, total: usize) -> Self {
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
        Self { items, next_cursor: last.filter(|_| more), total }
    }
}

/// Reads the limit of a list's page.
pub(super) fn list_limit(errors: &mut FieldErrors, limit: u64) -> usize {
    const MAX_LIMIT: u64 = 1_000;
    usize::try_from(errors.bounded("/limit", limit, 1..=MAX_LIMIT)).unwrap_or(usize::MAX)
}
