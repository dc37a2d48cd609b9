//! Data directories on disks that are full or read-only: file systems in mount namespaces of the tests' own.

use std::fs::File;
use std::io::Write as _;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::lab::Lab;
use crate::support::metrics::Metrics;
use crate::support::peer::Peer;
use crate::support::program::{BINARY, Program, Scratch};
use crate::support::server::fresh_group;

const DEGRADED: &str = "rollcall_store_degraded";
const CONFINED: &str = "rollcall_store_confined";
const LOST: &str = "rollcall_drops_total{cause=\"store\"}";
const MIB: usize = 1024 * 1024;

#[tokio::test]
async fn a_full_disk_is_reported_and_loses_nothing_that_fits_into_memory() {
    let Some(disk) = SmallDisk::start() else { return };
    let program = &disk.program;
    let (group, peer) = (fresh_group(), Peer::at("127.0.0.1"));
    let log = program.join(&group).await + "/datagrams";
    send(&peer, &group, program, &log, 1..=10).await;
    let durable = format!("{log}?durable=true&limit=1000");
    assert_eq!(count(program, &durable).await, 10);
    assert!(Metrics::of(program).await.seconds(DEGRADED) < 0.5);

    let filler = disk.fill();
    send(&peer, &group, program, &log, 11..=60).await;

    program.get(&durable).await.problem(503, "store", "");
    assert!(Metrics::of(program).await.seconds(DEGRADED) > 0.5);
    let unready = program.get("/readyz").await.problem(503, "not-ready", "");
    let failed = |check: &&Value| check["status"] == "failed";
    let failed: Vec<_> = unready["checks"].as_array().unwrap().iter().filter(failed).collect();
    assert_eq!((failed.len(), &failed[0]["name"]), (1, &json!("store")));
    assert!(failed[0]["detail"].as_str().unwrap().contains("no room left"), "{}", failed[0]);
    // Everything else works.
    assert_eq!(count(program, &format!("{log}?limit=1000")).await, 60);
    let another = program.join(&group).await;
    program.get(&another).await.expect(200);
    assert_eq!(Metrics::of(program).await.count(LOST), 0);

    std::fs::remove_file(filler).expect("the filler goes");
    while Metrics::of(program).await.seconds(DEGRADED) > 0.5 {}
    assert_eq!(count(program, &durable).await, 60);
    program.get("/readyz").await.expect(200);
}

#[tokio::test]
async fn datagrams_beyond_a_full_disk_and_memory_are_counted_as_lost() {
    let Some(disk) = SmallDisk::start() else { return };
    let program = &disk.program;
    let (group, peer) = (fresh_group(), Peer::at("127.0.0.1"));
    let log = program.join(&group).await + "/datagrams";
    let filler = disk.fill();

    // Twice what `--memory-bytes` allows.
    send(&peer, &group, program, &log, 1..=300).await;

    let lost = async || Metrics::of(program).await.count(LOST);
    while lost().await < 100 {}
    std::fs::remove_file(filler).expect("the filler goes");
    while Metrics::of(program).await.seconds(DEGRADED) > 0.5 {}
    let lost = lost().await;
    let (count, gaps) = read_all(program, &format!("{log}?limit=1000")).await;
    assert_eq!((count, gaps), (300 - lost, vec![json!({"reason": "lost", "missed": lost})]));
    let membership = program.get(log.trim_end_matches("/datagrams")).await.expect(200);
    assert_eq!(membership["counters"]["lost"], lost);
}

