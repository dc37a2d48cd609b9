//! Runs every command of README.md and compares what it prints with what the README shows.
//!
//! Commands are the lines that begin with `$ ` in its `console` blocks. Those of cargo stand for this build:
//! `cargo run --release --` for the binary under test, and the others for what CI runs. The port is replaced
//! by a free one. Values that differ between runs (times, ids, ports that the kernel chose) are masked before
//! comparing, and the order of lines is ignored, because responders reply in any order.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::Path;

use clap::CommandFactory;
use regex::Regex;

use crate::support::lab::{Host, Lab, Process, spawn_here};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const PORT: &str = "8080";
const SERVICE: &str = "cargo run --release --";
/// Set to write what the commands print into the README.
const UPDATE: &str = "TEST_UPDATE_README";

#[test]
fn every_command_prints_the_output_in_the_readme() {
    let readme = read("README.md");
    let steps = steps(&readme);
    assert!(steps.len() > 20, "the README has its commands in `console` blocks");

    let session = Session::new();
    let mut services = Vec::new();
    let mut updated = readme.clone();
    let mut differences = String::new();
    for step in &steps {
        let printed = if step.command.starts_with("cargo ") && !step.command.starts_with(SERVICE)
            || step.command.starts_with("TEST_")
        {
            assert!(
                read(".ci/run").contains(&step.command),
                "CI does not run what the README says: {}",
                step.command
            );
            continue;
        } else if step.command.contains(" serve") {
            let (service, printed) = session.serve(&step.command, &step.output);
            services.push(service);
            printed
        } else {
            session.run(&step.command)
        };
        if masked(&printed) != masked(&step.output) {
            let block = format!("$ {}\n{}", step.command, step.output);
            updated = updated.replacen(&block, &format!("$ {}\n{printed}", step.command), 1);
            let _ = write!(differences, "\n$ {}\n{}", step.command, diff(&step.output, &printed));
        }
    }
    drop(services);

    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(Path::new(ROOT).join("README.md"), updated).expect("README.md can be written");
        return;
    }
    assert!(
        differences.is_empty(),
        "README.md shows (-) what its commands do not print (+):\n{differences}\n\
         If the new output is right, run `{UPDATE}=1 cargo test readme` and read what changed."
    );
}

#[test]
fn every_setting_is_in_the_readme() {
    let readme = read("README.md");
    let command = rollcall::cli::Cli::command();
    let serve = command.find_subcommand("serve").expect("a command");
    for argument in serve.get_arguments().filter(|argument| argument.get_env().is_some()) {
        let flag = format!("`--{}`", argument.get_long().expect("a flag"));
        assert!(readme.contains(&flag), "README.md says nothing of {flag}");
    }
}

/// A command and the output below it, up to the next command or the end of the block.
struct Step {
    command: String,
    output: String,
}

fn steps(readme: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut lines = readme.lines();
    while lines.by_ref().any(|line| line == "```console") {
        let mut continued = false;
        for line in lines.by_ref().take_while(|line| *line != "```") {
            if continued {
                let step = steps.last_mut().expect("a command");
                step.command.push('\n');
                step.command.push_str(line);
                continued = line.ends_with('\\');
            } else if let Some(command) = line.strip_prefix("$ ") {
                steps.push(Step { command: command.to_owned(), output: String::new() });
                continued = line.ends_with('\\');
            } else {
                let step = steps.last_mut().expect("a block begins with a command");
                step.output.push_str(line);
                step.output.push('\n');
            }
        }
    }
    steps
}

/// Where the commands run: on a host of their own, where no other program uses the groups of the README, or on
/// this one where that cannot be had.
struct Session {
    host: Option<Host>,
    port: u16,
    files: tempdir::TempDir,
    _lab: Option<Lab>,
}

impl Session {
    fn new() -> Self {
        let mut lab = Lab::new();
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        Self {
            host: lab.as_mut().map(Lab::host_off),
            port: free.local_addr().expect("bound").port(),
            files: tempdir::TempDir::new(),
            _lab: lab,
        }
    }

