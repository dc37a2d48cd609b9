//! A count that threads share, with a bound on it: of bytes of a budget, for instance.

use std::sync::atomic::{AtomicUsize, Ordering};

/// A count with a bound. An addition that is refused changes nothing at any moment, so it refuses no other one.
#[derive(Debug)]
pub(crate) struct BoundedCounter {
    max: usize,
    count: AtomicUsize,
}

impl BoundedCounter {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, count: AtomicUsize::new(0) }
    }

    pub(crate) fn max(&self) -> usize {
        self.max
    }

    pub(crate) fn get(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Adds, unless the sum would exceed the bound; returns whether it did.
    pub(crate) fn try_add(&self, amount: usize) -> bool {
        let sum = |count: usize| count.checked_add(amount).filter(|sum| *sum <= self.max);
        self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum).is_ok()
    }

    /// Adds what cannot be refused; the sum may exceed the bound.
    pub(crate) fn add_beyond_max(&self, amount: usize) {
        self.count.fetch_add(amount, Ordering::Relaxed);
    }

    /// Subtracts what was added before.
    pub(crate) fn subtract(&self, amount: usize) {
        self.count.fetch_sub(amount, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn the_sum_stays_within_the_bound() {
        let counter = BoundedCounter::new(10);
        assert!(counter.try_add(10) && !counter.try_add(1) && !counter.try_add(usize::MAX));
        counter.add_beyond_max(5);
        counter.subtract(10);
        assert_eq!((counter.get(), counter.try_add(5), counter.try_add(1)), (5, true, false));
    }

    #[test]
    fn refused_additions_do_not_refuse_concurrent_ones() {
        const ROUNDS: usize = 100_000;
        let counter = BoundedCounter::new(10);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| assert!((0..ROUNDS).all(|_| !counter.try_add(11))));
            }
            // These always fit: the other threads add nothing.
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..ROUNDS {
                        assert!(counter.try_add(5));
                        counter.subtract(5);
                    }
                });
            }
        });
        assert_eq!(counter.get(), 0);
    }
}
