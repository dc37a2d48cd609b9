//! Chaos: requests, traffic, links that change, netlink storms, SIGSTOP, `kill -9` and a full disk, all at once, drawn
//! from a seed; and a model of the expected state afterwards.
//!
//! ```text
//! TEST_CHAOS_SECONDS=3600 cargo test chaos::       for an hour; 20 s by default
//! TEST_CHAOS_SEED=4711 cargo test chaos::          the operations of that run again
//! ```
//!
//! A run is a sequence of phases ([`plan`]), each a function of the seed and its number. In each phase, for some
//! seconds, clients ([`client`]), the other host ([`traffic`]) and disturbances of links and process ([`disturbances`])
//! act at the same time. Then the test leaves the links in the phase's last situation, and checks ([`checks`]) the
//! states that the service shows ([`states`]) and its responses to new requests ([`new_requests`]). It repairs
//! everything, and checks again, also the logs ([`logs`]) and the messages ([`messages`]). A wrong result is a
//! violation, recorded with the number of the operation ([`report`]): the thousands are the phase.
//!
//! The operations of a seed are always the same. Their timing is not, so a violation may need some runs to occur again.

mod checks;
mod client;
mod disturbances;
mod expected;
mod kernel;
mod links;
mod logs;
mod messages;
mod model;
mod new_requests;
mod plan;
mod report;
mod service;
mod spec;
mod states;
mod traffic;

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::task::block_in_place;

use crate::support::lab::Lab;
use client::ClientRun;
use links::{Link, Links};
use model::Model;
use plan::{Phase, Request, Theme};
use report::Report;
use service::{Footprint, Service};
use spec::{Sources, Spec};
use traffic::Traffic;

const SEED: &str = "TEST_CHAOS_SEED";
const SECONDS: &str = "TEST_CHAOS_SECONDS";
const FEW_SECONDS: u64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn the_service_reports_the_true_state_during_chaos() {
    let Some(mut lab) = Lab::new() else { return };
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seed = number(SEED).unwrap_or_else(|| fastrand::u64(..1_000_000));
    let length = Duration::from_secs(number(SECONDS).unwrap_or(FEW_SECONDS));
    say(&format!("chaos: {SEED}={seed} {SECONDS}={}", length.as_secs()));

    let start = Instant::now();
    let world = Arc::new(World::make(&mut lab).await);
    let before = world.service.footprint();
    world.join_steady().await;
    let mut phases = 0;
    while start.elapsed() < length && world.service.lives() && !world.report.is_hopeless() {
        world.live_through(Phase::draw(seed, phases)).await;
        phases += 1;
    }
    let after = if world.service.lives() { Some(world.tidy_up(before, phases * 1_000).await) } else { None };

    let after = after.map_or_else(|| "it has ended".to_owned(), |after| after.to_string());
    say(&format!(
        "chaos: seed {seed}, {phases} phases in {:.0?}, {} restarts\n{}  at the start: {before}\n  at the end: {after}",
        start.elapsed(),
        world.service.generation(),
        world.report,
    ));
    for number in world.report.phases() {
        say(&Phase::draw(seed, number).describe());
    }
    assert_eq!(world.report.violations(), 0, "run it again with {SEED}={seed}");
}

/// Everything that takes part.
struct World {
    service: Service,
    links: Mutex<Links>,
    traffic: Traffic,
    model: Mutex<Model>,
    report: Report,
    /// How many lines of the service's output report panics.
    panics: AtomicUsize,
}

impl World {
    async fn make(lab: &mut Lab) -> Self {
        let (host, peer) = (lab.host_off(), lab.host_off());
        let links = block_in_place(|| Links::connect(host, peer));
        let called = SocketAddr::from(([239, 8, 0, 1], 10_000));
        Self {
            service: Service::start(links.host()).await,
            traffic: Traffic::start(links.peer(), &[(Link::STEADY, called)]),
            links: Mutex::new(links),
            model: Mutex::default(),
            report: Report::default(),
            panics: AtomicUsize::new(0),
        }
    }

    /// Joins the groups of the steady traffic.
    async fn join_steady(&self) {
        let client = ClientRun { world: self, theme: Theme::Links };
        for (path, group) in STEADY.iter().zip(steady_groups()) {
            let spec = Spec {
                path: (*path).to_owned(),
                group,
                interfaces: Some(vec![Link::STEADY.name()]),
                sources: Sources::All,
                exact_drops: true,
                allow_missing: false,
                lease: None,
                retention: None,
                replies: None,
            };
            client.perform(0, Request::Put(spec)).await;
        }
    }

    async fn live_through(self: &Arc<Self>, mut phase: Phase) {
        let index = phase.last_index();
        let (number, theme) = (phase.number, phase.theme);
        let generation = self.service.generation();
        let steady = self.disturb_while_in_use(&mut phase).await;
        self.checks(index, theme).of_aftermath(&phase).await;
        block_in_place(|| self.links().mend_all());
        let was_killed = self.service.generation() != generation;
        self.checks(index, theme).when_mended(number, Some(steady).filter(|_| !was_killed)).await;
    }

    /// Deletes everything, and returns the resources that the process still uses. `index` is after all operations.
    async fn tidy_up(&self, before: Footprint, index: u64) -> Footprint {
        let checks = self.checks(index, Theme::Links);
        checks.delete_everything().await;
        // Idle threads of the runtime end after 10 s.
        let limit = Duration::from_secs(20);
        let back = within(limit, async || self.service.footprint().is_back_to(&before)).await;
        self.report.expect("leak", index, back);
        self.service.footprint()
    }

    fn links(&self) -> MutexGuard<'_, Links> {
        self.links.lock().expect("no panic")
    }

    fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().expect("no panic")
    }
}

/// Memberships on the undisturbed link: during all disturbances they lose no datagram uncounted.
const STEADY: [&str; 2] = ["/v1/memberships/steady-4", "/v1/memberships/steady-6"];
const STEADY_LABEL: &str = "steady";

fn steady_groups() -> [SocketAddr; 2] {
    let ipv6 = [0xff15, 0, 0, 0, 0, 0, 9, 1];
    [SocketAddr::from(([239, 9, 0, 1], 9_000)), SocketAddr::from((ipv6, 9_000))]
}

/// Repeats the check until nothing is wrong; returns the last violations if that takes too long.
async fn within(limit: Duration, look: impl AsyncFn() -> Result<(), String>) -> Result<(), String> {
    let start = Instant::now();
    loop {
        match look().await {
            Err(_) if start.elapsed() < limit => tokio::time::sleep(Duration::from_millis(10)).await,
            outcome => return outcome,
        }
    }
}

/// Also when the test passes, which `println!` does not.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
