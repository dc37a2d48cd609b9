//! The service: a process that is stopped, killed and started again, on a small disk of its own.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::block_in_place;

use crate::support::client::{Client, Reply};
use crate::support::lab::{Host, Process};
use crate::support::program::{BINARY, Scratch};

/// Every request must get its response within this time.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);

pub(super) struct Service {
    client: Client,
    process: Mutex<Process>,
    /// Lines about panics in the output of killed processes.
    earlier_panics: Mutex<Vec<String>>,
    /// Counts the starts; none while it is down.
    life: watch::Sender<Option<u32>>,
    disk: Disk,
    scratch: Scratch,
}

pub(super) enum Body<'a> {
    None,
    Json(&'a Value),
    /// Of a content type.
    Of(&'static str, &'a str),
}

/// What became of a request.
pub(super) enum RequestOutcome {
    Answered(Answer),
    /// The service was killed meanwhile: the request may or may not have taken effect.
    Killed,
    /// There was no response in time.
    Silent,
    /// There was no response, though the service was not killed.
    Broken(String),
}

pub(super) struct Answer {
    pub(super) reply: Reply,
    /// The process that responded.
    pub(super) generation: u32,
}

/// The resources of the system that a process uses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Footprint {
    pub(super) resident_kib: u64,
    pub(super) sockets: usize,
    /// Descriptors that are no sockets.
    pub(super) files: usize,
    pub(super) threads: u64,
}

impl Footprint {
    /// Sockets that messages without a window share, once each: for two families, and with loopback or without.
    const SHARED_SOCKETS: usize = 4;
    /// Of up to four connections that read the database and stay open.
    const READERS_FILES: usize = 8;
    /// The memory that logs may use, and some more.
    const MORE_MEMORY_KIB: u64 = 96 * 1024;

    /// Whether everything is given back that was taken since then.
    pub(super) fn is_back_to(&self, before: &Self) -> Result<(), String> {
        let is_back = self.sockets <= before.sockets + Self::SHARED_SOCKETS
            && self.files <= before.files + Self::READERS_FILES
            && self.threads <= before.threads
            && self.resident_kib <= before.resident_kib + Self::MORE_MEMORY_KIB;
        if is_back { Ok(()) } else { Err(format!("{self}, and {before} at the start")) }
    }
}

impl Service {
    pub(super) async fn start(host: &Host) -> Self {
        let scratch = Scratch::new();
        let disk = Disk::mount(host, &scratch);
        let process = launch(host, &disk, &scratch);
        let service = Self {
            client: Client::unix(scratch.path("socket")),
            process: Mutex::new(process),
            earlier_panics: Mutex::default(),
            life: watch::Sender::new(Some(0)),
            disk,
            scratch,
        };
        service.client.get("/readyz").await.expect(200);
        service
    }

    /// How often it has been started again.
    pub(super) fn generation(&self) -> u32 {
        self.life.borrow().expect("nobody kills it now")
    }

    /// Makes a request as soon as the service is up.
    pub(super) async fn exchange(&self, method: Method, path: &str, body: Body<'_>) -> RequestOutcome {
        let mut life = self.life.subscribe();
        let generation =
            life.wait_for(Option::is_some).await.expect("the service outlives its clients").expect("up");
        let request = self.client.request(method, path);
        let request = match body {
            Body::None => request,
            Body::Json(value) => request.json(value.clone()),
            Body::Of(content_type, text) => request.body(content_type, text.to_owned()),
        };
        let response = tokio::time::timeout(ANSWER_LIMIT, request.try_send()).await;
        let was_killed = *life.borrow() != Some(generation);
        match response {
            Ok(Ok(reply)) => RequestOutcome::Answered(Answer { reply, generation }),
            _ if was_killed => RequestOutcome::Killed,
            Ok(Err(error)) => RequestOutcome::Broken(error.to_string()),
            Err(_) => RequestOutcome::Silent,
        }
    }

    /// A request that changes nothing, without disturbances: its response, or the violation.
    pub(super) async fn get(&self, path: &str) -> Result<Reply, String> {
        match self.exchange(Method::GET, path, Body::None).await {
            RequestOutcome::Answered(response) => Ok(response.reply),
            RequestOutcome::Killed => Err(format!("GET {path}: killed")),
            RequestOutcome::Silent => Err(format!("GET {path}: no answer in {ANSWER_LIMIT:?}")),
            RequestOutcome::Broken(error) => Err(format!("GET {path}: {error}")),
        }
    }

