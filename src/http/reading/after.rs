use crate::store::{Cursor, CursorError};

/// From where to read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum After {
    Place(Cursor),
    /// Only what is yet to come.
    Latest,
}

impl After {
    pub(in crate::http) fn parse(text: &str) -> Result<Self, CursorError> {
        if text == "latest" { Ok(Self::Latest) } else { Cursor::parse(text).map(Self::Place) }
    }

    /// `latest`: where there is nothing behind yet.
    pub(in crate::http) fn place(self, latest: impl FnOnce() -> Cursor) -> Cursor {
        match self {
            Self::Place(cursor) => cursor,
            Self::Latest => latest(),
        }
    }
}
