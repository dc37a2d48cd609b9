//! The limits of a log.

use std::time::Duration;

use crate::model::Retention;

/// The limits of one log; beyond them, it evicts its oldest datagrams.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub entries: u64,
    /// Payloads and their metadata.
    pub bytes: usize,
    /// None: no limit.
    pub age: Option<Duration>,
}

impl Limits {
    /// These limits, or the lower ones of `to`.
    #[must_use]
    pub fn narrowed(self, to: &Retention) -> Self {
        let bytes = to.bytes.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        Self {
            entries: to.datagrams.map_or(self.entries, |datagrams| datagrams.min(self.entries)),
            bytes: bytes.map_or(self.bytes, |bytes| bytes.min(self.bytes)),
            age: [self.age, to.age].into_iter().flatten().min(),
        }
    }
}
