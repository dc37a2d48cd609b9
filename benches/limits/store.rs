//! The cost of keeping everything on disk.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rollcall::store::Cursor;
use serde_json::json;
use socket2::Socket;

use crate::bare;
use crate::disk::Scratch;
use crate::load::{Load, Receiver, lossless_rate};
use crate::peer::Service;
use crate::requests::per_request;
use crate::table::{Bound, ROUNDS, Table};

const GROUP: &str = "239.7.4.1:7007";

/// A log that lets go of nothing, so that all has to get to disk.
const ROOMY: &[&str] =
    &["--log-entries", "1000000000", "--log-bytes", "8589934592", "--total-bytes", "8589934592"];

/// Memory of one log, and of the service, with logs on disk.
const MEMORY_BYTES: f64 = 128.0 * 1024.0 * 1024.0;
/// Bytes of a 64-byte datagram in a log, if 16 came in one buffer.
const KEPT_BYTES: f64 = 66.0;

pub(crate) fn rows(table: &mut Table) {
    capture(table);
    pages(table);
    start(table);
    restart(table);
    requests(
        table,
        "store: POST /v1/messages, window_ms 0",
        "/v1/messages",
        5_000,
        |_| json!({"group": "239.7.4.2:7003", "payload": "hello", "interfaces": ["lo"], "window_ms": 0}),
    );
    requests(
        table,
        "store: join",
        "/v1/memberships",
        5_000,
        |nth| json!({"group": format!("239.8.{}.{}:7004", nth / 250, nth % 250), "interfaces": ["lo"]}),
    );
}

fn load(duration: Duration) -> Load {
    Load { groups: vec![group()], payload: vec![b'x'; 64], segments: 16, duration }
}

fn group() -> std::net::SocketAddr {
    GROUP.parse().expect("a group")
}

/// The highest rate that memory takes, and how much of it the store takes, too: for so long that four times as much
/// comes as there is room in memory.
fn capture(table: &mut Table) {
    const STEPS: u32 = 20;
    let name = "store: capture, GSO, 64 B";
    if !table.wants(name) {
        return;
    }
    let sender = bare::sender(group()).expect("a sender");
    let (mut rates, mut writes) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let mut memory = Service::start(&[]);
        join(&memory, GROUP);
        let without = lossless_rate(&mut memory, &sender, &load(Duration::from_secs(2)), 4_000_000.0);
        drop(memory);
        let steps = (1..=STEPS).rev().map(|step| without * f64::from(step) / f64::from(STEPS));
        let kept = steps.into_iter().find_map(|rate| sustained(&sender, rate)).expect("a rate that is kept");
        rates.push((kept.rate, without));
        let plain = Scratch::new().plain_writes((4.0 * MEMORY_BYTES) as u64);
        writes.push((kept.written * KEPT_BYTES / 1e6, plain / 1e6));
    }
    let disk = Scratch::new().file_system();
    table.pairs(&format!("{name}: lossless rate ÷ in memory"), "1/s", Bound::AtLeast(0.8, 0.9), &rates);
    table.pairs(&format!("{name}: kept ÷ plain writes, {disk}"), "MB/s", Bound::Report, &writes);
}

/// The rate that the store took without loss.
struct Kept {
    /// Datagrams sent in a second.
    rate: f64,
    /// The same, but until all of them were on disk.
    written: f64,
}

fn sustained(sender: &Socket, rate: f64) -> Option<Kept> {
    let scratch = Scratch::new();
    let mut service = Service::start_in(scratch.path(), ROOMY);
    let log = join(&service, GROUP);
    let load = load(Duration::from_secs_f64(4.0 * MEMORY_BYTES / (rate * KEPT_BYTES)));
    let begun = Instant::now();
    let (sent, rate) = load.timed(sender, rate);
    let received = service.wait_until_settled().0;
    log.wait_until_kept(&service, received);
    let written = sent as f64 / begun.elapsed().as_secs_f64();
    let lost = service.metric("rollcall_drops_total", "store");
    let whole = received == sent && lost == 0.0;
    eprintln!("  {rate:.0}/s: {sent} sent, {received} received, {lost} lost, {written:.0}/s written");
    if whole {
        // Counted once more by a service that has all of it from disk.
        service.end();
        let mut again = Service::start_in(scratch.path(), ROOMY);
        assert_eq!(again.counts().0, sent);
        assert_eq!(again.metric("rollcall_log_datagrams", "membership") as u64, sent);
    }
    whole.then_some(Kept { rate, written })
}

