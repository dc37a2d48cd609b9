//! Fields of a request that cannot be accepted, all of them at once.

use std::fmt;
use std::ops::RangeInclusive;

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
