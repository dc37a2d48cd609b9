//! Mistakes in the configuration, as they are reported.

use std::fmt;

/// A mistake in the configuration, and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file or the variable; empty if the mistake involves several.
    pub place: String,
    /// Counted from 1.
    pub line: Option<usize>,
    pub detail: String,
}

impl ConfigError {
    /// All mistakes in one text, a line for each.
    pub fn list(findings: &[Self]) -> String {
        findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.place, self.detail),
            None if self.place.is_empty() => f.write_str(&self.detail),
            None => write!(f, "{}: {}", self.place, self.detail),
        }
    }
}