/// A directory with a log of this many datagrams, and a label for it.
struct Filled {
    scratch: Scratch,
    log: Log,
    /// The cursor before the first.
    beginning: Cursor,
}

fn fill(count: u64) -> Filled {
    let (scratch, sender) = (Scratch::new(), bare::sender(group()).expect("a sender"));
    let mut service = Service::start_in(scratch.path(), ROOMY);
    let log = join(&service, GROUP);
    let second = load(Duration::from_secs(1));
    let mut there = 0;
    while there < count {
        // A little more than is missing, lest the last bit come in ever smaller ones.
        let rate = (count - there).clamp(1_600, 500_000);
        second.send(&sender, rate as f64);
        there = service.wait_until_settled().0;
    }
    log.wait_until_kept(&service, there);
    let beginning = log.after(&service, 0);
    service.end();
    Filled { scratch, log, beginning }
}

/// Pages of 1,000 from the beginning, the middle and the end of a long log: right after a start, and again.
fn pages(table: &mut Table) {
    const COUNT: u64 = 10_000_000;
    let name = "store: a page of 10,000,000 datagrams";
    if !table.wants(name) {
        return;
    }
    let Filled { scratch, log, beginning } = fill(COUNT);
    for page in [5_000, 10_000] {
        let (mut cold, mut warm) = (Vec::new(), Vec::new());
        // One page takes so little time that a few of them measure nothing.
        for _ in 0..4 * ROUNDS {
            let measure = |page: u64| {
                let service = Service::start_in(scratch.path(), ROOMY);
                let after = Cursor { sequence: (page - 1) * 1_000, ..beginning };
                let path = format!("{}?limit=1000&after={after}", log.path);
                (page_took(&service, &path), page_took(&service, &path))
            };
            let (nth, first) = (measure(page), measure(1));
            cold.push((nth.0, first.0));
            warm.push((nth.1, first.1));
        }
        table.pairs(&format!("{name}: {page}th ÷ 1st, from disk"), "µs", Bound::AtMost(1.5, 1.1), &cold);
        table.pairs(&format!("{name}: {page}th ÷ 1st, again"), "µs", Bound::AtMost(1.5, 1.1), &warm);
    }
}

/// Microseconds for a whole page.
fn page_took(service: &Service, path: &str) -> f64 {
    let mut connection = service.client.connect().expect("a connection");
    let begun = Instant::now();
    let (status, body) = connection.get(path);
    let took = begun.elapsed();
    assert_eq!(status, 200);
    let page: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!((page["items"].as_array().map(Vec::len), page.get("gap")), (Some(1_000), None));
    took.as_secs_f64() * 1e6
}

/// From the start of the process to ready, with a million datagrams there.
fn start(table: &mut Table) {
    const COUNT: u64 = 1_000_000;
    let name = "store: start to /readyz with 1,000,000 datagrams";
    if !table.wants(name) {
        return;
    }
    let Filled { scratch, .. } = fill(COUNT);
    let sender = bare::sender(group()).expect("a sender");
    let (mut after_end, mut after_kill) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let service = Service::start_in(scratch.path(), ROOMY);
        after_end.push(service.ready_after.as_secs_f64() * 1e3);
        // Killed in the middle of writing.
        load(Duration::from_millis(200)).send(&sender, 500_000.0);
        drop(service);
        let service = Service::start_in(scratch.path(), ROOMY);
        after_kill.push(service.ready_after.as_secs_f64() * 1e3);
        service.end();
    }
    table.alone(&format!("{name}, ended"), "ms", Bound::Within(1_000.0, 100.0), &after_end);
    table.alone(&format!("{name}, killed"), "ms", Bound::Within(1_000.0, 100.0), &after_kill);
}

