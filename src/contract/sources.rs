//! Source filters as clients write them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::field_errors::{FieldError, FieldErrors, Refused, field_name};
use super::fields::read_address;
use crate::model::{Family, Group, SourceFilter, limits};

/// A source filter: exactly one of `include` (receive from these sources only) and `exclude` (from all others).
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SourceFilter, min_properties = 1, examples(json!({"include": ["192.0.2.10"]}), json!({"exclude": ["192.0.2.66"]})))]
pub(super) struct Sources {
    /// Source addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 1024)]
    include: Option<Vec<String>>,
    /// Source addresses; an empty list excludes none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 1024)]
    exclude: Option<Vec<String>>,
}

impl Sources {
    pub(super) fn of(filter: &SourceFilter) -> Option<Self> {
        let texts = |sources: &[IpAddr]| Some(sources.iter().map(ToString::to_string).collect());
        match filter {
            SourceFilter::Any => None,
            SourceFilter::Include(sources) => Some(Self { include: texts(sources), exclude: None }),
            SourceFilter::Exclude(sources) => Some(Self { include: None, exclude: texts(sources) }),
        }
    }
}

/// Without `sources`, the filter excludes none. If the group is invalid, only the addresses are checked.
pub(super) fn read_sources(
    errors: &mut FieldErrors,
    group: Option<&Group>,
    sources: Option<Sources>,
) -> Result<SourceFilter, Refused> {
    let (list, pointer, filter): (_, _, fn(&Group, Vec<IpAddr>) -> _) = match sources {
        None => {
            let group = group.ok_or_else(|| errors.refused())?;
            return SourceFilter::any(group).map_err(|error| {
                let example = if group.family() == Family::V4 { "192.0.2.10" } else { "2001:db8::10" };
                let example = errors.notation.member("sources", &json!({"include": [example]}));
                errors.push(
                    FieldError::new("/sources", error).hint(format!("name the sources, as in {example}")),
                )
            });
        }
        Some(Sources { include: Some(list), exclude: None }) => {
            (list, "/sources/include", SourceFilter::include)
        }
        Some(Sources { include: None, exclude: Some(list) }) => {
            (list, "/sources/exclude", SourceFilter::exclude)
        }
        Some(Sources { include, .. }) => {
            let found = if include.is_some() { "both `include` and" } else { "neither `include` nor" };
            let error = FieldError::new("/sources", format!("`sources` has {found} `exclude`"));
            return Err(errors.push(error.hint("write one of them, a list of addresses")));
        }
    };
    let list = read_addresses(errors, list, pointer)?;
    let group = group.ok_or_else(|| errors.refused())?;
    filter(group, list.clone()).map_err(|error| {
        if error.position().is_none() {
            return errors.push(FieldError::new(pointer, error));
        }
        // Each by itself, because the filter reports only the first.
        for (position, &address) in list.iter().enumerate() {
            if let Err(error) = filter(group, vec![address]) {
                errors.push(FieldError::new(format!("{pointer}/{position}"), error));
            }
        }
        errors.refused()
    })
}

/// An invalid address invalidates the whole list, because the others cannot be checked without it.
fn read_addresses(
    errors: &mut FieldErrors,
    list: Vec<String>,
    pointer: &str,
) -> Result<Vec<IpAddr>, Refused> {
    if list.len() > limits::SOURCES {
        let fact = format!("`{}` has {} addresses", field_name(pointer), list.len());
        errors.push(FieldError::new(pointer, fact).hint(format!("name at most {}", limits::SOURCES)));
    }
    let read =
        |(position, text): (usize, String)| read_address(errors, &format!("{pointer}/{position}"), &text);
    let addresses: Vec<_> = list.into_iter().enumerate().map(read).collect();
    addresses.into_iter().collect()
}
