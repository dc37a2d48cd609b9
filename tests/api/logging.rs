//! The service's log lines, and the log filter.

use std::os::unix::fs::MetadataExt;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::lab::{Process, spawn_here};
use crate::support::program::{BINARY, Scratch, run};
use crate::support::server::{fresh_group, on_lo};

#[tokio::test]
async fn log_lines_are_json_by_default_and_text_on_request() {
    let node = Node::start("", &[]);
    let line = node.line("listening");
    let logged: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
    assert_eq!((&logged["level"], &logged["target"]), (&json!("INFO"), &json!("rollcall")));
    assert_eq!((&logged["message"], &logged["on"]), (&json!("listening"), &json!(node.listen)));
    logged["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().expect("a time");

    let text = Node::start("", &["--log-format", "text"]);
    let expected = format!("INFO rollcall: listening on={}", text.listen);
    assert!(text.line("listening").ends_with(&expected), "{}", text.line("listening"));
}

#[tokio::test]
async fn a_terminal_gets_text() {
    // script(1) gives it one.
    let terminal =
        |serve: &str| format!("exec env -u NO_COLOR TERM=xterm script -qec 'exec {serve}' /dev/null");
    let node = Node::spawn(&[], terminal);
    let line = node.line("listening");
    assert!(line.contains("INFO") && line.contains("\u{1b}[") && !line.starts_with('{'), "{line}");
}

#[tokio::test]
async fn a_terminal_without_colours_gets_none() {
    for (variable, has_colours) in
        [("TERM=dumb", false), ("NO_COLOR=1", false), ("NO_COLOR=", true), ("TERM=xterm", true)]
    {
        let terminal = |serve: &str| {
            format!("exec env -u NO_COLOR TERM=xterm {variable} script -qec 'exec {serve}' /dev/null")
        };
        let line = Node::spawn(&[], terminal).line("listening");
        assert_eq!(line.contains('\u{1b}'), has_colours, "{variable}: {line}");
        assert!(line.contains("INFO rollcall: listening on=") || has_colours, "{line}");
    }
}

#[tokio::test]
async fn the_journal_gets_priorities() {
    let scratch = Scratch::new();
    let path = scratch.path("log");
    let stderr = std::fs::File::create(&path).unwrap();
    let found = stderr.metadata().unwrap();
    let journal = format!("{}:{}", found.dev(), found.ino());
    for (stream, priorities) in [(journal.as_str(), ["<6>", "<3>"]), ("1:1", ["", ""])] {
        let socket = scratch.path("socket");
        let listen = format!("unix:{}", socket.display());
        let command = |args: &[&str]| {
            stderr.set_len(0).unwrap();
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL", BINARY]).args(args).env("JOURNAL_STREAM", stream);
            command.stderr(std::fs::OpenOptions::new().append(true).open(&path).unwrap());
            command
        };
        let mut service = command(&["serve", "--memory", "--listen", &listen]).spawn().unwrap();
        let log = loop {
            let log = std::fs::read_to_string(&path).unwrap();
            if log.contains("listening") && log.ends_with('\n') {
                break log;
            }
            tokio::task::yield_now().await;
        };
        service.kill().unwrap();
        service.wait().unwrap();
        assert!(log.lines().all(|line| line.starts_with(&format!("{}{{", priorities[0]))), "{log}");

        command(&["serve", "--listen", "0.0.0.0:0"]).status().unwrap();
        let error = std::fs::read_to_string(&path).unwrap();
        assert!(error.starts_with(&format!("{}rollcall: 0.0.0.0:0 can be", priorities[1])), "{error}");
    }
}

#[tokio::test]
async fn a_failure_is_found_in_the_log_by_its_request_id() {
    let node = Node::start("prlimit --nofile=40:40", &[]);
    let failed = loop {
        let reply = node.client.post("/v1/memberships", on_lo(&fresh_group(), json!({}))).await;
        if reply.status != 201 {
            break reply;
        }
    };
    let problem = failed.problem(503, "out-of-descriptors", "");
    let id = problem["request_id"].as_str().unwrap();
    let logged: Value = serde_json::from_str(&node.line(id)).unwrap();
    assert_eq!((&logged["level"], &logged["message"]), (&json!("ERROR"), &json!("request failed")));
    assert_eq!((&logged["status"], &logged["detail"]), (&json!(503), &problem["detail"]));
}

#[tokio::test]
async fn the_log_filter_changes_at_run_time_and_a_reload_resets_it() {
    let node = Node::start("", &[]);
    let filters = json!({"filter": "info", "configured": "info"});
    assert_eq!(node.client.get("/v1/log-filter").await.expect(200), filters);

    let quiet = node.client.put("/v1/log-filter", json!({"filter": "info,rollcall::control=warn"})).await;
    assert_eq!(quiet.expect(200), json!({"filter": "info,rollcall::control=warn", "configured": "info"}));
    node.leaves("silently").await;
    node.process.signal(1);
    while node.client.get("/v1/log-filter").await.expect(200) != filters {}
    node.leaves("loudly").await;

    node.line("loudly");
    assert!(!node.process.lines().iter().any(|line| line.contains("silently")), "{:?}", node.process.lines());
}

#[tokio::test]
async fn an_invalid_log_filter_is_refused() {
    let node = Node::start("", &[]);
    for filter in ["rollcall=loud", "", &"x".repeat(5000)] {
        let refused = node.client.put("/v1/log-filter", json!({"filter": filter})).await;
        refused.problem(422, "invalid-request", "/filter");
    }
    assert_eq!(node.client.get("/v1/log-filter").await.expect(200)["filter"], "info");
    let started = run(&["serve", "--log", "rollcall=loud"]).await;
    assert_eq!(started.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&started.stderr).contains("`rollcall=loud` is not a log filter"));
}

/// A service whose log is read.
struct Node {
    process: Process,
    client: Client,
    listen: String,
    _scratch: Scratch,
}

impl Node {
    fn start(wrapper: &str, flags: &[&str]) -> Self {
        Self::spawn(flags, |serve| format!("exec {wrapper} {serve}"))
    }

    fn spawn(flags: &[&str], line: impl Fn(&str) -> String) -> Self {
        let scratch = Scratch::new();
        let socket = scratch.path("socket");
        let listen = format!("unix:{}", socket.display());
        let serve =
            format!("setpriv --pdeathsig KILL {BINARY} serve --memory --listen {listen} {}", flags.join(" "));
        let process = spawn_here("sh", &["-c", &line(&serve)]);
        process.wait_for_line("listening");
        Self { process, client: Client::unix(socket), listen, _scratch: scratch }
    }

    fn line(&self, needle: &str) -> String {
        self.process.wait_for_line(needle)
    }

    /// Lets a lease run out, which is logged.
    async fn leaves(&self, id: &str) {
        let path = format!("/v1/memberships/{id}");
        self.client.put(&path, on_lo(&fresh_group(), json!({"expires_in_ms": 1}))).await.expect(201);
        while self.client.get(&path).await.status != 404 {}
    }
}
