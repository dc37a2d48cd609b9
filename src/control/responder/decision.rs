//! Whether a responder replies to a datagram, and with which payload.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::model::{Reply, ResponderRules};

/// The decision about a datagram.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision<'a> {
    Reply {
        payload: &'a [u8],
        /// How long to wait first.
        delay: Duration,
    },
    /// The rules do not match it.
    NoMatch,
    /// The responder has replied to the same datagram on another interface.
    Copy,
    /// The rate limits withhold the reply, or the source is not an address to reply to.
    Limited,
}

/// Decides by the rules. Calls `is_copy` and `is_allowed` in this order, and only for a datagram that matches: each
/// call counts.
pub(super) fn decide<'a>(
    rules: &'a ResponderRules,
    datagram: &'a [u8],
    source: SocketAddr,
    is_copy: impl FnOnce() -> bool,
    is_allowed: impl FnOnce() -> bool,
) -> Decision<'a> {
    if !rules.matches.accepts(datagram) {
        return Decision::NoMatch;
    }
    if rules.dedupe && is_copy() {
        return Decision::Copy;
    }
    if !can_be_replied_to(source) || !is_allowed() {
        return Decision::Limited;
    }
    let payload = match &rules.reply {
        Reply::Fixed(bytes) => bytes,
        Reply::Echo => datagram,
    };
    let delay = if rules.delay.is_none() {
        Duration::ZERO
    } else {
        Duration::from_millis(fastrand::u32(rules.delay.0.clone()).into())
    };
    Decision::Reply { payload, delay }
}

fn can_be_replied_to(source: SocketAddr) -> bool {
    let ip = source.ip();
    let no_host = ip.is_multicast() || ip.is_unspecified() || ip == IpAddr::V4(Ipv4Addr::BROADCAST);
    source.port() != 0 && !no_host
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Delay, Match};

    #[test]
    fn decide_returns_a_reply_or_the_reason_against_one() {
        let rules = |delay, dedupe| ResponderRules {
            matches: Match::All,
            reply: Reply::Fixed(b"here".as_slice().into()),
            delay: Delay(delay),
            dedupe,
            reply_from: None,
        };
        let source = "192.0.2.1:9".parse().unwrap();
        let at_once = rules(0..=0, true);
        let decided = |is_copy, is_allowed| decide(&at_once, b"ping", source, || is_copy, || is_allowed);
        assert_eq!(decided(false, true), Decision::Reply { payload: b"here", delay: Duration::ZERO });
        assert_eq!(decided(true, true), Decision::Copy);
        assert_eq!(decided(false, false), Decision::Limited);

        let delayed = rules(20..=20, false);
        let decided =
            decide(&delayed, b"ping", source, || panic!("without `dedupe`, copies get replies too"), || true);
        assert_eq!(decided, Decision::Reply { payload: b"here", delay: Duration::from_millis(20) });
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
}
