//! The plan of a phase: a pure function of the seed and the number of the phase.

use std::fmt::Write as _;
use std::time::Duration;

use fastrand::Rng;

use super::links::{Link, Situation};
use super::spec::{FLOODED_PORT, Message, Spec};

pub(super) const CLIENTS: usize = 3;
const REQUESTS: usize = 22;
const DISTURBANCES: usize = 8;

/// Some seconds of disturbances, and the state of the host before its repair.
#[derive(Debug)]
pub(super) struct Phase {
    pub(super) number: u64,
    pub(super) theme: Theme,
    /// The operations of each client, in their order.
    pub(super) clients: [Vec<Operation<Request>>; CLIENTS],
    pub(super) disturbances: Vec<Operation<Disturbance>>,
    /// Of the troubled links, after the last disturbance.
    pub(super) aftermath: [Situation; 2],
    pub(super) has_reply_address: bool,
}

/// The kind of a phase, besides changes of links. Separate, because the checks afterwards differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Theme {
    Links,
    Storm,
    Stop,
    Kill,
    FullDisk,
    Flood,
}

#[derive(Debug)]
pub(super) struct Operation<T> {
    /// The phase in thousands, and a number within it.
    pub(super) index: u64,
    /// How long to wait before it.
    pub(super) pause: Duration,
    pub(super) what: T,
}

#[derive(Debug, Clone)]
pub(super) enum Request {
    Put(Spec),
    Post(Spec),
    Delete(String),
    Send(Message),
    Cancel(String),
    Read(String),
    /// A stream that is hung up on after a while.
    Abandon(String, Duration),
    Invalid(Invalid),
}

#[derive(Debug, Clone)]
pub(super) struct Invalid {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) content_type: &'static str,
    pub(super) body: &'static str,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Disturbance {
    Link(Link, Situation),
    Addresses(Link, bool),
    ReplyAddress(bool),
    /// So many pairs of interfaces go up and down so many times.
    Storm(usize, usize),
    /// Stopped for so long, then continued.
    Stop(Duration),
    /// Killed, and started again on the same data directory.
    Kill,
    FillDisk,
    FreeDisk,
    /// Datagrams to this port of the host's own address on each troubled link, for so long.
    Flood(u16, Duration),
}

