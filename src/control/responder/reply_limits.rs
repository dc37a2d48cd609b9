//! How many replies may be sent, and how many bytes.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use hashlink::LruCache;

use crate::model::{Family, ReplyBytes};
use crate::sync::Lock;

/// Rate limits of replies, for each responder and source, and for the whole service. Responders are reflectors: a
/// sender that forges a source address makes them send to that address.
pub(in crate::control) struct ReplyLimits {
    per_source: Option<DefaultKeyedRateLimiter<Recipient>>,
    total: Option<DefaultDirectRateLimiter>,
    until_sweep: AtomicU32,
    /// For responders without limits of their own.
    bytes: ReplyBytes,
    /// Std lock: held for a look-up.
    allowances: Mutex<LruCache<Recipient, ByteAllowance>>,
}

/// A responder, and a source that it replies to.
type Recipient = (u64, IpAddr);

/// The limit that withholds a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExceededLimit {
    Replies,
    Bytes,
}

/// What a source may still get in bytes.
struct ByteAllowance {
    /// The multiple of the bytes that it sent, less those that it got for them; until the window ends.
    credit: u64,
    window_start: Instant,
    /// Bytes sent to it beyond that. They go down at the limit's rate.
    excess: u64,
    excess_at: Instant,
}

impl ReplyLimits {
    /// Checks between two sweeps that drop the state of quiet sources.
    const SWEEP_AFTER: u32 = 65_536;
    /// Sources with an allowance, about 100 bytes each. If there are more, the one quiet for longest is dropped.
    const MAX_SOURCES: usize = 65_536;
    /// After this time, nothing is left of a credit; and of an excess, if there was no reply.
    const WINDOW: Duration = Duration::from_secs(1);

