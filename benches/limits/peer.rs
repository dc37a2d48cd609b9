//! Child processes under measurement: the service, and bare loops beside it.
//!
//! Both are processes of their own, so that CPU time and memory are read from the kernel in the same way.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::bare;
use crate::http::Client;

/// Nanoseconds that all threads of a process have run (proc(5), `schedstat`).
pub(crate) fn cpu_ns(pid: u32) -> u64 {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return 0;
    };
    let of = |path: PathBuf| {
        std::fs::read_to_string(path.join("schedstat")).ok()?.split(' ').next()?.parse::<u64>().ok()
    };
    tasks.flatten().filter_map(|task| of(task.path())).sum()
}

/// Resident bytes of a process.
pub(crate) fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// The service, on a unix socket.
pub(crate) struct Service {
    child: Child,
    pub(crate) client: Client,
    socket: PathBuf,
    pub(crate) ready_after: Duration,
}

impl Service {
    /// With everything in memory.
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::launch(&["--memory"], flags)
    }

    /// With everything on disk in this directory, too.
    pub(crate) fn start_in(directory: &Path, flags: &[&str]) -> Self {
        Self::launch(&["--data-dir", directory.to_str().expect("a name in UTF-8")], flags)
    }

    fn launch(keeping: &[&str], flags: &[&str]) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name =
            format!("rollcall-bench-{}-{}.sock", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let socket = std::env::temp_dir().join(name);
        let begun = Instant::now();
        let child = Command::new(env!("CARGO_BIN_EXE_rollcall"))
            .args(["serve", "--log", "error", "--replies-per-source", "0", "--replies-total", "0"])
            .args(keeping)
            .args(["--listen", &format!("unix:{}", socket.display())])
            .args(flags)
            .spawn()
            .expect("the service starts");
        let client = Client::new(&socket);
        while client.connect().is_err() {
            std::thread::yield_now();
        }
        assert_eq!(client.connect().expect("a connection").get("/readyz").0, 200);
        Self { child, client, socket, ready_after: begun.elapsed() }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// The sum of a metric over all labels that hold the word.
    pub(crate) fn metric(&self, name: &str, word: &str) -> f64 {
        let (_, text) = self.client.connect().expect("a connection").get("/metrics");
        let text = String::from_utf8_lossy(&text);
        let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(word));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Datagrams that came into the logs of memberships.
    pub(crate) fn received(&self) -> u64 {
        self.metric("rollcall_received_datagrams_total", "membership") as u64
    }

    /// Ends it in order; dropping kills it.
    pub(crate) fn end(mut self) {
        let kill = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status();
        assert!(kill.is_ok_and(|status| status.success()));
        assert!(self.child.wait().expect("a child").success());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// A bare loop in a process of its own: this program, started again.
pub(crate) struct Bare {
    child: Child,
    stdin: ChildStdin,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Bare {
    pub(crate) fn start(arguments: &[String]) -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut child = Command::new(program)
            .arg("--bare")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the bare loop starts");
        let stdin = child.stdin.take().expect("piped");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        assert_eq!(lines.next().expect("a line").expect("a line"), "ready");
        Self { child, stdin, lines }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Datagrams received, and buffers dropped.
    pub(crate) fn counts(&mut self) -> (u64, u64) {
        writeln!(self.stdin, "?").expect("the loop listens");
        let line = self.lines.next().expect("a line").expect("a line");
        let (received, dropped) = line.split_once(' ').expect("two numbers");
        (received.parse().expect("a number"), dropped.parse().expect("a number"))
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The child's side: `capture|capture-gro|answer GROUP...` until standard input ends.
pub(crate) fn run_bare(arguments: &[String]) {
    let (mode, groups) = arguments.split_first().expect("a mode");
    let groups: Vec<SocketAddr> = match groups {
        [first, count] if count.parse::<usize>().is_ok() => {
            many_groups(first.parse().expect("a group"), count.parse().expect("a count"))
        }
        _ => groups.iter().map(|group| group.parse().expect("a group")).collect(),
    };
    let sockets: Vec<_> =
        groups.iter().map(|group| bare::join(*group, mode == "capture-gro").expect("a socket")).collect();
    let epoll = bare::Epoll::over(&sockets).expect("epoll");
    let received = Arc::new(AtomicU64::new(0));
    let sockets = Arc::new(sockets);
    let stop = Arc::new(AtomicBool::new(false));
    let control = {
        let (received, sockets, stop) = (received.clone(), sockets.clone(), stop.clone());
        std::thread::spawn(move || {
            println!("ready");
            for _ in std::io::stdin().lines() {
                let dropped: u64 = sockets.iter().map(bare::dropped).sum();
                println!("{} {dropped}", received.load(Ordering::Relaxed));
            }
            stop.store(true, Ordering::Relaxed);
        })
    };
    let mut room = bare::Room::new();
    let mut ring = vec![0_u8; 32 << 20];
    let mut at = 0;
    while !stop.load(Ordering::Relaxed) {
        epoll.wait(|ready| {
            let mut count = 0;
            let mut peers = Vec::with_capacity(bare::BUFFERS);
            room.receive(&sockets[ready], |bytes, segment, peer| {
                if at + bytes.len() > ring.len() {
                    at = 0;
                }
                ring[at..at + bytes.len()].copy_from_slice(bytes);
                at += bytes.len();
                count += bytes.len().div_ceil(segment.max(1)) as u64;
                peers.push(*peer);
            });
            if mode == "answer" {
                bare::answer(&sockets[ready], &peers, b"ack");
            }
            received.fetch_add(count, Ordering::Relaxed);
        });
    }
    let _ = control.join();
}

/// `count` groups from this one on, all on its port.
pub(crate) fn many_groups(first: SocketAddr, count: usize) -> Vec<SocketAddr> {
    (0..count as u32)
        .map(|nth| match first {
            SocketAddr::V4(v4) => {
                SocketAddr::from((std::net::Ipv4Addr::from_bits(v4.ip().to_bits() + nth), v4.port()))
            }
            SocketAddr::V6(v6) => SocketAddr::from((
                std::net::Ipv6Addr::from_bits(v6.ip().to_bits() + u128::from(nth)),
                v6.port(),
            )),
        })
        .collect()
}
