//! The requests of clients: memberships, responders and messages, drawn at random.

use std::net::SocketAddr;
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};

use super::links::{ETH, Link, REPLY_ADDRESS, peer_address};

/// How long a membership or a responder exists once the service has accepted it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spec {
    pub(super) path: String,
    pub(super) group: SocketAddr,
    /// Those that it names; none: the default set.
    pub(super) interfaces: Option<Vec<&'static str>>,
    pub(super) sources: Sources,
    pub(super) exact_drops: bool,
    pub(super) allow_missing: bool,
    pub(super) lease: Option<Duration>,
    pub(super) retention: Option<u32>,
    /// Where a responder's replies come from; none for a membership.
    pub(super) replies: Option<ReplyFrom>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sources {
    All,
    OnlyPeer,
    NotPeer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReplyFrom {
    Interface,
    FreePort,
    /// [`REPLY_ADDRESS`], which leaves the host and comes back.
    Address,
}

impl Spec {
    /// The resource of this client and number, with a specification that is drawn again each time.
    pub(super) fn draw(rng: &mut Rng, client: usize) -> Self {
        let is_responder = rng.u8(..3) == 0;
        let nth = rng.u8(..if is_responder { 3 } else { 5 });
        let path = if is_responder {
            format!("/v1/responders/r{client}-{nth}")
        } else {
            format!("/v1/memberships/m{client}-{nth}")
        };
        let group = group(rng);
        let interfaces = interfaces(rng, group);
        Self {
            group,
            interfaces,
            sources: match rng.u8(..6) {
                0 if group.is_ipv4() => Sources::OnlyPeer,
                1 if group.is_ipv4() => Sources::NotPeer,
                _ => Sources::All,
            },
            exact_drops: rng.u8(..4) > 0,
            allow_missing: rng.u8(..5) > 0,
            lease: (rng.u8(..8) == 0).then(|| Duration::from_millis(rng.u64(500..1_500))),
            retention: (rng.u8(..5) == 0).then(|| rng.u32(50..200)),
            replies: is_responder.then(|| match rng.u8(..3) {
                // Of one responder alone, because two cannot send from the same address and port.
                0 if path.ends_with("r0-0") && group.is_ipv4() => ReplyFrom::Address,
                1 => ReplyFrom::FreePort,
                _ => ReplyFrom::Interface,
            }),
            path,
        }
    }

    pub(super) fn body(&self) -> Value {
        let mut body = json!({
            "group": self.group.to_string(),
            "exact_drops": self.exact_drops,
            "allow_missing": self.allow_missing,
        });
        if let Some(interfaces) = &self.interfaces {
            body["interfaces"] = json!(interfaces);
        }
        let peer: Vec<_> = Link::ALL.map(peer_address).map(|address| address.to_string()).into();
        match self.sources {
            Sources::All => {}
            Sources::OnlyPeer => body["sources"] = json!({"include": peer}),
            Sources::NotPeer => body["sources"] = json!({"exclude": peer}),
        }
        if let Some(lease) = self.lease {
            body["expires_in_ms"] = json!(lease.as_millis());
        }
        if let Some(datagrams) = self.retention {
            body["retention"] = json!({"datagrams": datagrams});
        }
        match self.replies {
            None | Some(ReplyFrom::Interface) => {}
            Some(ReplyFrom::FreePort) => body["reply_from"] = json!({"port": 0}),
            Some(ReplyFrom::Address) => body["reply_from"] = json!({"address": REPLY_ADDRESS}),
        }
        body
    }

    /// `/v1/memberships` or `/v1/responders`.
    pub(super) fn collection(&self) -> &str {
        self.path.rsplit_once('/').expect("a path").0
    }

    /// Whether it must receive the datagrams of the other host on this link, without disturbances.
    pub(super) fn hears_peer_on(&self, link: Link) -> bool {
        let named = self.interfaces.as_ref().is_none_or(|names| names.contains(&link.name()));
        named && self.sources != Sources::NotPeer
    }
}

/// A message, as requested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// By PUT, with this id; none: by POST.
    pub(super) id: Option<String>,
    pub(super) group: SocketAddr,
    pub(super) interfaces: Option<Vec<&'static str>>,
    pub(super) window: Duration,
    pub(super) linger: Duration,
    pub(super) count: u32,
    pub(super) interval: Duration,
    pub(super) expect: Option<u32>,
    pub(super) source_port: Option<u16>,
    pub(super) track_attempts: bool,
    /// Seconds to wait for its end.
    pub(super) wait: Option<u8>,
    /// The body is the payload, and the options are in the query.
    pub(super) raw: bool,
}

/// The port that is flooded while messages are sent from it.
pub(super) const FLOODED_PORT: u16 = 40_000;

