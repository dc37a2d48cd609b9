//! The service under all at once that clients and peers can do to it.

use std::net::SocketAddrV4;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::overload::{Load, Target};
use crate::support::program::Program;
use crate::support::server::{fresh_group, on_lo};

/// A small load, so that the tests beside this one stay in time; with `TEST_OVERLOAD=1` the whole, for a machine
/// that runs nothing else.
fn load() -> Load {
    if std::env::var_os("TEST_OVERLOAD").is_some() {
        return Load::WHOLE;
    }
    let duration = Duration::from_secs(1);
    Load {
        duration,
        sources: 2_000,
        connections: 200,
        stopped_readers: 4,
        clients: 4,
        rounds: 200,
        ..Load::WHOLE
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overload_stops_nothing_and_leaves_nothing() {
    /// Beyond the logs' own budget: buffers of connections, tables, and what the allocator holds on to.
    const MOST_BESIDE_LOGS: u64 = 192 << 20;
    const MOST_LEFT: u64 = 8 << 20;
    const TOTAL_BYTES: u64 = 128 << 20;
    rollcall::net::raise_descriptor_limit();
    let program = Program::start_with(&["--total-bytes", &TOTAL_BYTES.to_string(), "--kept-messages", "100"]);
    program.get("/readyz").await.expect(200);
    // Without the pages of the program itself, of which a debug build has many.
    let idle = resident(program.id(), "RssAnon");

    let group: SocketAddrV4 = fresh_group().parse().expect("an address");
    let flooded = json!({"exact_drops": true});
    program.put("/v1/memberships/flooded", on_lo(&group.to_string(), flooded)).await.expect(201);
    let matching =
        json!({"exact_drops": true, "reply": "never", "match": {"regex": "(?-u)(?:a|b)*a(?:a|b){6}z"}});
    program.put("/v1/responders/matching", on_lo(&group.to_string(), matching)).await.expect(201);
    let collecting = json!({"payload": "who is there?", "window_ms": 600_000});
    let message = program.put("/v1/messages/collecting", on_lo(&fresh_group(), collecting)).await.expect(202);
    let collector = message["sent"][0]["source"].as_str().expect("a source").parse().expect("an address");

    let socket = program.socket().to_owned();
    let sent = tokio::task::spawn_blocking(move || {
        let (log, message) = ("/v1/memberships/flooded/datagrams", "/v1/messages/collecting");
        let load = load();
        let sent = Target { socket: Path::new(&socket), group, collector, log, message }.overload(&load);
        assert_eq!((sent.rounds, sent.responses), (load.rounds, u64::from(load.sources)));
        sent
    });
    let sent = sent.await.expect("the load ends");
    assert_eq!(sent.failures, 0, "of {} answers", sent.answers);
    let most = resident(program.id(), "VmHWM");
    eprintln!(
        "{} probes, 99 of 100 within {:?}; {} answers, {} datagrams; {} MiB at most",
        sent.probes.count(),
        sent.probes.p99(),
        sent.answers,
        sent.flooded,
        most >> 20
    );
    assert!(most < TOTAL_BYTES + MOST_BESIDE_LOGS, "{} MiB", most >> 20);

    for path in ["/v1/memberships/flooded", "/v1/responders/matching"] {
        let counted = |counters: &serde_json::Value| {
            ["datagrams", "dropped_buffers"]
                .map(|name| counters[name].as_u64().expect("a count"))
                .iter()
                .sum::<u64>()
        };
        settled(&program, path, sent.flooded, counted).await;
    }
    let counted = |counters: &serde_json::Value| {
        ["responses", "dropped_buffers"]
            .map(|name| counters[name].as_u64().expect("a count"))
            .iter()
            .sum::<u64>()
    };
    settled(&program, "/v1/messages/collecting", sent.responses, counted).await;

    for path in ["/v1/memberships/flooded", "/v1/responders/matching", "/v1/messages/collecting"] {
        program.delete(path).await.expect(204);
    }
    let since = Instant::now();
    loop {
        let left = resident(program.id(), "RssAnon").saturating_sub(idle);
        if left <= MOST_LEFT {
            break;
        }
        assert!(since.elapsed() < Duration::from_secs(30), "{} KiB more than idle", left >> 10);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until every datagram that was sent is counted.
async fn settled(program: &Program, path: &str, sent: u64, counted: impl Fn(&serde_json::Value) -> u64) {
    let since = Instant::now();
    loop {
        let counters = program.get(path).await.expect(200)["counters"].clone();
        if counted(&counters) == sent {
            return;
        }
        assert!(since.elapsed() < Duration::from_secs(30), "{path}: {sent} sent, {counters}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A size from /proc/PID/status, in bytes.
fn resident(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).expect("a line");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}
