//! What somebody meets who starts the program for the first time.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

use crate::support::program::{BINARY, Program, Scratch, run, run_with};

#[tokio::test]
async fn a_port_that_is_taken_is_told_with_the_process_that_has_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let me = std::fs::read_to_string("/proc/self/comm").unwrap();
    let holder = format!(
        "{} (process {}) listens there: stop that process, or name another",
        me.trim(),
        std::process::id()
    );
    for listen in [address.to_string(), format!("localhost:{}", address.port())] {
        let refused = run(&["serve", "--memory", "--listen", &listen]).await;
        assert_eq!(refused.status.code(), Some(1));
        let expected =
            format!("rollcall: cannot listen on {address}: {holder} address or port with --listen");
        assert!(text(&refused.stderr).starts_with(&expected), "{refused:?}");
    }
    let first = Program::start();
    let refused = run(&["serve", "--memory", "--listen", first.listen()]).await;
    let expected = format!(
        "rollcall: cannot listen on {}: rollcall (process {}) listens there: stop that process, or name another path with --listen\n",
        first.listen(),
        first.id()
    );
    assert_eq!(text(&refused.stderr), expected);
}

#[tokio::test]
async fn an_address_that_is_named_twice_is_told_as_such() {
    for (listen, told) in [
        (["localhost:8722", "127.0.0.1:8722"], "127.0.0.1:8722 is named twice: leave out one"),
        (["unix:/tmp/twice", "unix:/tmp/twice"], "unix:/tmp/twice is named twice: leave out one"),
        (["127.0.0.1:8722", "0.0.0.0:8722"], "127.0.0.1:8722 and 0.0.0.0:8722 overlap: leave out one"),
    ] {
        for command in ["check-config", "serve"] {
            let flags = ["--listen", listen[0], "--listen", listen[1], "--allow-anonymous", "--memory"];
            let refused = run(&[&[command][..], &flags].concat()).await;
            assert_eq!(refused.status.code(), Some(1), "{refused:?}");
            assert!(text(&refused.stderr).starts_with(&format!("rollcall: {told}")), "{refused:?}");
        }
    }
    let free = ["check-config", "--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0"];
    assert!(run(&free).await.status.success());
}

#[tokio::test]
async fn an_address_that_is_cut_short_is_explained() {
    for (listen, told) in [
        (
            ":8080",
            "name the address, too: 127.0.0.1:8080 for programs on this host, or 0.0.0.0:8080 or [::]:8080",
        ),
        ("*:8080", "name the address, too: 127.0.0.1:8080"),
        ("8080", "name the address, too: 127.0.0.1:8080"),
        ("127.0.0.1", "name the port, too, as in 127.0.0.1:8080"),
        ("::1", "name the port, too, as in [::1]:8080"),
        ("::1:8080", "write an IPv6 address in brackets, as in [::1]:8080"),
        ("localhost", "name the port, too, as in localhost:8080"),
        ("127.0.0.1:99999", "a port is a number up to 65535, as in 127.0.0.1:8080"),
        ("/run/rollcall.sock", "write unix:/run/rollcall.sock for a socket at this path"),
        (
            "example.com:8080",
            "names are not looked up, but for localhost: write an address as in 127.0.0.1:8080",
        ),
        ("http://127.0.0.1:8080", "use ADDRESS:PORT as in 127.0.0.1:8080, or unix:PATH"),
    ] {
        let refused = run(&["check-config", "--listen", listen]).await;
        assert!(text(&refused.stderr).contains(told), "{listen}: {refused:?}");
    }
    assert!(run(&["check-config", "--listen", "localhost:8080"]).await.status.success());
}

#[tokio::test]
async fn the_demo_is_a_flag_of_serve_only() {
    let alone = run(&["--demo"]).await;
    assert!(
        text(&alone.stderr).contains("tip: '--demo' belongs to a command: rollcall serve --demo"),
        "{alone:?}"
    );
    let variable = run_with(&[("ROLLCALL_DEMO", "true")], &["check-config"]).await;
    let told = "rollcall: ROLLCALL_DEMO: this is only a flag: rollcall serve --demo\n";
    assert_eq!(text(&variable.stderr), told);
    let scratch = Scratch::new();
    let file = scratch.path("rollcall.toml");
    std::fs::write(&file, "demo = true\nlog_bytes = 99999999999999999999\n").unwrap();
    let of_file = text(&run(&["check-config", "--config", file.to_str().unwrap()]).await.stderr);
    assert!(of_file.contains(":1: `demo` is only a flag: rollcall serve --demo\n"), "{of_file}");
    let bounds = "the number is too large: use 64KiB to 18446744073709551615\n";
    assert!(of_file.ends_with(bounds), "{of_file}");
}

#[tokio::test]
async fn a_healthcheck_says_where_nothing_listens() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for listen in [&*free, "unix:/nowhere/socket"] {
        let failed = run(&["healthcheck", "--listen", listen]).await;
        assert_eq!(failed.status.code(), Some(1));
        let told =
            format!("rollcall: nothing listens on {listen}: name the address of the service with --listen\n");
        assert_eq!(text(&failed.stderr), told);
    }
}

