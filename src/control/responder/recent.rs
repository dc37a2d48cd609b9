//! The datagrams that a responder has handled just now.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::time::Duration;

use crate::model::Timestamp;

/// Datagrams that matched recently, whether they got a reply or a limit withheld it, to recognise duplicates that
/// arrived on another interface: two network cards on one LAN receive everything twice. Compares the kernel's receive
/// times, because a receive thread may be busy for longer than the duplicates are apart.
#[derive(Default)]
pub(super) struct RecentDatagrams {
    hasher: RandomState,
    by_hash: HashMap<u64, (u32, Timestamp)>,
    order: VecDeque<(u64, Timestamp)>,
}

impl RecentDatagrams {
    const WITHIN: Duration = Duration::from_millis(50);
    /// Enough for 300,000 datagrams per second, in about a megabyte.
    const MAX_DATAGRAMS: usize = 16_384;

    /// Whether this is a duplicate: the same datagram from the same source arrived on another interface a moment ago.
    /// Any other datagram is remembered.
    pub(super) fn note_and_check(
        &mut self,
        received_at: Timestamp,
        interface_index: u32,
        source: SocketAddr,
        payload: &[u8],
    ) -> bool {
        let hash = self.hasher.hash_one((source.ip(), source.port(), payload));
        let apart = |at: Timestamp| Duration::from_nanos(received_at.0.abs_diff(at.0));
        match self.by_hash.get(&hash) {
            Some(&(first, at)) if first != interface_index && apart(at) <= Self::WITHIN => true,
            _ => {
                self.by_hash.insert(hash, (interface_index, received_at));
                self.order.push_back((hash, received_at));
                self.drop_oldest();
                false
            }
        }
    }

    fn drop_oldest(&mut self) {
        if self.order.len() > Self::MAX_DATAGRAMS
            && let Some((hash, at)) = self.order.pop_front()
            && self.by_hash.get(&hash).is_some_and(|(_, latest)| *latest == at)
        {
            self.by_hash.remove(&hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_duplicates_by_another_interface_are_recognised() {
        let source = SocketAddr::from(([192, 0, 2, 1], 1));
        let at = |ms: i64| Timestamp(ms * 1_000_000);
        let mut recent = RecentDatagrams::default();
        assert!(!recent.note_and_check(at(0), 1, source, b"x"));
        assert!(recent.note_and_check(at(1), 2, source, b"x"));
        assert!(!recent.note_and_check(at(2), 1, source, b"x"), "the sender has sent it again");
        assert!(!recent.note_and_check(at(3), 2, source, b"y"));
        assert!(!recent.note_and_check(at(60), 2, source, b"x"), "too late to be a duplicate");
        assert!(recent.note_and_check(at(59), 1, source, b"x"), "its receive thread was busy");
        for nth in 0..20_000 {
            assert!(!recent.note_and_check(at(100), 1, source, &i32::to_be_bytes(nth)));
        }
        assert_eq!(
            (recent.order.len(), recent.by_hash.len()),
            (RecentDatagrams::MAX_DATAGRAMS, RecentDatagrams::MAX_DATAGRAMS)
        );
    }
}
