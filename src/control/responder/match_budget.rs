//! The time that regular expressions may take for one datagram.

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::model::{Match, Search, Timestamp};

/// Bounds the time that all responders of a group together search one datagram. Each of them has a socket of its
/// own, which receives the datagram; the kernel's receive time and the source tell which ones are the same.
///
/// Time is not measured but computed from what was searched, so that the same datagrams have the same result on a
/// slower host.
pub(in crate::control) struct MatchBudget {
    max: u64,
    hasher: RandomState,
    /// The latest datagrams: each entry has a part of a hash, and the time spent on that datagram.
    spent: Box<[AtomicU64]>,
}

/// Identifies a datagram, at whichever socket it was received.
#[derive(Debug, Clone, Copy)]
pub(super) struct DatagramKey(u64);

impl MatchBudget {
    /// Enough for all that the sockets of a group get at once; a datagram that another one displaces gets a second
    /// budget.
    const DATAGRAMS: usize = 4_096;
    /// Upper bounds of a search's time: of its start, and of each byte that it reads.
    const NANOS_PER_SEARCH: u64 = 1_000;
    const NANOS_PER_BYTE: u64 = 6;
    /// The bits of an entry that count nanoseconds; the others are of the hash.
    const NANOS_MASK: u64 = u32::MAX as u64;

    /// 0 lifts the limit.
    pub(in crate::control) fn new(max: Duration) -> Self {
        let max = u64::try_from(max.as_nanos()).unwrap_or(u64::MAX);
        Self {
            max: if max == 0 { u64::MAX } else { max.min(Self::NANOS_MASK) },
            hasher: RandomState::new(),
            spent: (0..Self::DATAGRAMS).map(|_| AtomicU64::default()).collect(),
        }
    }

    /// `nth`: the position among the datagrams that the kernel coalesced.
    pub(super) fn key(&self, received_at: Timestamp, source: SocketAddr, nth: usize) -> DatagramKey {
        DatagramKey(self.hasher.hash_one((received_at.0, source, nth)))
    }

    /// Whether the rule matches; none if the datagram's time is used up. Each thread may begin a last search just
    /// before that.
    pub(super) fn search(
        &self,
        rule: &Match,
        payload: &[u8],
        datagram: impl FnOnce() -> DatagramKey,
    ) -> Option<bool> {
        if rule.pattern().is_none() {
            return Some(rule.search(payload).matched);
        }
        let datagram = datagram();
        if self.spent_on(datagram) >= self.max {
            return None;
        }
        let Search { matched, bytes } = rule.search(payload);
        self.spend(datagram, Self::NANOS_PER_SEARCH + Self::NANOS_PER_BYTE * bytes as u64);
        Some(matched)
    }

    fn spent_on(&self, datagram: DatagramKey) -> u64 {
        datagram.spent(self.entry(datagram).load(Ordering::Relaxed))
    }

    fn spend(&self, datagram: DatagramKey, time: u64) {
        let add = |entry| {
            let spent = (datagram.spent(entry) + time).min(Self::NANOS_MASK);
            Some((datagram.0 & !Self::NANOS_MASK) | spent)
        };
        let _ = self.entry(datagram).fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    fn entry(&self, DatagramKey(hash): DatagramKey) -> &AtomicU64 {
        &self.spent[usize::try_from(hash & Self::NANOS_MASK).unwrap_or_default() % self.spent.len()]
    }
}

impl DatagramKey {
    /// The time spent on this datagram, if the entry is about it.
    fn spent(self, entry: u64) -> u64 {
        const MASK: u64 = MatchBudget::NANOS_MASK;
        if entry & !MASK == self.0 & !MASK { entry & MASK } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Pattern;

    #[test]
    fn all_searches_of_one_datagram_share_its_time() {
        let budget = MatchBudget::new(Duration::from_micros(10));
        let (source, payload) = ("192.0.2.1:9".parse().unwrap(), [b'x'; 1_000]);
        let key = |at, nth| budget.key(Timestamp(at), source, nth);
        let rule = Match::Regex(Pattern::new("z".to_owned()).unwrap());
        let search = |rule: &Match, at, nth| budget.search(rule, &payload, || key(at, nth));
        // 7 µs each: the second begins before the time is up.
        assert_eq!([0; 4].map(|_| search(&rule, 1, 0)), [Some(false), Some(false), None, None]);
        assert_eq!(search(&rule, 1, 1), Some(false), "the next datagram of the same buffer");
        assert_eq!(search(&rule, 2, 0), Some(false));
        assert_eq!(search(&Match::All, 1, 0), Some(true), "comparing is not searching");
        // A pattern that cannot match reads one byte.
        let anchored = Match::Regex(Pattern::new("^z".to_owned()).unwrap());
        assert_eq!((0..20).filter_map(|_| search(&anchored, 3, 0)).count(), 10);
    }

    #[test]
    fn zero_is_no_limit() {
        let budget = MatchBudget::new(Duration::ZERO);
        let key = budget.key(Timestamp(1), "192.0.2.1:9".parse().unwrap(), 0);
        let rule = Match::Regex(Pattern::new("z".to_owned()).unwrap());
        assert!((0..20_000).all(|_| budget.search(&rule, &[0; 60], || key).is_some()));
    }
}
