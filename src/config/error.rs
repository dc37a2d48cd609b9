use std::fmt;

/// Something that is wrong with the configuration, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file or the variable; empty where several make it up.
    pub place: String,
    /// Counted from 1.
    pub line: Option<usize>,
    pub detail: String,
}

impl ConfigError {
    /// All of them in one text, a line for each.
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
