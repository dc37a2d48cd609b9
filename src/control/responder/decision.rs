//! Whether a responder replies to a datagram that its rule matches, and with which payload.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;

use super::reply_limits::ExceededLimit;
use crate::model::{Reply, ResponderRules};

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
}
