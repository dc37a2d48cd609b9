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

/// The text with each flag in it under the name that `name` gives: who writes a file is not told of flags.
pub fn rename_flags(text: &str, name: impl Fn(&str) -> String) -> String {
    let (mut renamed, mut rest) = (String::new(), text);
    while let Some((before, flag)) = rest.split_once("--") {
        let is_part = |letter: char| letter.is_ascii_lowercase() || letter == '-';
        let end = flag.find(|letter| !is_part(letter)).unwrap_or(flag.len());
        renamed.push_str(before);
        renamed.push_str(&name(&flag[..end]));
        rest = &flag[end..];
    }
    renamed + rest
}

/// The name of a flag's setting in a file.
pub fn name_in_file(flag: &str) -> String {
    flag.replace('-', "_")
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