    /// Replies per second; a burst of one second's worth may go at once. 0 lifts the limit.
    pub(in crate::control) fn new(per_source: u32, total: u32, bytes: ReplyBytes) -> Self {
        let quota = |rate| NonZeroU32::new(rate).map(Quota::per_second);
        Self {
            per_source: quota(per_source).map(RateLimiter::keyed),
            total: quota(total).map(RateLimiter::direct),
            until_sweep: AtomicU32::new(Self::SWEEP_AFTER),
            bytes,
            allowances: Mutex::new(LruCache::new(Self::MAX_SOURCES)),
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

    /// Whether this responder may send a payload of `reply` bytes to a source in return for one of `received` bytes, and
    /// for what earlier datagrams of the same second have left. `own`: the responder's own limit.
    pub(super) fn allow_bytes(
        &self,
        recipient: Recipient,
        received: usize,
        reply: usize,
        own: Option<ReplyBytes>,
        now: Instant,
    ) -> bool {
        let ReplyBytes { factor, per_second } = own.unwrap_or(self.bytes);
        if factor == 0 {
            return true;
        }
        let headers = Family::of(recipient.1).header_bytes();
        let returned = (received + headers) as u64 * u64::from(factor);
        let mut allowances = self.allowances.lock_shared();
        let allowance = allowances.entry(recipient).or_insert_with(|| ByteAllowance::new(now));
        allowance.add_credit(returned, now);
        allowance.take((reply + headers) as u64, per_second, now)
    }

    /// Drops the state of sources that have been quiet, and its memory.
    pub(in crate::control) fn sweep(&self, now: Instant) {
        if let Some(per_source) = &self.per_source
            && !per_source.is_empty()
        {
            per_source.retain_recent();
            per_source.shrink_to_fit();
        }
        let mut allowances = self.allowances.lock_shared();
        let is_over = |allowance: &ByteAllowance| {
            let latest = allowance.window_start.max(allowance.excess_at);
            now.saturating_duration_since(latest) >= Self::WINDOW
        };
        // From the one quiet for longest.
        while allowances.iter().next().is_some_and(|(_, allowance)| is_over(allowance)) {
            allowances.remove_lru();
            if allowances.is_empty() {
                *allowances = LruCache::new(Self::MAX_SOURCES);
            }
        }
    }
}

impl ByteAllowance {
    fn new(now: Instant) -> Self {
        Self { credit: 0, window_start: now, excess: 0, excess_at: now }
    }

    fn add_credit(&mut self, bytes: u64, now: Instant) {
        if now.saturating_duration_since(self.window_start) >= ReplyLimits::WINDOW {
            (self.credit, self.window_start) = (0, now);
        }
        self.credit += bytes;
    }

    /// Takes the bytes from the credit, and the rest from what is allowed each second; false if that is not enough.
    fn take(&mut self, bytes: u64, per_second: u32, now: Instant) -> bool {
        let rest = bytes.saturating_sub(self.credit);
        if rest > 0 {
            let excess = self.excess_at_time(now, per_second) + rest;
            if excess > per_second.into() {
                return false;
            }
            (self.excess, self.excess_at) = (excess, now);
        }
        self.credit = self.credit.saturating_sub(bytes);
        true
    }

    fn excess_at_time(&self, now: Instant, per_second: u32) -> u64 {
        let gone = now.saturating_duration_since(self.excess_at).as_secs_f64() * f64::from(per_second);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
        self.excess.saturating_sub(gone as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: ReplyBytes = ReplyBytes { factor: 3, per_second: 1_500 };

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn limits_apply_to_each_source_and_to_the_total() {
        let limits = ReplyLimits::new(2, 5, BYTES);
        let allowed = |responder, source| (0..10).filter(|_| limits.allow(responder, source)).count();
        assert_eq!(allowed(1, ip(1)), 2);
        assert_eq!(allowed(1, ip(2)), 2);
        assert_eq!(allowed(2, ip(1)), 1, "the total of 5 is used up");
        let unlimited = ReplyLimits::new(0, 0, BYTES);
        assert!((0..1000).all(|_| unlimited.allow(1, ip(1))));
    }

    #[test]
    fn a_source_gets_a_multiple_of_its_bytes_and_some_more_each_second() {
        let (limits, start) = (ReplyLimits::new(0, 0, BYTES), Instant::now());
        let allow = |source, received, reply, ms| {
            let now = start + Duration::from_millis(ms);
            limits.allow_bytes((1, ip(source)), received, reply, None, now)
        };
        assert!((0..1_000).all(|_| allow(1, 0, 3, 0)), "`ack` to an empty datagram");
        assert!((0..1_000).all(|_| allow(1, 1_400, 1_400, 0)), "an echo");
        // 28 bytes came, and 84 may go: 944 are too many.
        assert!(allow(5, 0, 1_000, 0));
        assert!(!allow(5, 0, 1_000, 0));
        assert!(allow(2, 0, 1_000, 0), "each source has its own");
        assert!(!allow(5, 0, 1_000, 200), "944 - 300 and 1,028 - 2 * 84 are more than 1,500");
        assert!(allow(5, 0, 1_000, 300));
        assert!(!allow(3, 0, 1_557, 10_000), "never at once");
        assert!(allow(3, 0, 1_556, 10_000));
        let own = |reply, limit| limits.allow_bytes((1, ip(4)), 0, reply, Some(limit), start);
        assert!(own(60_000, ReplyBytes { factor: 0, per_second: 0 }));
        assert!(!own(57, ReplyBytes { factor: 3, per_second: 0 }));
        assert!(own(60_000, ReplyBytes { factor: 1, per_second: 60_000 }));
    }

    #[test]
    fn what_is_left_counts_for_later_datagrams_of_the_same_second() {
        let (limits, start) = (ReplyLimits::new(0, 0, BYTES), Instant::now());
        let allow =
            |reply, ms| limits.allow_bytes((1, ip(1)), 100, reply, None, start + Duration::from_millis(ms));
        // 3 * 128 bytes for each, and 1,500 once: every third reply, and two more.
        let replies = (0..30).filter(|_| allow(1_000, 0)).count();
        assert_eq!(replies, (30 * 384 + 1_500) / 1_028);
        assert!((0..10).all(|_| allow(3, 1_000)), "a new second");
        assert!(!allow(1_000 + 10 * 384 + 1_500, 2_000), "and nothing is left after it");
    }

    #[test]
    fn quiet_sources_are_dropped() {
        let (limits, start) = (ReplyLimits::new(0, 0, BYTES), Instant::now());
        for (nth, last) in (1..=100_u8).enumerate() {
            let now = start + Duration::from_millis(nth as u64);
            assert!(limits.allow_bytes((1, ip(last)), 0, 500, None, now));
        }
        limits.sweep(start + Duration::from_millis(1_049));
        assert_eq!(limits.allowances.lock_shared().len(), 50);
        limits.sweep(start + Duration::from_secs(3));
        assert!(limits.allowances.lock_shared().is_empty());
    }
}
