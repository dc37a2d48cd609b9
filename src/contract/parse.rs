//! Parses bodies and queries. If that fails, all mistakes are found, and the rest is parsed without them, so that its
//! values can be checked too.

use std::any::Any;
use std::collections::HashSet;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::field_errors::{FieldError, FieldErrors};
use super::json_text;
use super::mistakes::{Schema, in_object, in_query};
use super::notation::{Notation, shown};

/// Why a body cannot be parsed, not even without its mistakes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyError {
    /// The body is not JSON.
    Syntax(String),
    /// The body is another kind of JSON value.
    Kind(String),
    Fields(Vec<FieldError>),
}

/// A body or a query without the mistakes in its structure, and these mistakes.
pub type Parsed<T> = (T, FieldErrors);

/// Parses a JSON body. Null is as if the field were left out.
pub fn parse_json<T: DeserializeOwned + ToSchema + Any>(text: &[u8]) -> Result<Parsed<T>, BodyError> {
    // serde would accept an array of the fields' values in order.
    if !text.trim_ascii_start().starts_with(b"[")
        && let Ok(body) = serde_json::from_slice(text)
    {
        return Ok((body, FieldErrors::in_structure(Vec::new(), Notation::Json)));
    }
    let (members, twice) = object(text, || Schema::of_body::<T>().example())?;
    parse_members(members, twice, Notation::Json).map_err(BodyError::Fields)
}

/// Parses a JSON merge patch. `T`: its schema.
pub(super) fn parse_patch<T: ToSchema + Any>(text: &[u8]) -> Result<Map<String, Value>, BodyError> {
    let example = || Schema::of_body::<T>().example();
    let (members, twice) = object(text, example).map_err(|error| match error {
        BodyError::Kind(_) => {
            let is_list = text.trim_ascii_start().starts_with(b"[");
            let kind = if is_list { "a list, as in a JSON Patch" } else { "not an object" };
            let example = example();
            BodyError::Kind(format!(
                "the body is {kind}: send a JSON merge patch (RFC 7396), as in {example}"
            ))
        }
        error => error,
    })?;
    if twice.is_empty() { Ok(members) } else { Err(BodyError::Fields(twice)) }
}

/// The members of a JSON object, and errors about those that it has twice. `example`: what it could be.
fn object(
    text: &[u8],
    example: impl Fn() -> String,
) -> Result<(Map<String, Value>, Vec<FieldError>), BodyError> {
    match json_text::parse(text) {
        Ok((Value::Object(members), twice)) => Ok((members, twice)),
        Ok((value, _)) => Err(BodyError::Kind(format!(
            "the body is {}: send an object, as in {}",
            shown(&value),
            example()
        ))),
        Err(error) => Err(BodyError::Syntax(json_text::syntax_error(&error, text, &example()))),
    }
}

/// Parses the members of an object. `found`: the mistakes that were found before.
pub(super) fn parse_members<T: DeserializeOwned + ToSchema + Any>(
    mut members: Map<String, Value>,
    mut found: Vec<FieldError>,
    notation: Notation,
) -> Result<Parsed<T>, Vec<FieldError>> {
    found.extend(in_object(&Schema::of_body::<T>(), &mut members, notation));
    match serde_json::from_value(Value::Object(members)) {
        Ok(body) => Ok((body, FieldErrors::in_structure(found, notation))),
        Err(_) if found.is_empty() => {
            Err(vec![FieldError::new("", "the fields cannot be accepted").hint("write them as /docs shows")])
        }
        Err(_) => Err(found),
    }
}

/// Parses a query.
pub fn parse_query<T>(query: &str) -> Result<Parsed<T>, Vec<FieldError>>
where
    T: DeserializeOwned + IntoParams + Any,
{
    let parameters = || form_urlencoded::parse(query.as_bytes());
    let mut names = HashSet::new();
    // Rust reads a number with a sign, and the deserializer treats a parameter with an empty value as absent.
    let is_plain =
        parameters().all(|(name, value)| !value.is_empty() && !value.starts_with('+') && names.insert(name));
    if is_plain && let Ok(parsed) = serde_html_form::from_str(query) {
        return Ok((parsed, FieldErrors::in_structure(Vec::new(), Notation::Query)));
    }
    let mut left: Vec<_> = parameters().collect();
    let found = in_query(&Schema::of_query::<T>(), &mut left);
    let rest = form_urlencoded::Serializer::new(String::new()).extend_pairs(left).finish();
    match serde_html_form::from_str(&rest) {
        Ok(parsed) => Ok((parsed, FieldErrors::in_structure(found, Notation::Query))),
        Err(_) if found.is_empty() => {
            Err(vec![FieldError::new("", "the query cannot be accepted").hint("write it as /docs shows")])
        }
        Err(_) => Err(found),
    }
}
