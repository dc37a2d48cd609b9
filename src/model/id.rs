//! Ids of resources.

use std::fmt;

use arrayvec::ArrayString;
use serde::{Deserialize, Serialize};

/// A resource's id: a UUIDv7, or chosen by the client as `[a-z0-9][a-z0-9._-]{0,62}`.
///
/// Its text is in the value itself. The latest events have the ids of thousands of deleted resources: on the heap, each
/// would keep a page from being released, long after the load that allocated it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Id(ArrayString<{ Self::MAX_LENGTH }>);

impl Id {
    const MAX_LENGTH: usize = 63;

    /// A fresh UUIDv7 (RFC 9562 section 5.7): ids made later sort later.
    pub fn generate() -> Self {
        let mut buffer = uuid::Uuid::encode_buffer();
        let text = uuid::Uuid::now_v7().hyphenated().encode_lower(&mut buffer);
        Self(ArrayString::from(text).expect("a UUID has 36 characters"))
    }

    pub fn parse(text: &str) -> Result<Self, IdError> {
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = text.as_bytes();
        let first = bytes.first().is_some_and(|&byte| legal(byte));
        let rest = bytes.iter().all(|&byte| legal(byte) || b"._-".contains(&byte));
        if first && rest { ArrayString::from(text).map(Self).map_err(|_| IdError) } else { Err(IdError) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Id {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        Self::parse(&text)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id is 1 to 63 characters of a-z, 0-9, `.`, `_` and `-`, and starts with a letter or a digit")]
pub struct IdError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_ids_and_generated_ids_are_valid() {
        for text in ["a", "0", "rack-7.lab_b", Id::generate().as_str()] {
            assert_eq!(Id::parse(text).unwrap().as_str(), text);
        }
        for text in ["", "-a", "A", "a b", "ä", &"x".repeat(64)] {
            assert_eq!(Id::parse(text), Err(IdError), "{text}");
        }
    }

    #[test]
    fn later_ids_sort_later() {
        let ids: Vec<_> = (0..100).map(|_| Id::generate()).collect();
        assert!(ids.is_sorted());
    }
}
