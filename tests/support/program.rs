//! The binary itself, as a user starts it.

use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use super::client::Client;
use super::lab::{Host, Process};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_rollcall");

/// `rollcall serve` on a unix socket of its own; killed when dropped.
///
/// Also for tests that need a socket to be closed for good at a moment: those of the test process live on for a
/// while in programs that other tests are just starting, between fork(2) and execve(2).
pub(crate) struct Program {
    child: Child,
    client: Client,
    listen: String,
    wrapper: Vec<String>,
    args: Vec<String>,
    output: String,
    scratch: Scratch,
}

impl Program {
    pub(crate) fn start() -> Self {
        Self::start_under(&[])
    }

    pub(crate) fn start_with(args: &[&str]) -> Self {
        Self::start_as(&[], args)
    }

    /// Its standard error is closed at the other end as soon as it listens.
    pub(crate) fn start_unread() -> Self {
        Self::spawn(&[], &[]).0
    }

    /// Started by another program that replaces itself with it, such as `prlimit`.
    pub(crate) fn start_under(wrapper: &[&str]) -> Self {
        Self::start_as(wrapper, &[])
    }

    pub(crate) fn start_as(wrapper: &[&str], args: &[&str]) -> Self {
        let (program, stderr) = Self::spawn(wrapper, args);
        read_on(stderr);
        program
    }

    fn spawn(wrapper: &[&str], args: &[&str]) -> (Self, BufReader<ChildStderr>) {
        let scratch = Scratch::new();
        let socket = scratch.path("socket");
        let listen = format!("unix:{}", socket.display());
        let (child, stderr, output) = launch(wrapper, &listen, &scratch.path("data"), args);
        let [wrapper, args] = [wrapper, args].map(|words| words.iter().map(ToString::to_string).collect());
        (Self { child, client: Client::unix(socket), listen, wrapper, args, output, scratch }, stderr)
    }

    /// Ends it by a signal, and starts it again on the same data directory and socket; gives how it ended.
    pub(crate) async fn restart(&mut self, signal: &str) -> ExitStatus {
        self.signal(signal);
        let status = self.ended().await;
        self.start_again();
        status
    }

    /// Starts the ended program again, with the same arguments, data directory and socket.
    pub(crate) fn start_again(&mut self) {
        let [wrapper, args] = [&self.wrapper, &self.args].map(|words| words.iter().map(String::as_str));
        let (wrapper, args): (Vec<_>, Vec<_>) = (wrapper.collect(), args.collect());
        let (child, stderr, output) = launch(&wrapper, &self.listen, &self.data_dir(), &args);
        (self.child, self.output) = (child, output);
        read_on(stderr);
    }

    /// Of the process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Its data directory, which outlives a restart.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.scratch.path("data")
    }

    /// Its log until it listened.
    pub(crate) fn startup_log(&self) -> &str {
        &self.output
    }

    /// Its listener, as an argument of `--listen`.
    pub(crate) fn listen(&self) -> &str {
        &self.listen
    }

    /// The path of its socket.
    pub(crate) fn socket(&self) -> &str {
        self.listen.trim_start_matches("unix:")
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &kill]).status();
        assert!(status.is_ok_and(|status| status.success()), "{kill}");
    }

    /// How it ended.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        const LIMIT: Duration = Duration::from_secs(30);
        let poll = async {
            loop {
                if let Some(status) = self.child.try_wait().expect("a child") {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LIMIT, poll).await.expect("it ends")
    }
}

/// Starts it and waits until it listens; returns its log until then.
fn launch(
    wrapper: &[&str],
    listen: &str,
    data: &Path,
    args: &[&str],
) -> (Child, BufReader<ChildStderr>, String) {
    let mut child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL"])
        .args(wrapper)
        .args([BINARY, "serve", "--listen", listen])
        .env("ROLLCALL_DATA_DIR", data)
        .args(args)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("setpriv starts it");
    let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
    let mut output = String::new();
    while !output.contains("listening") {
        let read = stderr.read_line(&mut output).expect("a line");
        assert!(read > 0, "it ended:\n{output}");
    }
    (child, stderr, output)
}

/// So that the pipe never fills.
fn read_on(mut stderr: BufReader<ChildStderr>) {
    thread::spawn(move || io::copy(&mut stderr, &mut io::sink()));
}

impl std::ops::Deref for Program {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `rollcall serve` on a host of the lab, where it is reached all the same: hosts have their files in common.
pub(crate) struct Hosted {
    client: Client,
    _process: Process,
    _scratch: Scratch,
}

impl Hosted {
    pub(crate) fn start(host: &Host) -> Self {
        let scratch = Scratch::new();
        let socket = scratch.path("socket");
        let process =
            host.spawn(BINARY, &["serve", "--memory", "--listen", &format!("unix:{}", socket.display())]);
        process.wait_for_line("listening");
        Self { client: Client::unix(socket), _process: process, _scratch: scratch }
    }
}

impl std::ops::Deref for Hosted {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// Runs the binary to its end.
pub(crate) async fn run(args: &[&str]) -> Output {
    run_with(&[], args).await
}

/// The same, with these variables in its environment.
pub(crate) async fn run_with(variables: &[(&str, &str)], args: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.envs(variables.iter().copied()).args(args).stdin(Stdio::null());
    tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("it starts")
}

/// A directory that is removed when dropped.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let nth = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("rollcall-test-{}-{nth}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
