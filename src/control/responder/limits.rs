//! How many replies may be sent.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};

/// Rate limits of replies, for each responder and source, and for the whole service. Responders are reflectors: a
/// sender that forges a source address makes them send to that address.
pub(in crate::control) struct ReplyLimits {
    per_source: Option<DefaultKeyedRateLimiter<(u64, IpAddr)>>,
    total: Option<DefaultDirectRateLimiter>,
    until_sweep: AtomicU32,
}

impl ReplyLimits {
    /// Checks between two sweeps that drop the state of quiet sources.
    const SWEEP_AFTER: u32 = 65_536;

    /// Replies per second; a burst of one second's worth may go at once. 0 lifts the limit.
    pub(in crate::control) fn new(per_source: u32, total: u32) -> Self {
        let quota = |rate| NonZeroU32::new(rate).map(Quota::per_second);
        Self {
            per_source: quota(per_source).map(RateLimiter::keyed),
            total: quota(total).map(RateLimiter::direct),
            until_sweep: AtomicU32::new(Self::SWEEP_AFTER),
        }
    }

    /// Whether this responder may reply to this source once more, now.
    pub(super) fn allow(&self, responder: u64, source: IpAddr) -> bool {
        if let Some(per_source) = &self.per_source {
            if self.until_sweep.fetch_sub(1, Ordering::Relaxed) == 0 {
                self.until_sweep.store(Self::SWEEP_AFTER, Ordering::Relaxed);
                per_source.retain_recent();
            }
            if per_source.check_key(&(responder, source)).is_err() {
                return false;
            }
        }
        self.total.as_ref().is_none_or(|total| total.check().is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_apply_to_each_source_and_to_the_total() {
        let ip = |last| IpAddr::from([192, 0, 2, last]);
        let limits = ReplyLimits::new(2, 5);
        let allowed = |responder, source| (0..10).filter(|_| limits.allow(responder, source)).count();
        assert_eq!(allowed(1, ip(1)), 2);
        assert_eq!(allowed(1, ip(2)), 2);
        assert_eq!(allowed(2, ip(1)), 1, "the total of 5 is used up");
        let unlimited = ReplyLimits::new(0, 0);
        assert!((0..1000).all(|_| unlimited.allow(1, ip(1))));
    }
}
