//! The pauses between retries of failed joins, which grow.

use std::time::{Duration, Instant};

/// When failed joins are retried.
pub(super) struct Retries {
    pause: Duration,
    pub(super) is_armed: bool,
    failed_at: Option<Instant>,
}

impl Retries {
    /// The first and the longest pause before a retry.
    const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

    /// Notes a failure of the service's own code: if it recurs soon, the pauses keep growing.
    pub(super) fn note_failure(&mut self, now: Instant) {
        self.failed_at = Some(now);
    }

    /// Resets the pause when all is joined, unless the service's own code failed recently.
    pub(super) fn reset(&mut self, now: Instant) {
        let is_fresh = |at: Instant| now.saturating_duration_since(at) <= Self::PAUSES.1;
        if !self.failed_at.is_some_and(is_fresh) {
            *self = Self { is_armed: self.is_armed, ..Self::default() };
        }
    }

    /// When to retry; none if a retry is armed already.
    pub(super) fn next(&mut self, now: Instant) -> Option<Instant> {
        if std::mem::replace(&mut self.is_armed, true) {
            return None;
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(Self::PAUSES.1);
        Some(now + pause)
    }
}

impl Default for Retries {
    fn default() -> Self {
        Self { pause: Self::PAUSES.0, is_armed: false, failed_at: None }
    }
}
