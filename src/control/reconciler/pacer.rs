//! How often the reconciler works.

use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// Paces recurring work, so that even a storm of changes leaves most of a processor's time free.
pub(super) struct Pacer {
    /// When the work is done next.
    pub(super) at: Option<Instant>,
    /// The work is not done before this time.
    earliest: Instant,
    /// The shortest pause, and the rest as a multiple of the processor time that the work took: time during which the
    /// thread or the process was stopped must not count.
    pause: Duration,
    rest: u32,
}

impl Pacer {
    pub(super) fn new(pause: Duration, rest: u32) -> Self {
        Self { at: None, earliest: Instant::now(), pause, rest }
    }

    pub(super) fn soon(&mut self) {
        self.at = Some(self.at.map_or(self.earliest, |at| at.min(self.earliest)));
    }

    pub(super) fn is_due(&self) -> bool {
        self.at.is_some_and(|at| at <= Instant::now())
    }

    /// `cost`: the processor time that the work took.
    pub(super) fn done(&mut self, cost: Duration) {
        let rest = (cost * self.rest).max(self.pause);
        *self = Self { at: None, earliest: Instant::now() + rest, ..*self };
    }
}

/// The processor time that this thread takes for the work.
pub(super) fn cpu_time_of(work: impl FnOnce()) -> Duration {
    let now = || clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from);
    let before = now();
    work();
    now().saturating_sub(before)
}
