//! Whether a responder replies to a datagram that its rule matches, and with which payload; and which datagrams are
//! duplicates of ones that it has handled just now.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;

use super::reply_limits::ExceededLimit;
use crate::model::{Reply, ResponderRules, Timestamp};

/// The decision about a datagram that matches.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision<'a> {
    Reply {
        payload: ReplyPayload<'a>,
        /// How long to wait first.
        delay: Duration,
    },
    /// The responder has handled the same datagram on another interface: replied to it, or decided not to.
    Duplicate,
    /// The source is not an address to reply to.
    NoHost,
    Limited(ExceededLimit),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReplyPayload<'a> {
    Fixed(&'a Bytes),
    /// The received payload.
    Received(&'a [u8]),
}

/// Decides by the rules. Calls `check_duplicate`, and then `check_limits` with the reply's payload; both remember the
/// datagram.
pub(super) fn decide<'a>(
    rules: &'a ResponderRules,
    datagram: &'a [u8],
    source: SocketAddr,
    check_duplicate: impl FnOnce() -> bool,
    check_limits: impl FnOnce(&[u8]) -> Result<(), ExceededLimit>,
) -> Decision<'a> {
    if rules.dedupe && check_duplicate() {
        return Decision::Duplicate;
    }
    if !can_be_replied_to(source) {
        return Decision::NoHost;
    }
    let payload = match &rules.reply {
        Reply::Fixed(bytes) => ReplyPayload::Fixed(bytes),
        Reply::Echo => ReplyPayload::Received(datagram),
    };
    if let Err(limit) = check_limits(payload.bytes()) {
        return Decision::Limited(limit);
    }
    let delay = if rules.delay.is_none() {
        Duration::ZERO
    } else {
        Duration::from_millis(fastrand::u32(rules.delay.0.clone()).into())
    };
    Decision::Reply { payload, delay }
}

impl<'a> ReplyPayload<'a> {
    pub(super) fn bytes(self) -> &'a [u8] {
        match self {
            Self::Fixed(bytes) => bytes,
            Self::Received(bytes) => bytes,
        }
    }
}

fn can_be_replied_to(source: SocketAddr) -> bool {
    let ip = source.ip();
    let no_host = ip.is_multicast() || ip.is_unspecified() || ip == IpAddr::V4(Ipv4Addr::BROADCAST);
    source.port() != 0 && !no_host
}

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
    use crate::model::{Delay, Match};

    #[test]
    fn decide_returns_a_reply_or_the_reason_against_one() {
        let here = Bytes::from_static(b"here");
        let rules = |delay, dedupe| ResponderRules {
            matches: Match::All,
            reply: Reply::Fixed(here.clone()),
            delay: Delay(delay),
            dedupe,
            reply_from: None,
            reply_bytes: None,
        };
        let source = "192.0.2.1:9".parse().unwrap();
        let immediate = rules(0..=0, true);
        let decided = |is_duplicate, limits| decide(&immediate, b"ping", source, || is_duplicate, |_| limits);
        let reply = |delay| Decision::Reply { payload: ReplyPayload::Fixed(&here), delay };
        assert_eq!(decided(false, Ok(())), reply(Duration::ZERO));
        assert_eq!(decided(true, Ok(())), Decision::Duplicate);
        assert_eq!(decided(false, Err(ExceededLimit::Bytes)), Decision::Limited(ExceededLimit::Bytes));

        let no_host = "239.1.1.1:1".parse().unwrap();
        let decided = decide(&immediate, b"ping", no_host, || false, |_| panic!("no limit applies"));
        assert_eq!(decided, Decision::NoHost);

        let delayed = rules(20..=20, false);
        let decided = decide(
            &delayed,
            b"ping",
            source,
            || panic!("without `dedupe`, duplicates get replies too"),
            |_| Ok(()),
        );
        assert_eq!(decided, reply(Duration::from_millis(20)));
    }

    #[test]
    fn replies_go_only_to_hosts() {
        for (source, expected) in [
            ("192.0.2.1:1", true),
            ("192.0.2.1:0", false),
            ("255.255.255.255:1", false),
            ("239.1.1.1:1", false),
            ("0.0.0.0:1", false),
            ("[ff02::1]:1", false),
            ("[fe80::1%2]:1", true),
        ] {
            assert_eq!(can_be_replied_to(source.parse().unwrap()), expected, "{source}");
        }
    }

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