    /// Kills it as with `kill -9`, and starts it again.
    pub(super) fn kill(&self, host: &Host) {
        let mut process = self.process();
        let before = self.life.send_replace(None);
        process.kill();
        self.earlier_panics.lock().expect("no panic").extend(panics(&process));
        *process = launch(host, &self.disk, &self.scratch);
        self.life.send_replace(before.map(|starts| starts + 1));
    }

    pub(super) fn signal(&self, signal: i32) {
        self.process().signal(signal);
    }

    pub(super) fn fill_disk(&self, host: &Host) {
        self.disk.run(host, "cat /dev/zero >\"$0/filler\" || true");
    }

    pub(super) fn free_disk(&self, host: &Host) {
        self.disk.run(host, "rm -f \"$0/filler\"");
    }

    /// Whether the process is there and not a zombie.
    pub(super) fn lives(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process().pid()));
        // The state comes after the name, which is in parentheses (proc(5)).
        stat.is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z')))
    }

    /// All lines of its output that report a panic, since the first start.
    pub(super) fn panics(&self) -> Vec<String> {
        let mut all = self.earlier_panics.lock().expect("no panic").clone();
        all.extend(panics(&self.process()));
        all
    }

    /// Waits until it is ready; returns its last response if it is not in time.
    pub(super) async fn ready(&self, limit: Duration) -> Result<(), String> {
        super::within(limit, async || {
            let reply = self.get("/readyz").await?;
            let text = || String::from_utf8_lossy(&reply.body).into_owned();
            if reply.status == StatusCode::OK { Ok(()) } else { Err(text()) }
        })
        .await
    }

    pub(super) fn footprint(&self) -> Footprint {
        let pid = self.process().pid();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a field");
            line.split_whitespace().next().and_then(|value| value.parse().ok()).expect("a number")
        };
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it lives");
        // One that has been closed meanwhile leads nowhere.
        let targets = descriptors.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok());
        let (sockets, files): (Vec<_>, Vec<_>) =
            targets.partition(|target| target.to_string_lossy().starts_with("socket:"));
        let (sockets, files) = (sockets.len(), files.len());
        Footprint { resident_kib: field("VmRSS:"), threads: field("Threads:"), sockets, files }
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().expect("no panic")
    }
}

fn panics(process: &Process) -> Vec<String> {
    let mut lines = process.lines();
    lines.retain(|line| line.contains("panicked"));
    lines
}

/// Waits until it listens.
fn launch(host: &Host, disk: &Disk, scratch: &Scratch) -> Process {
    let listen = format!("unix:{}", scratch.path("socket").display());
    let data = disk.directory.clone();
    let serve = [BINARY, "serve", "--listen", &listen, "--data-dir", &data, "--log", "warn,rollcall=info"];
    // Little of everything, so that limits are met.
    let limits = ["--flush-ms", "50", "--memory-bytes", "8388608", "--log-bytes", "2097152"];
    let entered = ["--target", &disk.holder.pid().to_string(), "--mount"];
    let process = host.spawn("nsenter", &[&entered[..], &serve, &limits].concat());
    block_in_place(|| process.wait_for_line("listening"));
    process
}

/// A file system of a few megabytes. It lasts as long as the process that holds its mount namespace, so that it
/// outlives the service.
struct Disk {
    holder: Process,
    directory: String,
}

impl Disk {
    fn mount(host: &Host, scratch: &Scratch) -> Self {
        let directory = scratch.path("data");
        std::fs::create_dir(&directory).expect("a directory");
        let directory = directory.display().to_string();
        let hold = "mount -t tmpfs -o size=48m none \"$0\" && echo mounted && exec sleep infinity";
        let holder = host.spawn("unshare", &["--mount", "sh", "-c", hold, &directory]);
        block_in_place(|| holder.wait_for_line("mounted"));
        Self { holder, directory }
    }

    fn run(&self, host: &Host, script: &str) {
        let pid = self.holder.pid().to_string();
        host.run("nsenter", &["--target", &pid, "--mount", "sh", "-c", script, &self.directory]);
    }
}
