//! `rollcall export`: the logs in a data directory, compared with the responses of the service that wrote them.

mod contents;
mod data_directory;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::SystemTime;

use serde_json::Value;

use crate::support::peer::Peer;
use crate::support::program::{BINARY, Program, Scratch, run};
use crate::support::server::{fresh_group, on_lo};

/// A service with a directory that outlives it.
struct RunningService {
    program: Program,
    directory: Directory,
}

struct Directory(Scratch);

impl RunningService {
    fn start() -> Self {
        Self::start_on(Directory(Scratch::new()))
    }

    fn start_on(directory: Directory) -> Self {
        let program = Program::start_with(&["--data-dir", &directory.path(), "--flush-ms", "10"]);
        Self { program, directory }
    }

    /// Joins under this id, and sends these payloads to the group.
    async fn receive(&self, id: &str, options: Value, payloads: &[Vec<u8>]) {
        let (group, peer) = (fresh_group(), Peer::at("127.0.0.2"));
        let path = format!("/v1/memberships/{id}");
        self.program.put(&path, on_lo(&group, options)).await.expect(201);
        for payload in payloads {
            peer.send(&group, payload);
        }
        let counted = async || self.program.get(&path).await.expect(200)["counters"]["datagrams"].clone();
        while counted().await != payloads.len() {
            tokio::task::yield_now().await;
        }
    }

    /// The log as lines from the service, once it is on disk.
    async fn lines(&self, log: &str) -> String {
        let reply = self.program.get(&format!("/v1/{log}?format=ndjson&durable=true")).await;
        assert_eq!(reply.status.as_u16(), 200);
        String::from_utf8(reply.body.to_vec()).expect("text")
    }

    /// Ends the service with this signal.
    async fn ended(mut self, signal: &str) -> Directory {
        self.program.signal(signal);
        self.program.ended().await;
        self.directory
    }
}

impl Directory {
    fn path(&self) -> String {
        self.0.path("data").to_str().expect("a path in UTF-8").to_owned()
    }

    fn database(&self) -> PathBuf {
        self.0.path("data/rollcall.db")
    }

    async fn export(&self, args: &[&str]) -> String {
        exported(run(&[&["export", "--data-dir", &self.path()], args].concat()).await)
    }

    /// The error of an export that is refused.
    async fn export_error(&self, args: &[&str]) -> String {
        export_error(&run(&[&["export", "--data-dir", &self.path()], args].concat()).await)
    }

    fn export_into_pipe(&self) -> Child {
        let mut command = Command::new(BINARY);
        command.args(["export", "--data-dir", &self.path()]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
    }

    /// Its files with their sizes and times.
    fn files(&self) -> Vec<(String, u64, SystemTime)> {
        let entries =
            std::fs::read_dir(self.path()).expect("a directory").map(|entry| entry.expect("a file"));
        let mut files: Vec<_> = entries
            .map(|entry| {
                let metadata = entry.metadata().expect("it is there");
                let modified = metadata.modified().expect("a time");
                (entry.file_name().into_string().expect("UTF-8"), metadata.len(), modified)
            })
            .collect();
        files.sort();
        files
    }

    /// A copy without the index file (`-shm`), which exists only while a program has the database open.
    fn copied_without_index(&self) -> Self {
        let copy = Self(Scratch::new());
        std::fs::create_dir(copy.path()).expect("a directory");
        for (name, ..) in self.files().iter().filter(|(name, ..)| !name.ends_with("-shm")) {
            std::fs::copy(Path::new(&self.path()).join(name), Path::new(&copy.path()).join(name))
                .expect("a copy");
        }
        copy
    }
}

fn exported(output: Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && error.is_empty(), "{error}");
    String::from_utf8(output.stdout).expect("text")
}

fn export_error(output: &Output) -> String {
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn parsed(lines: &str) -> Vec<Value> {
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The lines as an export of several resources prints them.
fn owned(lines: &str, kind: &str, id: &str) -> String {
    let owned = lines.lines().map(|line| format!("{{\"kind\":\"{kind}\",\"id\":\"{id}\",{}\n", &line[1..]));
    owned.collect()
}

fn texts(payloads: &[&str]) -> Vec<Vec<u8>> {
    payloads.iter().map(|payload| payload.as_bytes().to_vec()).collect()
}
