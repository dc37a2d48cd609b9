//! The disturbed part of a phase: clients, traffic and disturbances at the same time.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::{JoinSet, block_in_place};

use super::client::ClientRun;
use super::links::{Link, host_address};
use super::plan::{Disturbance, Operation, Phase};
use super::traffic::Job;
use super::{STEADY_LABEL, World, steady_groups};

/// By Linux's numbers.
const SIGCONT: i32 = 18;
const SIGSTOP: i32 = 19;

impl World {
    /// Ends when all of it has happened; gives how many datagrams went to each steady group.
    pub(super) async fn disturb_while_in_use(self: &Arc<Self>, phase: &mut Phase) -> u64 {
        let over = Arc::new(AtomicBool::new(false));
        let number = phase.number;
        let (world, stop) = (self.clone(), over.clone());
        let steady = tokio::spawn(async move { world.send_steadily(number, &stop).await });
        let (world, stop) = (self.clone(), over.clone());
        let troubled = tokio::spawn(async move { world.send_to_troubled(number, &stop).await });

        let mut tasks = JoinSet::new();
        for operations in std::mem::take(&mut phase.clients) {
            let (world, theme) = (self.clone(), phase.theme);
            tasks.spawn(async move { ClientRun { world: &world, theme }.all(operations).await });
        }
        let (world, disturbances) = (self.clone(), std::mem::take(&mut phase.disturbances));
        tasks.spawn(async move { world.disturb_all(disturbances).await });
        tasks.join_all().await;

        over.store(true, Ordering::Relaxed);
        troubled.await.expect("no panic");
        steady.await.expect("no panic")
    }

    /// To the groups that hear everything, by the link to which nothing happens.
    async fn send_steadily(&self, phase: u64, stop: &AtomicBool) -> u64 {
        const AT_ONCE: u64 = 50;
        let mut sent = 0;
        while !stop.load(Ordering::Relaxed) {
            let job = Job {
                targets: steady_groups().map(|group| (Link::STEADY, group)).into(),
                label: STEADY_LABEL.to_owned(),
                // They increase from phase to phase.
                first: phase * 1_000_000 + sent + 1,
                count: AT_ONCE,
                interval: Duration::from_millis(4),
            };
            let taken = self.traffic.send(&job).await;
            assert_eq!(taken, [AT_ONCE; 2], "nothing happens to this link");
            self.report.sent(taken.iter().sum());
            sent += AT_ONCE;
        }
        sent
    }

    /// To groups that clients join, by the other links.
    async fn send_to_troubled(&self, phase: u64, stop: &AtomicBool) {
        let groups: [SocketAddr; 4] =
            ["239.8.0.1:10000", "239.8.0.2:10001", "[ff15::8:1]:10000", "[ff02::8:1]:10001"]
                .map(|group| group.parse().expect("an address"));
        let mut first = 1;
        while !stop.load(Ordering::Relaxed) {
            let job = Job {
                targets: Link::TROUBLED.into_iter().flat_map(|link| groups.map(|to| (link, to))).collect(),
                label: format!("troubled {phase}"),
                first,
                count: 20,
                interval: Duration::from_millis(10),
            };
            self.report.sent(self.traffic.send(&job).await.iter().sum());
            first += job.count;
        }
    }

    async fn disturb_all(self: &Arc<Self>, disturbances: Vec<Operation<Disturbance>>) {
        let mut floods = JoinSet::new();
        for Operation { index, pause, what } in disturbances {
            tokio::time::sleep(pause).await;
            self.report.operation(what.kind());
            match what {
                Disturbance::Stop(time) => {
                    self.service.signal(SIGSTOP);
                    tokio::time::sleep(time).await;
                    self.service.signal(SIGCONT);
                }
                Disturbance::Flood(port, time) => {
                    let world = self.clone();
                    floods.spawn(async move { world.flood(port, time).await });
                }
                Disturbance::Kill if !self.service.lives() => {
                    self.report.violation("ended by itself", index, "before it was killed");
                    block_in_place(|| self.disturb(what));
                }
                other => block_in_place(|| self.disturb(other)),
            }
        }
        floods.join_all().await;
    }

    fn disturb(&self, disturbance: Disturbance) {
        let mut links = self.links();
        match disturbance {
            Disturbance::Link(link, situation) => links.set(link, situation),
            Disturbance::Addresses(link, there) => links.set_addresses(link, there),
            Disturbance::ReplyAddress(there) => links.set_reply_address(there),
            Disturbance::Storm(pairs, rounds) => links.host().ip(&storm(pairs, rounds)),
            Disturbance::Kill => self.service.kill(links.host()),
            Disturbance::FillDisk => self.service.fill_disk(links.host()),
            Disturbance::FreeDisk => self.service.free_disk(links.host()),
            Disturbance::Stop(_) | Disturbance::Flood(..) => unreachable!("they take their time"),
        }
    }

    async fn flood(&self, port: u16, time: Duration) {
        let interval = Duration::from_millis(1);
        let job = Job {
            targets: Link::TROUBLED.map(|link| (link, (host_address(link), port).into())).into(),
            label: "flood".to_owned(),
            first: 1,
            count: u64::try_from(time.as_millis()).expect("a few seconds"),
            interval,
        };
        self.report.sent(self.traffic.send(&job).await.iter().sum());
    }
}

impl Disturbance {
    fn kind(self) -> &'static str {
        match self {
            Self::Link(..) => "link",
            Self::Addresses(..) => "addresses",
            Self::ReplyAddress(_) => "reply address",
            Self::Storm(..) => "storm",
            Self::Stop(_) => "SIGSTOP",
            Self::Kill => "kill -9",
            Self::FillDisk => "disk filled",
            Self::FreeDisk => "disk freed",
            Self::Flood(..) => "flood",
        }
    }
}

/// Pairs of interfaces of the service's host, connected to each other, that are gone at the end.
fn storm(pairs: usize, rounds: usize) -> String {
    let mut lines = String::new();
    for pair in 0..pairs {
        let _ = writeln!(lines, "link add name s{pair} type veth peer name t{pair}");
    }
    for _ in 0..rounds {
        for (end, pair, state) in (0..pairs).flat_map(|pair| {
            ["up", "down"].into_iter().flat_map(move |state| ["s", "t"].map(|end| (end, pair, state)))
        }) {
            let _ = writeln!(lines, "link set dev {end}{pair} {state}");
        }
    }
    for pair in 0..pairs {
        let _ = writeln!(lines, "link del dev s{pair}");
    }
    lines
}