#[tokio::test]
async fn a_closed_pipe_is_no_panic() {
    let scratch = Scratch::new();
    let data = scratch.path("data");
    let data = data.to_str().unwrap();
    let mut service = Program::start_with(&["--data-dir", data]);
    service.signal("TERM");
    service.ended().await;
    for args in [
        &["openapi"][..],
        &["--help"],
        &["serve", "--help"],
        &["--version"],
        &["check-config"],
        &["check", data],
        &["export", "--data-dir", data, "--list"],
        &["export", "--data-dir", data],
    ] {
        let ended = unread(args).spawn().unwrap().wait_with_output().unwrap();
        assert_eq!((ended.status.code(), text(&ended.stderr)), (Some(0), String::new()), "{args:?}");
    }
}

#[tokio::test]
async fn output_that_cannot_be_written_is_an_error() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let ended = Command::new(BINARY).arg("openapi").stdout(full).output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(text(&ended.stderr).starts_with("rollcall: standard output cannot be written to: "), "{ended:?}");
}

#[tokio::test]
async fn the_limit_of_sources_is_in_readyz_and_not_the_first_line() {
    let service = Program::start();
    let log = service.startup_log();
    assert!(!log.contains("rights.source_filters"), "{log}");
    let ready = service.get("/readyz").await.expect(200);
    let checks = ready["checks"].as_array().unwrap();
    assert!(checks.iter().any(|check| check["name"] == "rights.source_filters"), "{ready:#}");
}

#[tokio::test]
async fn the_demo_goes_on_when_nobody_reads_it() {
    let scratch = Scratch::new();
    let socket = scratch.path("socket");
    let listen = format!("unix:{}", socket.display());
    let demo = Demo(unread(&["serve", "--demo", "--listen", &listen]).spawn().unwrap());
    let client = crate::support::client::Client::unix(&socket);
    while !socket.exists() {
        tokio::task::yield_now().await;
    }
    while client.get("/v1/messages?state=closed").await.expect(200)["items"] == json!([]) {}
    let ended = demo.stop();
    assert_eq!(ended.status.code(), Some(0));
    assert!(!text(&ended.stderr).contains("panicked"), "{ended:?}");
}

#[tokio::test]
async fn the_demo_says_what_is_true_and_its_call_works_as_printed() {
    let mut demo = Command::new("setpriv");
    demo.args([
        "--pdeathsig",
        "KILL",
        BINARY,
        "serve",
        "--demo",
        "--listen",
        "127.0.0.1:0",
        "--log-format",
        "text",
    ]);
    let mut demo = Demo(demo.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(demo.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut call = lines.by_ref().find(|line| line.starts_with("  curl ")).unwrap();
    // curl has `--json` since 7.82, and Debian 11 has 7.74.
    assert!(!call.contains("--json"), "{call}");
    call = call.trim_end_matches('\\').to_owned() + &lines.next().unwrap();
    let called = Command::new("sh").args(["-c", &call]).output().unwrap();
    let message: Value =
        serde_json::from_slice(&called.stdout).unwrap_or_else(|error| panic!("{error}: {call}"));
    assert_eq!(message["close_reason"], "expected", "{message:#}");

    let address = call.split("http://").nth(1).unwrap().split('/').next().unwrap();
    let config = Command::new("curl").args(["-s", &format!("{address}/v1/config")]).output().unwrap();
    let config: Value = serde_json::from_slice(&config.stdout).unwrap();
    assert_eq!(config["settings"]["memory"], json!({"value": "true", "source": "flag"}));

    let log = text(&demo.stop().stderr);
    let first: Vec<_> = log.lines().filter(|line| !line.ends_with("INFO rollcall: stopping")).collect();
    assert_eq!(first.len(), 1, "{log}");
    assert!(first[0].ends_with(&format!("INFO rollcall: listening on={address}")), "{log}");
}

#[tokio::test]
async fn the_call_of_the_demo_has_a_token_where_one_is_required() {
    const TOKEN: &str = "a-token-of-the-demo";
    let flags = ["serve", "--demo", "--listen", "127.0.0.1:0", "--require-token", "always"];
    let mut demo = Command::new("setpriv");
    demo.args(["--pdeathsig", "KILL", BINARY]).args(flags);
    demo.env("ROLLCALL_TOKENS", format!("me control {TOKEN}"));
    let mut demo = Demo(demo.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(demo.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let call = lines.by_ref().find(|line| line.starts_with("  curl ")).unwrap();
    assert!(call.contains("-H \"authorization: Bearer $TOKEN\""), "{call}");
    let call = call.trim_end_matches('\\').to_owned() + &lines.next().unwrap();
    let called = Command::new("sh").args(["-c", &call]).env("TOKEN", TOKEN).output().unwrap();
    let message: Value = serde_json::from_slice(&called.stdout).unwrap();
    assert_eq!(message["close_reason"], "expected", "{message:#}");
    demo.stop();
}

/// The program with a standard output that nobody reads.
fn unread(args: &[&str]) -> Command {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", BINARY]).args(args).stdin(Stdio::null());
    command.stdout(writer).stderr(Stdio::piped());
    command
}

/// A service that is killed when dropped.
struct Demo(Child);

impl Demo {
    /// Ends it in order.
    fn stop(mut self) -> Output {
        let kill = format!("kill -TERM {}", self.0.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        let mut stderr = Vec::new();
        std::io::Read::read_to_end(&mut self.0.stderr.take().unwrap(), &mut stderr).unwrap();
        Output { status: self.0.wait().unwrap(), stdout: Vec::new(), stderr }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