#[tokio::test]
async fn a_small_disk_keeps_the_newest_datagrams() {
    let Some(disk) = SmallDisk::start() else { return };
    let program = &disk.program;
    let (group, peer) = (fresh_group(), Peer::at("127.0.0.1"));
    let membership = program.join(&group).await;
    let log = format!("{membership}/datagrams");
    let confined = async || Metrics::of(program).await.seconds(CONFINED) > 0.5;
    assert!(!confined().await);

    // More than twice the size of the disk, and less than the log may keep.
    // In steps, so that the writer keeps pace: what leaves memory before it is on disk would be lost.
    for first in (1..=500).step_by(50) {
        send(&peer, &group, program, &log, first..=first + 49).await;
        program.get(&format!("{log}?durable=true&limit=1")).await.expect(200);
    }

    let (kept, gaps) = read_all(program, &format!("{log}?durable=true&limit=1000")).await;
    let missed: u64 = gaps.iter().map(|gap| gap["missed"].as_u64().unwrap()).sum();
    assert!(gaps.iter().all(|gap| gap["reason"] == "retention") && kept + missed == 500, "{kept} {gaps:?}");
    // It takes a good part of the disk.
    assert!((100..180).contains(&kept), "{kept}");
    assert_eq!(program.get(&membership).await.expect(200)["counters"]["lost"], 0);
    assert!(confined().await);
    assert!(Metrics::of(program).await.seconds(DEGRADED) < 0.5);
    let ready = program.get("/readyz").await.expect(200);
    let store = ready["checks"].as_array().unwrap().iter().find(|check| check["name"] == "store").unwrap();
    assert_eq!(store["status"], "warning", "{store}");
    assert!(store["detail"].as_str().unwrap().contains("nearly full"), "{store}");

    // A deletion frees space.
    program.delete(&membership).await.expect(204);
    while confined().await {}
    let ready = program.get("/readyz").await.expect(200);
    assert_eq!(ready["status"], "ok", "{ready}");
}

#[test]
fn a_read_only_directory_is_refused() {
    if Lab::new().is_none() {
        return;
    }
    let scratch = Scratch::new();
    let started = Command::new("unshare")
        .args(["-m", "sh", "-c", "mount -t tmpfs -o ro none \"$1\" && exec \"$2\" serve --data-dir \"$1\""])
        .arg("sh")
        .arg(scratch.path(""))
        .args([BINARY, "--listen", "127.0.0.1:0"])
        .output()
        .expect("unshare runs");
    let output = String::from_utf8_lossy(&started.stderr);
    assert_eq!(started.status.code(), Some(1), "{output}");
    assert!(output.contains("cannot be written to") && output.contains("--data-dir"), "{output}");
}

/// Sends large datagrams, each after the previous one was received.
async fn send(peer: &Peer, group: &str, client: &Client, log: &str, numbers: RangeInclusive<u64>) {
    let payload = vec![b'x'; 60_000];
    for number in numbers {
        peer.send(group, &payload);
        let received = |membership: &Value| membership["counters"]["datagrams"] == number;
        while !received(&client.get(log.trim_end_matches("/datagrams")).await.expect(200)) {}
    }
}

/// The number of datagrams in a log, page by page, and the gaps before them.
async fn read_all(client: &Client, path: &str) -> (u64, Vec<Value>) {
    let (mut count, mut gaps, mut after) = (0, Vec::new(), String::new());
    loop {
        let page = client.get(&format!("{path}{after}")).await.expect(200);
        let read = page["items"].as_array().expect("items").len() as u64;
        let gap = Some(&page["gap"]).filter(|gap| gap.is_object());
        if read == 0 && gap.is_none() {
            return (count, gaps);
        }
        gaps.extend(gap.cloned());
        count += read;
        after = format!("&after={}", page["next_cursor"].as_str().expect("a cursor"));
    }
}

async fn count(client: &Client, path: &str) -> u64 {
    read_all(client, path).await.0
}

/// The service on a disk of 12 MiB, with 8 MiB of memory for logs.
struct SmallDisk {
    program: Program,
}

impl SmallDisk {
    fn start() -> Option<Self> {
        Lab::new()?;
        let mount = "mkdir -p \"$ROLLCALL_DATA_DIR\" && mount -t tmpfs -o size=12m none \"$ROLLCALL_DATA_DIR\" && exec \"$@\"";
        let program = Program::start_as(
            &["unshare", "-m", "sh", "-c", mount, "sh"],
            &["--flush-ms", "20", "--memory-bytes", "8388608"],
        );
        Some(Self { program })
    }

    /// Leaves no room on the disk; gives the file that takes it all.
    fn fill(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.program.id()));
        let directory = self.program.data_dir();
        let path = root.join(directory.strip_prefix("/").expect("an absolute path")).join("filler");
        let mut filler = File::create(&path).expect("the namespace can be reached");
        let mut piece = MIB;
        while piece > 0 {
            match filler.write_all(&vec![0; piece]) {
                Ok(()) => {}
                Err(_) => piece /= 2,
            }
        }
        path
    }
}
