//! Revisions of specifications.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::number::parse_decimal;
use super::time::Timestamp;

/// A revision of a resource's specification. Two specifications under one id never have the same one, even if the
/// resource was created again, or if a crash has undone a change: the time tells such revisions apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    number: u64,
    /// When the specification became this one.
    since: Timestamp,
}

impl Revision {
    pub fn first(created_at: Timestamp) -> Self {
        Self { number: 1, since: created_at }
    }

    /// The revision after this one. Its time is later, whatever the clock says.
    #[must_use]
    pub fn next(self, now: Timestamp) -> Self {
        Self { number: self.number + 1, since: now.max(Timestamp(self.since.0.saturating_add(1))) }
    }

    /// Counts from 1.
    pub fn number(self) -> u64 {
        self.number
    }

    /// Parses the text of a revision; none for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let (number, since) = text.split_once('-')?;
        let since = u64::from_str_radix(since, 16).ok()?.cast_signed();
        let revision = Self { number: parse_decimal(number)?, since: Timestamp(since) };
        (revision.to_string() == text).then_some(revision)
    }
}

/// The number, and the time in hexadecimal digits.
impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:x}", self.number, self.since.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_has_one_text() {
        for revision in [Revision::first(Timestamp(0x18b_2f00)), Revision::first(Timestamp(-1))] {
            let next = revision.next(Timestamp(0));
            assert_ne!(next, revision);
            assert_eq!(Revision::parse(&next.to_string()), Some(next));
        }
        assert_eq!(Revision::first(Timestamp(255)).to_string(), "1-ff");
        for text in ["", "1", "1-", "-ff", "01-ff", "1-FF", "1-0ff", "1-+ff", "1-ff-", "x-ff"] {
            assert_eq!(Revision::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_time_of_a_revision_grows_if_the_clock_was_set_back() {
        let first = Revision::first(Timestamp(1_000));
        let second = first.next(Timestamp(10));
        assert_eq!((second.number(), second.since), (2, Timestamp(1_001)));
        assert_eq!(second.next(Timestamp(2_000)).since, Timestamp(2_000));
    }
}
