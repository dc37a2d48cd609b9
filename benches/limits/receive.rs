//! Capturing and answering.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;

use crate::bare;
use crate::load::{Load, Receiver, lossless_rate, trial};
use crate::peer::{Bare, Service, cpu_ns, many_groups};
use crate::table::{Bound, ROUNDS, Table};

const GROUP_V4: &str = "239.7.0.1:7000";
const GROUP_V6: &str = "[ff15::7:1]:7000";

pub(crate) fn rows(table: &mut Table) {
    for size in [64, 1_200] {
        capture(table, size);
    }
    kept_and_counted(table);
    many(table);
    flatness(
        table,
        "CPU per datagram at 10,000 IPv4 groups ÷ at 1",
        GROUP_V4,
        10_000,
        Bound::AtMost(2.0, 1.2),
    );
    flatness(table, "CPU per datagram at 1,000 IPv6 groups ÷ at 1", GROUP_V6, 1_000, Bound::Report);
    responder(table);
}

fn load(groups: Vec<SocketAddr>, size: usize, segments: usize) -> Load {
    Load { groups, payload: vec![b'x'; size], segments, duration: Duration::from_millis(400) }
}

fn group(text: &str) -> SocketAddr {
    text.parse().expect("a group")
}

fn join(service: &Service, groups: &[SocketAddr], more: &serde_json::Value) {
    let mut connection = service.client.connect().expect("a connection");
    for group in groups {
        let mut body = json!({"group": group.to_string(), "interfaces": ["lo"]});
        for (field, value) in more.as_object().into_iter().flatten() {
            body[field] = value.clone();
        }
        let (status, answer) = connection.request("POST", "/v1/memberships", &body.to_string());
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&answer));
    }
}

fn bare_capture(mode: &str, first: &str, count: usize) -> Bare {
    Bare::start(&[mode.to_owned(), first.to_owned(), count.to_string()])
}

fn capture(table: &mut Table, size: usize) {
    let name = format!("capture, 1 group, GSO, {size} B");
    let load = load(vec![group(GROUP_V4)], size, 16);
    let bounds = [Bound::AtMost(1.5, 1.15), Bound::AtLeast(0.7, 0.9)];
    side_by_side(table, &name, &load, "capture-gro", 4_000_000.0, bounds);
}

fn many(table: &mut Table) {
    let load = load(many_groups(group(GROUP_V4), 1_000), 64, 1);
    let bounds = [Bound::AtMost(1.3, 1.1), Bound::AtLeast(0.8, 0.95)];
    side_by_side(table, "capture, 1,000 IPv4 groups, no GSO", &load, "capture", 400_000.0, bounds);
}

/// CPU at half the rate that the bare loop receives without loss, and the lossless rate of each.
fn side_by_side(
    table: &mut Table,
    name: &str,
    load: &Load,
    bare_mode: &str,
    ceiling: f64,
    [cpu_bound, rate_bound]: [Bound; 2],
) {
    if !table.wants(name) {
        return;
    }
    let sender = bare::sender(load.groups[0]).expect("a sender");
    let bare = || bare_capture(bare_mode, GROUP_V4, load.groups.len());
    let half = lossless_rate(&mut bare(), &sender, load, ceiling) / 2.0;
    let (mut cpu, mut rates) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let mut service = Service::start(&[]);
        join(&service, &load.groups, &json!({}));
        let ours = trial(&mut service, &sender, load, half).0;
        let our_rate = lossless_rate(&mut service, &sender, load, ceiling);
        drop(service);
        let mut bare = bare();
        cpu.push((ours, trial(&mut bare, &sender, load, half).0));
        rates.push((our_rate, lossless_rate(&mut bare, &sender, load, ceiling)));
    }
    table.pairs(&format!("{name}: CPU per datagram"), "ns", cpu_bound, &cpu);
    table.pairs(&format!("{name}: lossless rate"), "1/s", rate_bound, &rates);
}

/// Overruns a small buffer: the kept and the counted datagrams must add up to the sent ones.
fn kept_and_counted(table: &mut Table) {
    for (name, exact, segments) in [
        ("unaccounted of an overrun, exact_drops", true, 1),
        ("unaccounted of an overrun, 16 datagrams a buffer", false, 16),
    ] {
        if !table.wants(name) {
            continue;
        }
        let mut figures = Vec::new();
        for _ in 0..ROUNDS {
            let mut service = Service::start(&["--receive-buffer", "65536"]);
            join(&service, &[group(GROUP_V4)], &json!({"exact_drops": exact}));
            let sender = bare::sender(group(GROUP_V4)).expect("a sender");
            let sends = 100_000;
            bare::send(&sender, &[group(GROUP_V4)], &[b'x'; 64], segments, sends);
            let (kept, dropped) = service.wait_until_settled();
            figures.push((sends * segments) as f64 - kept as f64 - (dropped * segments as u64) as f64);
        }
        table.alone(name, "datagrams", Bound::Within(0.0, 0.0), &figures);
    }
}

/// Our own cost with many groups joined, against one; the load goes round all that are joined.
fn flatness(table: &mut Table, name: &str, first: &str, count: usize, bound: Bound) {
    if !table.wants(name) {
        return;
    }
    let sender = bare::sender(group(first)).expect("a sender");
    let measure = |count: usize| {
        let load = load(many_groups(group(first), count), 64, 1);
        let mut service = Service::start(&[]);
        join(&service, &load.groups, &json!({}));
        trial(&mut service, &sender, &load, 20_000.0).0
    };
    let pairs: Vec<_> = (0..ROUNDS).map(|_| (measure(count), measure(1))).collect();
    table.pairs(name, "ns", bound, &pairs);
}

fn responder(table: &mut Table) {
    let name = "responder: CPU per ack";
    if !table.wants(name) {
        return;
    }
    let load = load(vec![group(GROUP_V4)], 64, 1);
    let sender = bare::sender(load.groups[0]).expect("a sender");
    let drain = sender.try_clone().expect("a socket");
    std::thread::spawn(move || {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 64];
        while drain.recv(&mut buffer).is_ok() {}
    });
    let rate = 40_000.0;
    let mut pairs = Vec::new();
    for _ in 0..ROUNDS {
        let service = Service::start(&[]);
        service.client.post("/v1/responders", &json!({"group": GROUP_V4, "interfaces": ["lo"]}));
        let ours = per_ack(service.pid(), &load, &sender, rate);
        drop(service);
        let bare = Bare::start(&["answer".to_owned(), GROUP_V4.to_owned()]);
        pairs.push((ours, per_ack(bare.pid(), &load, &sender, rate)));
    }
    table.pairs(name, "ns", Bound::AtMost(1.4, 1.1), &pairs);
}

fn per_ack(pid: u32, load: &Load, sender: &socket2::Socket, rate: f64) -> f64 {
    let cpu = cpu_ns(pid);
    let sent = load.send(sender, rate);
    std::thread::sleep(Duration::from_millis(30));
    (cpu_ns(pid) - cpu) as f64 / sent as f64
}
