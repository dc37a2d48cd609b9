//! Counts of connections.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The open connections, and those that the service closed to bound them.
#[derive(Debug, Default)]
pub struct ConnectionCounts {
    limit: AtomicUsize,
    open: AtomicUsize,
    closed: [AtomicU64; CloseCause::ALL.len()],
    refused_requests: AtomicU64,
}

/// Why the service closed a connection before its client did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCause {
    /// It had no complete head of a request when others needed its slot, or bytes, or for too long.
    Head,
    /// It was idle when others needed its slot, or for too long.
    Idle,
    /// Its client did not read a response.
    Reader,
    /// There was no slot, and none could be freed.
    Full,
}

impl CloseCause {
    const ALL: [Self; 4] = [Self::Head, Self::Idle, Self::Reader, Self::Full];

    fn name(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Idle => "idle",
            Self::Reader => "reader",
            Self::Full => "full",
        }
    }
}

impl ConnectionCounts {
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    pub fn set_open(&self, open: usize) {
        self.open.store(open, Ordering::Relaxed);
    }

    pub fn closed(&self, cause: CloseCause) {
        self.closed[cause as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that the service refused because of the number of connections.
    pub(in crate::http) fn refused_request(&self) {
        self.refused_requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    pub(super) fn refused_requests(&self) -> u64 {
        self.refused_requests.load(Ordering::Relaxed)
    }

    pub(super) fn closed_by_cause(&self) -> [(&'static str, u64); CloseCause::ALL.len()] {
        CloseCause::ALL.map(|cause| (cause.name(), self.closed[cause as usize].load(Ordering::Relaxed)))
    }
}
