use crate::store::{Cursor, CursorError};

/// The position after which to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum After {
    Place(Cursor),
    /// Only later entries.
    Latest,
}

impl After {
    pub(in crate::http) fn parse(text: &str) -> Result<Self, CursorError> {
        if text == "latest" { Ok(Self::Latest) } else { Cursor::parse(text).map(Self::Place) }
    }

    /// Resolves to a cursor. `latest` gives the cursor after the newest entry.
    pub(in crate::http) fn place(self, latest: impl FnOnce() -> Cursor) -> Cursor {
        match self {
            Self::Place(cursor) => cursor,
            Self::Latest => latest(),
        }
    }
}
