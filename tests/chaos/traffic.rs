//! The other host: a plain program that sends datagrams on request, and replies to calls.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::{block_in_place, spawn_blocking};

use super::links::Link;
use crate::support::lab::{Host, Process, peer};
use crate::support::program::Scratch;

pub(super) struct Traffic {
    socket: PathBuf,
    /// Open as long as the program replies to calls.
    _answering: UnixStream,
    _process: Process,
    _scratch: Scratch,
}

/// Numbered datagrams to each target in turn: `LABEL INTERFACE NUMBER`.
pub(super) struct Job {
    pub(super) targets: Vec<(Link, SocketAddr)>,
    pub(super) label: String,
    pub(super) first: u64,
    pub(super) count: u64,
    pub(super) interval: Duration,
}

impl Traffic {
    pub(super) fn start(host: &Host, called: &[(Link, SocketAddr)]) -> Self {
        let scratch = Scratch::new();
        let socket = scratch.path("traffic");
        let process = host.spawn("python3", &[&peer("traffic.py"), socket.to_str().expect("a path")]);
        block_in_place(|| process.wait_for_line("listening"));
        let answering = connect(&socket, &json!({"answer": describe(called)}));
        Self { socket, _answering: answering, _process: process, _scratch: scratch }
    }

    /// Sends all of it, and gives how many the system took for each target.
    pub(super) async fn send(&self, job: &Job) -> Vec<u64> {
        let order = json!({
            "targets": describe(&job.targets),
            "label": job.label,
            "first": job.first,
            "count": job.count,
            "interval_ms": job.interval.as_millis(),
        });
        let socket = self.socket.clone();
        let sending = spawn_blocking(move || {
            let mut sent = String::new();
            BufReader::new(connect(&socket, &order)).read_line(&mut sent).expect("it lives");
            serde_json::from_str(&sent).expect("a number for each target")
        });
        sending.await.expect("no panic")
    }
}

fn describe(targets: &[(Link, SocketAddr)]) -> Value {
    let target = |(link, to): &(Link, SocketAddr)| json!({"interface": link.peer(), "address": to.ip(), "port": to.port()});
    targets.iter().map(target).collect()
}

fn connect(socket: &Path, order: &Value) -> UnixStream {
    let mut stream = UnixStream::connect(socket).expect("it listens");
    writeln!(stream, "{order}").expect("it reads");
    stream
}