impl Message {
    pub(super) fn draw(rng: &mut Rng, id: &str) -> Self {
        let group = group(rng);
        let mut message = Self {
            id: (rng.u8(..3) > 0).then(|| id.to_owned()),
            group,
            interfaces: interfaces(rng, group),
            window: Duration::from_millis(rng.u64(20..600)),
            linger: Duration::from_millis(rng.u64(..500)),
            count: 1,
            interval: Duration::ZERO,
            expect: None,
            source_port: None,
            track_attempts: false,
            wait: rng.bool().then(|| rng.u8(1..3)),
            raw: false,
        };
        match rng.u8(..8) {
            0 => message.window = Duration::ZERO,
            1 => message.expect = Some(rng.u32(1..4)),
            2 | 3 => {
                message.count = rng.u32(2..8);
                message.interval = Duration::from_millis(rng.u64(10..80));
                // Long enough for copies that leave late, as on a busy host.
                message.window = message.interval * message.count + Duration::from_secs(2);
                message.track_attempts = rng.bool();
                message.wait = None;
            }
            4 => {
                message.window = Duration::from_mins(1);
                message.wait = None;
            }
            5 => message.raw = true,
            _ => {}
        }
        message
    }

    /// One with a flooded port: datagrams may arrive before it is sent.
    pub(super) fn draw_flooded(id: &str) -> Self {
        Self {
            id: Some(id.to_owned()),
            group: SocketAddr::from(([239, 8, 0, 1], 10_000)),
            interfaces: Some(vec![ETH[0], ETH[1]]),
            window: Duration::from_millis(20),
            linger: Duration::ZERO,
            count: 1,
            interval: Duration::ZERO,
            expect: Some(100),
            source_port: Some(FLOODED_PORT),
            track_attempts: false,
            wait: Some(1),
            raw: false,
        }
    }

    /// One that repeats on these interfaces until it is deleted.
    pub(super) fn follower(id: &str) -> Self {
        Self {
            window: Duration::ZERO,
            group: SocketAddr::from(([239, 8, 9, 9], 11_000)),
            interfaces: Some(ETH.to_vec()),
            count: 1_000_000,
            interval: Duration::from_millis(50),
            expect: None,
            source_port: None,
            wait: None,
            ..Self::draw_flooded(id)
        }
    }

    pub(super) fn body(&self, payload: &str) -> Value {
        let mut body = json!({
            "group": self.group.to_string(),
            "payload": payload,
            "window_ms": self.window.as_millis(),
            "linger_ms": self.linger.as_millis(),
            "track_attempts": self.track_attempts,
        });
        if let Some(interfaces) = &self.interfaces {
            body["interfaces"] = json!(interfaces);
        }
        if self.count > 1 {
            body["repeat"] = json!({"count": self.count, "interval_ms": self.interval.as_millis()});
        }
        if let Some(expect) = self.expect {
            body["expect"] = json!(expect);
        }
        if let Some(port) = self.source_port {
            body["source_port"] = json!(port);
        }
        body
    }

    /// The options as a query, for a raw body.
    pub(super) fn query(&self) -> String {
        let interfaces = self.interfaces.as_ref().map(|names| format!("&interfaces={}", names.join(",")));
        let group = self.group.to_string().replace('[', "%5B").replace(']', "%5D");
        format!(
            "?group={group}&window_ms={}&linger_ms={}{}",
            self.window.as_millis(),
            self.linger.as_millis(),
            interfaces.unwrap_or_default()
        )
    }
}

/// A few groups that everybody shares. Interface- and link-local ones need their interface.
fn group(rng: &mut Rng) -> SocketAddr {
    let port = 10_000 + rng.u16(..2);
    match rng.u8(..10) {
        0..5 => SocketAddr::from(([239, 8, 0, rng.u8(1..5)], port)),
        5..8 => SocketAddr::from(([0xff15, 0, 0, 0, 0, 0, 8, rng.u16(1..4)], port)),
        _ => SocketAddr::from(([0xff02, 0, 0, 0, 0, 0, 8, rng.u16(1..3)], port)),
    }
}

fn interfaces(rng: &mut Rng, group: SocketAddr) -> Option<Vec<&'static str>> {
    let one = ETH[rng.usize(..ETH.len())];
    let is_link_local = matches!(group, SocketAddr::V6(v6) if v6.ip().segments()[0] == 0xff02);
    match rng.u8(..10) {
        _ if is_link_local => Some(vec![one]),
        0..3 => None,
        3..7 => Some(vec![one]),
        7 => Some(vec!["lo", one]),
        8 => Some(vec![ETH[0], ETH[1]]),
        _ => Some(ETH.to_vec()),
    }
}