/// The time without reception over a restart of the service: of a datagram each half millisecond, those that no log
/// has afterwards.
fn restart(table: &mut Table) {
    const TICK: Duration = Duration::from_micros(500);
    let name = "store: nothing heard over a restart";
    if !table.wants(name) {
        return;
    }
    let sender = bare::sender(group()).expect("a sender");
    let hole = |end: fn(Service)| {
        let scratch = Scratch::new();
        let service = Service::start_in(scratch.path(), &[]);
        join(&service, GROUP);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let ticking = scope.spawn(|| ticks(&sender, TICK, &stop));
            std::thread::sleep(Duration::from_secs(1));
            end(service);
            let service = Service::start_in(scratch.path(), &[]);
            std::thread::sleep(Duration::from_millis(300));
            stop.store(true, Ordering::Relaxed);
            let sent = ticking.join().expect("it ends");
            std::thread::sleep(Duration::from_millis(100));
            let memberships = service.client.get("/v1/memberships");
            let received = memberships["items"][0]["counters"]["datagrams"].as_u64().expect("a count");
            TICK.as_secs_f64() * 1e3 * (sent - received) as f64
        })
    };
    let (ended, killed): (Vec<_>, Vec<_>) = (0..ROUNDS).map(|_| (hole(Service::end), hole(drop))).unzip();
    table.alone(&format!("{name}, ended"), "ms", Bound::Report, &ended);
    table.alone(&format!("{name}, killed"), "ms", Bound::Report, &killed);
}

/// Sends a datagram at each tick; gives how many.
fn ticks(sender: &Socket, tick: Duration, stop: &AtomicBool) -> u64 {
    let (begun, mut sent) = (Instant::now(), 0);
    while !stop.load(Ordering::Relaxed) {
        sender.send_to(b"tick", &group().into()).expect("it is sent");
        sent += 1;
        std::thread::sleep((begun + tick * sent).saturating_duration_since(Instant::now()));
    }
    sent.into()
}

/// The same requests to a service with a data directory and to one without.
fn requests(
    table: &mut Table,
    name: &str,
    path: &str,
    count: usize,
    body: impl Fn(usize) -> serde_json::Value,
) {
    if !table.wants(name) {
        return;
    }
    let bodies: Vec<String> = (0..count).map(|nth| body(nth).to_string()).collect();
    let measure = |service: &Service| {
        let begun = Instant::now();
        let cpu = per_request(service.pid(), &service.client, "POST", path, &bodies);
        (cpu, bodies.len() as f64 / begun.elapsed().as_secs_f64())
    };
    let (mut cpu, mut rates) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let scratch = Scratch::new();
        let with = measure(&Service::start_in(scratch.path(), &[]));
        let without = measure(&Service::start(&[]));
        cpu.push((with.0, without.0));
        rates.push((with.1, without.1));
    }
    table.pairs(&format!("{name}: CPU ÷ in memory"), "ns", Bound::Report, &cpu);
    table.pairs(&format!("{name}: requests of 4 clients ÷ in memory"), "1/s", Bound::Report, &rates);
}

/// The log of a membership.
pub(crate) struct Log {
    pub(crate) path: String,
}

pub(crate) fn join(service: &Service, group: &str) -> Log {
    let membership = service.client.post("/v1/memberships", &json!({"group": group, "interfaces": ["lo"]}));
    Log { path: format!("/v1/memberships/{}/datagrams", membership["id"].as_str().expect("an id")) }
}

impl Log {
    /// The cursor after so many.
    pub(crate) fn after(&self, service: &Service, sequence: u64) -> Cursor {
        let page = service.client.get(&format!("{}?limit=1&wait_ms=60000", self.path));
        let cursor = Cursor::parse(page["next_cursor"].as_str().expect("a cursor"));
        Cursor { sequence, ..cursor.expect("a cursor") }
    }

    /// Waits until so many are on disk.
    fn wait_until_kept(&self, service: &Service, count: u64) {
        let after = self.after(service, count - 1);
        let last = format!("{}?limit=1&wait_ms=60000&durable=true&after={after}", self.path);
        while service.client.get(&last)["items"].as_array().is_none_or(Vec::is_empty) {}
    }
}
