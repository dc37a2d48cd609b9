//! Histograms of durations.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts durations in buckets; recording one takes no lock and allocates nothing.
#[derive(Debug)]
pub struct Histogram {
    /// Inclusive upper bounds, ascending.
    bounds: &'static [Duration],
    /// One count for each bound, and one for longer durations.
    counts: Box<[AtomicU64]>,
    nanoseconds: AtomicU64,
}

/// A snapshot of a histogram. If durations are recorded meanwhile, `sum` may be ahead of the counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    /// Each upper bound, with the number of durations between the previous bound and this one.
    pub buckets: Vec<(Duration, u64)>,
    /// All durations, those above the last bound included.
    pub count: u64,
    pub sum: Duration,
}

impl Histogram {
    pub fn new(bounds: &'static [Duration]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, nanoseconds: AtomicU64::new(0) }
    }

    pub fn note(&self, duration: Duration) {
        let bucket = self.bounds.partition_point(|bound| *bound < duration);
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
    }

    pub fn distribution(&self) -> Distribution {
        let counts: Vec<_> = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        Distribution {
            count: counts.iter().sum(),
            buckets: self.bounds.iter().copied().zip(counts).collect(),
            sum: Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        const BOUNDS: [Duration; 2] = [Duration::from_micros(50), Duration::from_micros(100)];
        let histogram = Histogram::new(&BOUNDS);
        for microseconds in [0, 50, 51, 100, 101, 1000] {
            histogram.note(Duration::from_micros(microseconds));
        }
        let found = histogram.distribution();
        assert_eq!(found.buckets, [(BOUNDS[0], 2), (BOUNDS[1], 2)]);
        assert_eq!((found.count, found.sum), (6, Duration::from_micros(1302)));
    }
}
