//! Labels: keys and values by which clients tell resources apart, in the syntax and with the limits of Kubernetes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::limits;

/// The labels of a resource.
///
/// As the text of [`Labels::parse`], ordered by key: one allocation for all of them, which events share.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
pub struct Labels(Arc<str>);

impl Labels {
    /// Reads `KEY=VALUE,KEY=VALUE`.
    pub fn parse(text: &str) -> Result<Self, LabelError> {
        let mut labels = BTreeMap::new();
        for label in text.split(',') {
            let (key, value) = label.split_once('=').ok_or(LabelError::Syntax)?;
            let key = key.trim();
            if labels.insert(key.to_owned(), value.trim().to_owned()).is_some() {
                return Err(LabelError::Twice(key.to_owned()));
            }
        }
        labels.try_into()
    }

    /// In the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.split(',').filter_map(|label| label.split_once('='))
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many bytes they take.
    pub fn bytes(&self) -> usize {
        self.0.len()
    }
}

impl TryFrom<BTreeMap<String, String>> for Labels {
    type Error = LabelError;

    fn try_from(labels: BTreeMap<String, String>) -> Result<Self, LabelError> {
        if labels.len() > limits::LABELS {
            return Err(LabelError::TooMany(labels.len()));
        }
        let mut text = String::new();
        for (key, value) in &labels {
            check_key(key)?;
            check_value(value)?;
            let separator = if text.is_empty() { "" } else { "," };
            let _ = write!(text, "{separator}{key}={value}");
        }
        Ok(Self(text.into()))
    }
}

impl From<Labels> for BTreeMap<String, String> {
    fn from(labels: Labels) -> Self {
        labels.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }
}

/// Checks a key: a name, or the name of a domain, a slash and a name.
pub fn check_key(key: &str) -> Result<(), LabelError> {
    const LONGEST_DOMAIN: usize = 253;
    let (domain, name) = match key.split_once('/') {
        Some((domain, name)) => (Some(domain), name),
        None => (None, key),
    };
    let is_domain = |domain: &str| domain.len() <= LONGEST_DOMAIN && domain.split('.').all(is_domain_part);
    if !is_name(name) || !domain.is_none_or(is_domain) {
        return Err(LabelError::Key(key.to_owned()));
    }
    Ok(())
}

/// Checks a value: a name, or nothing.
pub fn check_value(value: &str) -> Result<(), LabelError> {
    if value.is_empty() || is_name(value) { Ok(()) } else { Err(LabelError::Value(value.to_owned())) }
}

fn is_name(text: &str) -> bool {
    const LONGEST: usize = 63;
    let bytes = text.as_bytes();
    let ends_well = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    bytes.len() <= LONGEST
        && ends_well(bytes.first())
        && ends_well(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
}

/// What is between the dots of a domain's name (RFC 1123 section 2.1), in lower case.
fn is_domain_part(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    bytes.first().is_some_and(is_alphanumeric)
        && bytes.last().is_some_and(is_alphanumeric)
        && bytes.iter().all(|byte| is_alphanumeric(byte) || *byte == b'-')
}

/// What to write instead of texts that are no labels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    #[error("write KEY=VALUE, several of them separated by commas, as in site=lab,role=door")]
    Syntax,
    #[error("give the key `{0}` once")]
    Twice(String),
    #[error(
        "write a key as in site or example.com/site: 1 to 63 of A-Z, a-z, 0-9, `.`, `_` and `-`, with a letter or a digit at both ends, and before it, if at all, a domain in lower case and a slash"
    )]
    Key(String),
    #[error(
        "write a value as in lab: nothing, or at most 63 of A-Z, a-z, 0-9, `.`, `_` and `-`, with a letter or a digit at both ends"
    )]
    Value(String),
    #[error("give at most {max}", max = limits::LABELS)]
    TooMany(usize),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_have_the_limits_of_kubernetes() {
        let (name, domain) = ("x".repeat(63), format!("{}.y", "x".repeat(251)));
        for key in ["a", "A9", "a.b_c-d", "example.com/a", "9.x-y/B", &name, &format!("{domain}/{name}")] {
            assert_eq!(check_key(key), Ok(()), "{key}");
        }
        for key in [
            "",
            "/",
            "/a",
            "a/",
            "-a",
            "a-",
            ".a",
            "a_",
            "a b",
            "ä",
            "a=b",
            "a,b",
            "a/b/c",
            "A.com/a",
            "a_b/c",
            "a..b/c",
            "-a/b",
            "a-/b",
            ".a/b",
            "a./b",
            &format!("{name}x"),
            &format!("{domain}z/a"),
        ] {
            assert_eq!(check_key(key), Err(LabelError::Key(key.to_owned())), "{key}");
        }
        for value in ["", "a", "9", "Lab-2.b_c", &name] {
            assert_eq!(check_value(value), Ok(()), "{value}");
        }
        for value in [" ", "-", "a-", "_a", "a/b", "a b", "ä", "a,b", "a=b", &format!("{name}x")] {
            assert_eq!(check_value(value), Err(LabelError::Value(value.to_owned())), "{value}");
        }
    }

    #[test]
    fn labels_have_one_text() {
        let labels = Labels::parse("site=lab, role=door,empty=").unwrap();
        assert_eq!(labels, Labels::parse("empty=,role=door,site=lab").unwrap());
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("empty", ""), ("role", "door"), ("site", "lab")]);
        assert_eq!(
            (labels.get("site"), labels.get("empty"), labels.get("sit")),
            (Some("lab"), Some(""), None)
        );
        let kept = serde_json::to_string(&labels).unwrap();
        assert_eq!(kept, r#"{"empty":"","role":"door","site":"lab"}"#);
        assert_eq!(serde_json::from_str::<Labels>(&kept).unwrap(), labels);
        assert_eq!(Labels::default().iter().count(), 0);
        assert!(Labels::default().is_empty() && serde_json::from_str::<Labels>("{}").unwrap().is_empty());
    }

    #[test]
    fn texts_that_are_no_labels_are_refused() {
        for text in ["", "a", "a=b,", ",a=b", "a=b,c"] {
            assert_eq!(Labels::parse(text), Err(LabelError::Syntax), "{text}");
        }
        assert_eq!(Labels::parse("a=b,a=b"), Err(LabelError::Twice("a".to_owned())));
        assert_eq!(Labels::parse("a=b=c"), Err(LabelError::Value("b=c".to_owned())));
        let many = |count| (0..count).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
        assert!(Labels::parse(&many(64)).is_ok());
        assert_eq!(Labels::parse(&many(65)), Err(LabelError::TooMany(65)));
    }
}
