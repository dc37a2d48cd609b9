//! Times on the clocks of the kernel.

use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

/// Nanoseconds since 1970 on `CLOCK_REALTIME`, the clock of the kernel's receive timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Timestamp(pub i64);

impl Timestamp {
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
    }

    /// The moment that much earlier.
    #[must_use]
    pub fn before(self, age: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(age.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// Time from `earlier` to here; none if it is negative.
    pub fn since(self, earlier: Self) -> Option<Duration> {
        u64::try_from(self.0.checked_sub(earlier.0)?).ok().map(Duration::from_nanos)
    }
}

/// Both clocks at one moment: a change of their difference shows that the real-time clock was stepped.
#[derive(Debug, Clone, Copy)]
pub struct ClockReading {
    pub real: Timestamp,
    pub monotonic: Instant,
}

impl ClockReading {
    /// Nanoseconds by which the clocks may differ without a step.
    const SLACK: i64 = 1_000_000;

    /// Reads both clocks close together: of several readings, it takes the one that was interrupted the least.
    pub fn now() -> Self {
        const READINGS: usize = 8;
        const CLOSE: Duration = Duration::from_micros(50);
        let (mut best, mut apart) = Self::once();
        for _ in 1..READINGS {
            if apart < CLOSE {
                break;
            }
            let (reading, took) = Self::once();
            if took < apart {
                (best, apart) = (reading, took);
            }
        }
        best
    }

    /// A reading, and how long it took.
    fn once() -> (Self, Duration) {
        let monotonic = Instant::now();
        let reading = Self { real: Timestamp::now(), monotonic };
        (reading, monotonic.elapsed())
    }

    /// Whether `time` is ahead of this reading: then the clock has been set back since `time` was read.
    pub fn is_before(&self, time: Timestamp) -> bool {
        time.0.saturating_sub(self.real.0) > Self::SLACK
    }

    /// Whether the real-time clock was set between `earlier` and here. Slewing (adjtime(3), at most
    /// 500 ppm) is no step.
    pub fn stepped_since(&self, earlier: &Self) -> bool {
        let elapsed = self.monotonic.saturating_duration_since(earlier.monotonic).as_nanos();
        let real = i128::from(self.real.0) - i128::from(earlier.real.0);
        let drift = (real - i128::try_from(elapsed).unwrap_or(i128::MAX)).unsigned_abs();
        drift > u128::from(Self::SLACK.unsigned_abs()) + elapsed / 1_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_step_is_detected_and_slewing_is_not() {
        let start = ClockReading::now();
        let after = |real_ms: i64| ClockReading {
            real: Timestamp(start.real.0 + real_ms * 1_000_000),
            monotonic: start.monotonic + Duration::from_secs(10),
        };
        assert!(!after(10_000).stepped_since(&start));
        assert!(!after(10_005).stepped_since(&start));
        assert!(after(10_020).stepped_since(&start));
        assert!(after(-3_600_000).stepped_since(&start));
    }
}
