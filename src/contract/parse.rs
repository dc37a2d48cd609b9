//! Parses bodies and queries; errors name the invalid field.

use std::collections::HashSet;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde_path_to_error::Segment;

use super::field_errors::FieldError;

/// Why a body cannot be parsed as the requested type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyError {
    /// The body is not JSON.
    Syntax(String),
    /// The body is another kind of JSON value.
    Kind(String),
    Field(FieldError),
}

impl From<BodyError> for FieldError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Syntax(fact) | BodyError::Kind(fact) => Self::new("", fact),
            BodyError::Field(error) => error,
        }
    }
}

/// Parses a second time only if the first attempt fails, to learn which field is wrong.
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BodyError> {
    // serde would accept an array of the fields' values in order.
    if bytes.trim_ascii_start().starts_with(b"[") && serde_json::from_slice::<IgnoredAny>(bytes).is_ok() {
        return Err(BodyError::Kind("send a JSON object, not an array".to_owned()));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        if !error.is_data() {
            let (line, column) = (error.line(), error.column());
            let error = error.to_string();
            return BodyError::Syntax(format!("{}, at line {line}, column {column}", without_place(&error)));
        }
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
            Ok(_) => BodyError::Kind(error.to_string()),
            Err(error) => {
                let fact = error.inner().to_string();
                BodyError::Field(FieldError::new(pointer(error.path()), without_place(&fact)))
            }
        }
    })
}

/// Parses a query; unknown parameters are errors, like unknown fields.
pub fn parse_query<T: DeserializeOwned>(query: &str) -> Result<T, FieldError> {
    let parameters = || form_urlencoded::parse(query.as_bytes());
    let pointer_to = |name: &str| format!("/{}", escaped(name));
    let mut names = HashSet::new();
    if let Some((name, _)) = parameters().find(|(name, _)| !names.insert(name.clone())) {
        let error = FieldError::new(pointer_to(&name), format!("`{name}` is given more than once"));
        return Err(error.hint("give it once"));
    }
    // Rust reads a number with a sign; a parameter that is text never looks so.
    let is_signed = |value: &str| {
        value
            .strip_prefix('+')
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
    };
    if let Some((name, _)) = parameters().find(|(_, value)| is_signed(value)) {
        let error = FieldError::new(pointer_to(&name), format!("`{name}` has a sign"));
        return Err(error.hint("write the digits alone"));
    }
    let deserializer = serde_html_form::Deserializer::new(parameters());
    let parsed = serde_path_to_error::deserialize(deserializer)
        .map_err(|error| FieldError::new(pointer(error.path()), error.inner()))?;
    // The deserializer treats a parameter with an empty value as absent.
    match parameters().find(|(_, value)| value.is_empty()) {
        Some((name, _)) => {
            let error = FieldError::new(pointer_to(&name), format!("`{name}` has no value"));
            Err(error.hint(format!("give it one, or leave `{name}` out")))
        }
        None => Ok(parsed),
    }
}

/// A JSON pointer (RFC 6901 section 3) to the value that failed to deserialise.
fn pointer(path: &serde_path_to_error::Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        let token = match segment {
            Segment::Seq { index } => index.to_string(),
            Segment::Map { key } => escaped(key),
            Segment::Enum { .. } | Segment::Unknown => continue,
        };
        pointer.push('/');
        pointer.push_str(&token);
    }
    pointer
}

/// A token of a JSON pointer.
fn escaped(token: &str) -> String {
    token.replace('~', "~0").replace('/', "~1")
}

/// Removes the line and column that `serde_json` puts at the end of its messages; a pointer is clearer.
fn without_place(message: &str) -> &str {
    message.rfind(" at line ").map_or(message, |end| &message[..end])
}