impl Phase {
    pub(super) fn draw(seed: u64, number: u64) -> Self {
        let mut rng = Rng::with_seed(seed ^ (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let theme = Theme::draw(seed, number);
        let mut indices = number * 1_000..;
        let mut index = || indices.next().expect("no end");
        let disturbances = disturbances(&mut rng, theme).into_iter().map(|what| Operation {
            index: index(),
            pause: Duration::from_millis(rng.u64(50..400)),
            what,
        });
        let disturbances = disturbances.collect();
        let clients = std::array::from_fn(|client| {
            let requests = (0..REQUESTS).map(|nth| {
                let index = index();
                let what = if nth == 0 && client == 0 {
                    Request::Send(Message::follower(&follower_id(number)))
                } else {
                    Request::draw(&mut rng, client, index, theme)
                };
                // The follower leaves before anything happens.
                let pause = if nth == 0 { Duration::ZERO } else { Duration::from_millis(rng.u64(..250)) };
                Operation { index, pause, what }
            });
            requests.collect()
        });
        let aftermath = Link::TROUBLED.map(|_| Situation::draw(&mut rng));
        Self { number, theme, clients, disturbances, aftermath, has_reply_address: rng.bool() }
    }

    /// The disturbances of links and process, as text.
    pub(super) fn describe(&self) -> String {
        let mut text = format!("  phase {} ({:?}):", self.number, self.theme);
        for Operation { index, pause, what } in &self.disturbances {
            let _ = write!(text, "\n    {index}: after {pause:?} {what:?}");
        }
        let Self { aftermath, has_reply_address, .. } = self;
        let _ = write!(text, "\n    then {aftermath:?}, reply address {has_reply_address}");
        text
    }

    /// The index of violations that are found after all operations.
    pub(super) fn last_index(&self) -> u64 {
        self.clients.iter().flatten().map(|operation| operation.index).max().expect("there are requests")
    }
}

pub(super) fn follower_id(phase: u64) -> String {
    format!("follower-{phase}")
}

impl Theme {
    const ALL: [Self; 6] = [Self::Links, Self::Storm, Self::Stop, Self::Kill, Self::FullDisk, Self::Flood];

    /// All of them in turn, in another order each time.
    fn draw(seed: u64, number: u64) -> Self {
        let length = Self::ALL.len() as u64;
        let mut round = Self::ALL;
        Rng::with_seed(seed.wrapping_add(number / length)).shuffle(&mut round);
        round[usize::try_from(number % length).expect("a few themes")]
    }
}

impl Situation {
    fn draw(rng: &mut Rng) -> Self {
        const TROUBLES: [Situation; 7] = [
            Situation::Down,
            Situation::NoCarrier,
            Situation::SmallMtu,
            Situation::Ipv6Disabled,
            Situation::BridgePort,
            Situation::Gone,
            Situation::Renamed,
        ];
        if rng.u8(..3) == 0 { Self::Up } else { TROUBLES[rng.usize(..TROUBLES.len())] }
    }
}

impl Request {
    fn draw(rng: &mut Rng, client: usize, index: u64, theme: Theme) -> Self {
        let message_id = format!("c{client}-{index}");
        match rng.u8(..100) {
            0..10 if theme == Theme::Flood => Self::Send(Message::draw_flooded(&message_id)),
            0..34 => Self::Put(Spec::draw(rng, client)),
            34..44 => Self::Delete(Spec::draw(rng, client).path),
            44..48 => Self::Post(Spec { lease: None, ..Spec::draw(rng, client) }),
            48..68 => Self::Send(Message::draw(rng, &message_id)),
            68..71 => Self::Cancel(format!("c{client}-{}", index.saturating_sub(rng.u64(1..4)))),
            71..84 => Self::Read(readable(rng, client)),
            84..92 => {
                let format = ["sse", "ndjson", "pcapng"][rng.usize(..3)];
                let path = Spec::draw(rng, client).path;
                let path = format!("{path}/datagrams?format={format}&follow=true");
                Self::Abandon(path, Duration::from_millis(rng.u64(..800)))
            }
            _ => Self::Invalid(INVALID[rng.usize(..INVALID.len())].clone()),
        }
    }
}

/// A path to get, with its query.
fn readable(rng: &mut Rng, client: usize) -> String {
    let path = Spec::draw(rng, client).path;
    match rng.u8(..10) {
        0 => "/v1/groups".to_owned(),
        1 => "/v1/interfaces".to_owned(),
        2 => "/v1/memberships?state=joined&limit=3".to_owned(),
        3 => "/metrics".to_owned(),
        4 => format!("/v1/events?after=latest&wait_ms={}", rng.u32(..1_500)),
        5 => format!("{path}/datagrams?durable=true"),
        6 => path,
        7 => format!("{path}/datagrams?limit={}", rng.u32(1..1_000)),
        _ => format!("{path}/datagrams?after=latest&wait_ms={}", rng.u32(..1_500)),
    }
}

fn disturbances(rng: &mut Rng, theme: Theme) -> Vec<Disturbance> {
    let link = |rng: &mut Rng| Link::TROUBLED[rng.usize(..2)];
    let mut all: Vec<_> = (0..DISTURBANCES)
        .map(|_| match rng.u8(..10) {
            0..7 => Disturbance::Link(link(rng), Situation::draw(rng)),
            7 | 8 => Disturbance::Addresses(link(rng), rng.bool()),
            _ => Disturbance::ReplyAddress(rng.bool()),
        })
        .collect();
    let mut insert = |what| all.insert(rng.usize(..all.len()), what);
    match theme {
        Theme::Links => {}
        Theme::Storm => {
            insert(Disturbance::Storm(30, 4));
            insert(Disturbance::Storm(10, 12));
        }
        Theme::Stop => {
            insert(Disturbance::Stop(Duration::from_secs(2)));
            insert(Disturbance::Stop(Duration::from_millis(300)));
        }
        Theme::Kill => {
            insert(Disturbance::Kill);
            insert(Disturbance::Kill);
        }
        Theme::FullDisk => {
            all.insert(1, Disturbance::FillDisk);
            all.push(Disturbance::FreeDisk);
        }
        Theme::Flood => all.insert(0, Disturbance::Flood(FLOODED_PORT, Duration::from_secs(3))),
    }
    all
}

/// Invalid requests.
const INVALID: [Invalid; 8] = [
    Invalid::json("POST", "/v1/memberships", "{"),
    Invalid::json("POST", "/v1/memberships", r#"{"group": "192.0.2.1:10000"}"#),
    Invalid::json("PUT", "/v1/memberships/-", r#"{"group": "239.8.0.1:10000"}"#),
    Invalid::json("PUT", "/v1/responders/r", r#"{"group": "239.8.0.1:10000", "match": {"regex": "("}}"#),
    Invalid::json("POST", "/v1/messages", r#"{"group": "239.8.0.1:10000", "ttl": 300}"#),
    Invalid::json("POST", "/v1/messages", r#"{"group": "[ff02::1]:10000", "payload": "", "window_ms": -1}"#),
    Invalid { method: "POST", path: "/v1/messages?group=x", content_type: "text/plain", body: "x" },
    Invalid { method: "POST", path: "/v1/memberships", content_type: "text/html", body: "<p>" },
];

impl Invalid {
    const fn json(method: &'static str, path: &'static str, body: &'static str) -> Self {
        Self { method, path, content_type: "application/json", body }
    }
}

#[test]
fn a_seed_always_gives_the_same_plan() {
    let plan = |seed| (0..10).map(|number| format!("{:?}", Phase::draw(seed, number))).collect::<Vec<_>>();
    assert_eq!(plan(1), plan(1));
    assert_ne!(plan(1), plan(2));
}
