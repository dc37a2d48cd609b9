//! Parses bodies and queries, and collects the errors of their fields, which name each invalid field.

use std::collections::HashSet;
use std::fmt;
use std::ops::RangeInclusive;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde_path_to_error::Segment;

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

/// A field that cannot be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// JSON pointer (RFC 6901) into the request's body; for a query parameter, `/` and its name.
    pub pointer: String,
    /// The error.
    pub fact: String,
    /// What the client can do, unless the fact already says so.
    pub hint: Option<String>,
}

impl FieldError {
    #[expect(clippy::needless_pass_by_value, reason = "callers hand over what they have just made")]
    pub fn new(pointer: impl Into<String>, fact: impl ToString) -> Self {
        Self { pointer: pointer.into(), fact: fact.to_string(), hint: None }
    }

    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// The fact and the hint in one sentence.
impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.hint {
            Some(hint) => write!(f, "{}: {hint}", self.fact),
            None => f.write_str(&self.fact),
        }
    }
}

/// Collects the mistakes in a request, so that the client learns all of them at once.
#[derive(Debug, Default)]
pub struct FieldErrors(Vec<FieldError>);

/// There is no value, because of an error that [`FieldErrors`] has collected.
#[derive(Debug, Clone, Copy)]
pub struct Refused(());

impl FieldErrors {
    pub fn push(&mut self, error: FieldError) -> Refused {
        self.0.push(error);
        Refused(())
    }

    /// Returns the value, or collects its error.
    pub fn keep<T>(&mut self, pointer: &str, value: Result<T, impl ToString>) -> Result<T, Refused> {
        value.map_err(|error| self.push(FieldError::new(pointer, error)))
    }

    /// Collects the error of a number that is out of its bounds. Returns the nearest one within them, so that rules
    /// which concern several fields can be checked all the same.
    pub fn bounded(&mut self, pointer: &str, value: u64, bounds: RangeInclusive<u64>) -> u64 {
        if !bounds.contains(&value) {
            let error = FieldError::new(pointer, format!("{value} is out of bounds"));
            self.push(error.hint(format!("use {} to {}", bounds.start(), bounds.end())));
        }
        value.clamp(*bounds.start(), *bounds.end())
    }

    /// Returns the value if there was no error at all.
    pub fn finish<T>(self, value: Result<T, Refused>) -> Result<T, Vec<FieldError>> {
        match value {
            Ok(value) if self.0.is_empty() => Ok(value),
            _ => Err(self.0),
        }
    }
}
