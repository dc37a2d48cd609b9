//! Fields of a request that cannot be accepted, all of them at once.

use std::fmt;
use std::ops::RangeInclusive;

use super::notation::{Notation, shown};

/// The most errors that are reported at once.
pub(super) const MOST_ERRORS: usize = 100;

/// A field that cannot be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// JSON pointer (RFC 6901) into the request's body; for a query parameter, `/` and its name.
    pub pointer: String,
    /// The error.
    pub fact: String,
    /// What the client can do, unless the fact already says so.
    pub hint: Option<String>,
    /// The pointer of the field that the client most likely means by another name. Errors about that one follow from
    /// this error.
    pub(super) meant: Option<String>,
}

impl FieldError {
    #[expect(clippy::needless_pass_by_value, reason = "callers hand over what they have just made")]
    pub fn new(pointer: impl Into<String>, fact: impl ToString) -> Self {
        Self { pointer: pointer.into(), fact: fact.to_string(), hint: None, meant: None }
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
pub struct FieldErrors {
    found: Vec<FieldError>,
    /// How many of them are in the structure, and were found first. The fields that they concern are left out of what
    /// is read next.
    in_structure: usize,
    /// How the client writes the fields.
    pub(super) notation: Notation,
}

/// There is no value, because of an error that [`FieldErrors`] has collected.
#[derive(Debug, Clone, Copy)]
pub struct Refused(());

impl FieldErrors {
    /// Mistakes in the structure; those in the values follow.
    pub(super) fn in_structure(found: Vec<FieldError>, notation: Notation) -> Self {
        Self { in_structure: found.len(), found, notation }
    }

    /// Collects an error, unless it follows from one in the structure: that one names the same field, or one in it.
    pub fn push(&mut self, error: FieldError) -> Refused {
        if self.found.len() < MOST_ERRORS && !self.left_out(&error.pointer) {
            self.found.push(error);
        }
        Refused(())
    }

    /// Collects the error of a field that is missing; errors that follow from it are not collected.
    pub(super) fn push_missing(&mut self, error: FieldError) {
        self.found.insert(self.in_structure, error);
        self.in_structure += 1;
    }

    /// Whether the field, or one in it, was left out because of a mistake in the structure.
    pub fn left_out(&self, pointer: &str) -> bool {
        let is_within = |at: &String| {
            at.strip_prefix(pointer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let about =
            |error: &FieldError| is_within(&error.pointer) || error.meant.as_ref().is_some_and(is_within);
        self.found[..self.in_structure].iter().any(about)
    }

    /// There is no value, because another field has an error.
    pub fn refused(&self) -> Refused {
        debug_assert!(!self.found.is_empty(), "the error of the other field was collected");
        Refused(())
    }

    /// Returns the value, or collects its error.
    pub fn keep<T>(&mut self, pointer: &str, value: Result<T, impl ToString>) -> Result<T, Refused> {
        value.map_err(|error| self.push(FieldError::new(pointer, error)))
    }

    /// Returns what the text stands for, or collects an error with the text and a hint.
    pub fn read<T>(
        &mut self,
        pointer: &str,
        text: &str,
        value: Result<T, impl ToString>,
    ) -> Result<T, Refused> {
        value.map_err(|hint| {
            let fact = format!("`{}` is {}", field_name(pointer), shown(&text.into()));
            self.push(FieldError::new(pointer, fact).hint(hint.to_string()))
        })
    }

    /// Collects the error of a number that is out of its bounds. Returns the nearest one within them, so that rules
    /// which concern several fields can be checked all the same.
    pub fn bounded(&mut self, pointer: &str, value: u64, bounds: RangeInclusive<u64>) -> u64 {
        let (least, most) = bounds.into_inner();
        if !(least..=most).contains(&value) {
            // In a query, a member has the name of its object before its own.
            let is_query = self.notation == Notation::Query;
            let pointer =
                if is_query { format!("/{}", pointer[1..].replace('/', "_")) } else { pointer.to_owned() };
            let error = FieldError::new(&pointer, format!("`{}` is {value}", field_name(&pointer)));
            self.push(error.hint(format!("write {}", whole_number(least, most))));
        }
        value.clamp(least, most)
    }

    /// Returns the value if there was no error at all.
    pub fn finish<T>(self, value: Result<T, Refused>) -> Result<T, Vec<FieldError>> {
        match value {
            Ok(value) if self.found.is_empty() => Ok(value),
            _ => Err(self.found),
        }
    }
}

/// The name of the field that a pointer leads to, as in `retention.bytes`.
pub(super) fn field_name(pointer: &str) -> String {
    pointer.trim_start_matches('/').replace('/', ".").replace("~1", "/").replace("~0", "~")
}

/// A token of a JSON pointer (RFC 6901 section 3).
pub fn escaped(token: &str) -> String {
    token.replace('~', "~0").replace('/', "~1")
}

/// A whole number within these bounds, in words.
pub(super) fn whole_number(least: u64, most: u64) -> String {
    match (least, most) {
        // That many are as good as no bound.
        (0, most) if most >= u32::MAX.into() => "a whole number".to_owned(),
        (least, u64::MAX) => format!("a whole number, {least} or more"),
        (least, most) => format!("a whole number from {least} to {most}"),
    }
}

/// The names in one sentence, as in "`a`, `b` and `c`".
pub(super) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    joined(names, "and")
}

/// The names in one sentence, as in "`a`, `b` or `c`".
pub(super) fn alternatives<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    joined(names, "or")
}

fn joined<'a>(names: impl IntoIterator<Item = &'a str>, word: &str) -> String {
    let names: Vec<_> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} {word} {last}", rest.join(", ")),
        None => String::new(),
    }
}