    fn start(&self, command: &str) -> Process {
        let command = command
            .replace(PORT, &self.port.to_string())
            .replace("/tmp", self.files.path())
            .replace(SERVICE, env!("CARGO_BIN_EXE_rollcall"));
        // Where the command names no port, the service takes this one; and it logs as it does on a terminal.
        let line = format!(
            "exec 2>&1; cd {ROOT}; export XDG_STATE_HOME={} ROLLCALL_LISTEN=127.0.0.1:{} ROLLCALL_LOG_FORMAT=text; {command}",
            self.files.path(),
            self.port
        );
        match &self.host {
            Some(host) => host.spawn("sh", &["-c", &line]),
            None => spawn_here("sh", &["-c", &line]),
        }
    }

    fn run(&self, command: &str) -> String {
        let (_, lines) = self.start(command).wait();
        self.as_shown(&lines, true)
    }

    /// Starts a service and waits until it has printed as much as is shown.
    fn serve(&self, command: &str, shown: &str) -> (Process, String) {
        let service = self.start(&format!("exec {command}"));
        let last = shown.lines().rfind(|line| !line.is_empty()).expect("a service says that it listens");
        // Its last word decides; before it there may be a time.
        let word = last.rsplit(' ').next().unwrap_or(last).trim_end_matches(PORT);
        service.wait_for_line(&word.replace("/tmp", self.files.path()));
        // A newcomer sees every line of the demo.
        let printed = self.as_shown(&service.lines(), !command.contains("--demo"));
        (service, printed)
    }

    /// Perhaps without lines about the host, which differ between machines.
    fn as_shown(&self, lines: &[String], hides_host: bool) -> String {
        let shown = lines.iter().filter(|line| !(hides_host && line.contains(" check=rights.")));
        let text = shown.fold(String::new(), |text, line| text + line + "\n");
        text.replace(&self.port.to_string(), PORT).replace(self.files.path(), "/tmp")
    }
}

/// The lines without values that differ between runs, in a fixed order.
fn masked(text: &str) -> Vec<String> {
    let masks = [
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
        (r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "ID"),
        (r"\b[0-9a-f]{16}-(\d+)", "CURSOR-$1"),
        (r#"("(?:first_)?rtt_us": ?)\d+"#, "${1}RTT"),
        (r"\d+ µs", "RTT µs"),
        // The kernel's range for ephemeral ports (ip(7), `ip_local_port_range`).
        (r":(3[2-9]\d{3}|[45]\d{4}|6[0-5]\d{3})\b", ":PORT"),
    ]
    .map(|(pattern, mask)| (Regex::new(pattern).expect("a pattern"), mask));
    let mut lines: Vec<String> = text
        .trim_end()
        .lines()
        .map(|line| {
            masks
                .iter()
                .fold(line.to_owned(), |line, (pattern, mask)| pattern.replace_all(&line, *mask).into())
        })
        .collect();
    lines.sort();
    lines
}

fn diff(shown: &str, printed: &str) -> String {
    let (before, after) = (masked(shown), masked(printed));
    let mut text = String::new();
    for line in before.iter().filter(|line| !after.contains(line)) {
        let _ = writeln!(text, "- {line}");
    }
    for line in after.iter().filter(|line| !before.contains(line)) {
        let _ = writeln!(text, "+ {line}");
    }
    text
}

fn read(name: &str) -> String {
    std::fs::read_to_string(Path::new(ROOT).join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

mod tempdir {
    /// A directory that goes with the value.
    pub(super) struct TempDir(String);

    impl TempDir {
        pub(super) fn new() -> Self {
            let path = std::env::temp_dir().join(format!("rollcall-readme-{}", std::process::id()));
            std::fs::create_dir_all(&path).expect("a directory for temporary files");
            Self(path.to_str().expect("a path in UTF-8").to_owned())
        }

        pub(super) fn path(&self) -> &str {
            &self.0
        }
    }

    impl Drop for TempDir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}
