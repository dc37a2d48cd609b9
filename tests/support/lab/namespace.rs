//! A network namespace, and the `cat` that keeps it in existence.
//!
//! The holder's standard input is a pipe from the test process. When that process ends in any
//! way at all the kernel closes the pipe, `cat` reads the end of file and exits, and the
//! namespace is destroyed with its links and bridges. No other process keeps the pipe open,
//! because the standard library opens pipes close-on-exec.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};

/// Without duplicate address detection an IPv6 address can be used as soon as the link is up,
/// not a second later. Both knobs, since the kernel skips it only where `all` and the interface
/// agree (`addrconf_dad_begin`).
const HOLD: &str = "\
    for conf in all default; do echo 0 >/proc/sys/net/ipv6/conf/$conf/accept_dad || exit; done
    ip link set dev lo up && echo held && exec cat";

pub(super) struct Namespace {
    holder: Child,
    /// Made without privileges: the holder is in a user namespace, which has to be entered first.
    user: bool,
}

impl Namespace {
    /// With the rights of the caller where they suffice, else in a new user namespace.
    pub(super) fn new() -> Result<Self, String> {
        hold(Command::new("unshare"), false).or_else(|first| {
            let mut user = Command::new("unshare");
            user.args(["--user", "--map-root-user"]);
            hold(user, true).map_err(|second| format!("{first}; in a user namespace: {second}"))
        })
    }

    /// Another one, with the same rights: links can be moved between siblings.
    pub(super) fn sibling(&self) -> Result<Self, String> {
        let unshare = if self.user {
            let mut enter = self.enter_user();
            enter.arg("unshare");
            enter
        } else {
            Command::new("unshare")
        };
        hold(unshare, self.user)
    }

    pub(super) fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// A program inside. Both wrappers replace themselves with what they start, so the child
    /// process is the program.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = if self.user { self.enter_user() } else { enter(self.pid()) };
        // The signal is set inside: entering a user namespace clears it (commit_creds).
        command.args(["--net", "setpriv", "--pdeathsig", "KILL", program]);
        command
    }

    /// The standard output of a program that succeeds.
    pub(super) fn run(&self, program: &str, args: &[&str]) -> Result<String, String> {
        let mut command = self.command(program);
        output(command.args(args), "")
    }

    /// Lines for `ip -batch -`.
    pub(super) fn ip(&self, batch: &str) -> Result<(), String> {
        let mut command = self.command("ip");
        output(command.args(["-batch", "-"]), batch).map(drop)
    }

    fn enter_user(&self) -> Command {
        let mut command = enter(self.pid());
        command.args(["--user", "--preserve-credentials"]);
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Starts a holder and waits until its namespace is ready.
fn hold(mut unshare: Command, user: bool) -> Result<Namespace, String> {
    let mut holder = unshare
        .args(["--net", "sh", "-c", HOLD])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("unshare: {error}"))?;
    let stdout = holder.stdout.take().expect("piped");
    let mut stderr = holder.stderr.take().expect("piped");
    let namespace = Namespace { holder, user };

    let mut output = String::new();
    let _ = BufReader::new(stdout).read_line(&mut output);
    if output == "held\n" {
        return Ok(namespace);
    }
    let mut complaint = String::new();
    let _ = stderr.read_to_string(&mut complaint);
    Err(complaint.trim().to_owned())
}

fn enter(pid: u32) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["--target", &pid.to_string()]);
    command
}

fn output(command: &mut Command, input: &str) -> Result<String, String> {
    let line = format!("{command:?}");
    let failed = |why: String| format!("{line}: {why}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    // A program that has ended without reading says why in its status.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(failed(format!("{}\n{complaint}{input}", output.status)))
}
