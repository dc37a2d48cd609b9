//! `rollcall export`: what a data directory keeps, against what the service answered that has kept it.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::support::lab::skip;
use crate::support::peer::Peer;
use crate::support::program::{BINARY, Program, Scratch, run};
use crate::support::server::{fresh_group, on_lo};

/// A service with a directory that outlives it.
struct Keeper {
    program: Program,
    directory: Directory,
}

struct Directory(Scratch);

impl Keeper {
    fn start() -> Self {
        Self::start_on(Directory(Scratch::new()))
    }

    fn start_on(directory: Directory) -> Self {
        let program = Program::start_with(&["--data-dir", &directory.path(), "--flush-ms", "10"]);
        Self { program, directory }
    }

    /// Joins under this id and hears these payloads.
    async fn hear(&self, id: &str, options: Value, payloads: &[Vec<u8>]) {
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

    /// What the service answers as lines, once it is on disk.
    async fn lines(&self, log: &str) -> String {
        let reply = self.program.get(&format!("/v1/{log}?format=ndjson&durable=true")).await;
        assert_eq!(reply.status.as_u16(), 200);
        String::from_utf8(reply.body.to_vec()).expect("text")
    }

    /// Ends the service by this signal.
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

    /// The last line of what it says when it refuses.
    async fn refused(&self, args: &[&str]) -> String {
        refusal(&run(&[&["export", "--data-dir", &self.path()], args].concat()).await)
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
                let about = entry.metadata().expect("it is there");
                let modified = about.modified().expect("a time");
                (entry.file_name().into_string().expect("UTF-8"), about.len(), modified)
            })
            .collect();
        files.sort();
        files
    }

    /// A copy without the file that a program has as long as it has the database open.
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
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
    String::from_utf8(output.stdout).expect("text")
}

fn refusal(output: &Output) -> String {
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn parsed(lines: &str) -> Vec<Value> {
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The lines as they are among those of other resources.
fn owned(lines: &str, kind: &str, id: &str) -> String {
    let owned = lines.lines().map(|line| format!("{{\"kind\":\"{kind}\",\"id\":\"{id}\",{}\n", &line[1..]));
    owned.collect()
}

fn texts(payloads: &[&str]) -> Vec<Vec<u8>> {
    payloads.iter().map(|payload| payload.as_bytes().to_vec()).collect()
}

#[tokio::test]
async fn an_export_has_the_same_lines_as_the_killed_service() {
    let keeper = Keeper::start();
    let group = fresh_group();
    keeper.hear("heard", json!({}), &[&texts(&["a", "", "c"])[..], &[vec![0xff, 0]]].concat()).await;
    keeper.hear("short", json!({"retention": {"datagrams": 2}}), &texts(&["1", "2", "3"])).await;
    keeper
        .program
        .put("/v1/responders/echo", on_lo(&group, json!({"reply": {"echo": true}})))
        .await
        .expect(201);
    let call = on_lo(&group, json!({"payload": "here?", "expect": 1}));
    keeper.program.put("/v1/messages/roll", call).await.expect(202);
    keeper.program.closed("/v1/messages/roll").await;
    let [heard, short, echo, roll] = [
        keeper.lines("memberships/heard/datagrams").await,
        keeper.lines("memberships/short/datagrams").await,
        keeper.lines("responders/echo/datagrams").await,
        keeper.lines("messages/roll/responses").await,
    ];
    assert_eq!([&heard, &short, &echo, &roll].map(|lines| lines.lines().count()), [4, 3, 1, 1]);

    let directory = keeper.ended("KILL").await;

    assert_eq!(directory.export(&["memberships/heard"]).await, heard);
    assert_eq!(directory.export(&["membership/short"]).await, short);
    assert_eq!(directory.export(&["responders/echo"]).await, echo);
    assert_eq!(directory.export(&["messages/roll"]).await, roll);
    let memberships = owned(&heard, "membership", "heard") + &owned(&short, "membership", "short");
    assert_eq!(directory.export(&["memberships"]).await, memberships);
    let all = memberships + &owned(&echo, "responder", "echo") + &owned(&roll, "message", "roll");
    assert_eq!(directory.export(&[]).await, all);
}

#[tokio::test]
async fn the_list_shows_every_log_with_its_size_and_times() {
    let keeper = Keeper::start();
    keeper.hear("empty", json!({}), &[]).await;
    keeper.hear("short", json!({"retention": {"datagrams": 2}}), &texts(&["1", "2", "3"])).await;
    let short = parsed(&keeper.lines("memberships/short/datagrams").await);
    let group = async |id: &str| {
        keeper.program.get(&format!("/v1/memberships/{id}")).await.expect(200)["group"].clone()
    };
    let groups = [group("empty").await, group("short").await];
    let directory = keeper.ended("TERM").await;

    let mut listed = parsed(&directory.export(&["--list"]).await);
    let bytes = listed[1]["bytes"].take().as_u64().expect("a number");

    assert_eq!(
        json!(listed),
        json!([
            {"kind": "membership", "id": "empty", "group": groups[0], "datagrams": 0, "bytes": 0,
             "first_at": null, "last_at": null},
            {"kind": "membership", "id": "short", "group": groups[1], "datagrams": 2, "bytes": null,
             "first_at": short[1]["received_at"], "last_at": short[2]["received_at"]},
        ])
    );
    assert!((3..1000).contains(&bytes), "{bytes}");
    assert_eq!(parsed(&directory.export(&["--list", "memberships/short"]).await).len(), 1);
    assert_eq!(directory.export(&["--list", "messages"]).await, "");
}

#[tokio::test]
async fn filters_select_the_same_datagrams_as_the_api() {
    let keeper = Keeper::start();
    let (group, path) = (fresh_group(), "/v1/memberships/tap");
    keeper.program.put(path, on_lo(&group, json!({}))).await.expect(201);
    for (source, payload) in [("127.0.0.1", "a"), ("127.0.0.2", "b"), ("127.0.1.1", "c")] {
        Peer::at(source).send(&group, payload);
    }
    let heard = keeper.program.heard(&format!("{path}/datagrams"), 3).await;
    let at = |nth: usize| heard[nth]["received_at"].as_str().expect("a time");
    keeper.lines("memberships/tap/datagrams").await;
    let directory = keeper.ended("KILL").await;

    for (filter, expected) in [
        (vec!["--source", "127.0.0.2"], &heard[1..2]),
        (vec!["--source", "127.0.0.0/24"], &heard[..2]),
        (vec!["--since", at(1)], &heard[1..]),
        (vec!["--until", at(1)], &heard[..1]),
        (
            vec!["--since", at(1), "--until", at(2), "--source", heard[1]["source"].as_str().expect("text")],
            &heard[1..2],
        ),
        (vec!["--since", "2200-01-01T00:00:00Z"], &[]),
    ] {
        let found = directory.export(&[&["memberships/tap"], &filter[..]].concat()).await;
        assert_eq!(parsed(&found), expected, "{filter:?}");
    }
    for filter in [["--since", "yesterday"], ["--source", "x"], ["--format", "xml"]] {
        let refused = run(&[&["export"], &filter[..]].concat()).await;
        assert_eq!(refused.status.code(), Some(2), "{filter:?}");
    }
}

/// After a crash, numbers go on behind those that were set aside; of a message that was complete, all are known.
#[tokio::test]
async fn an_export_shows_the_same_gaps_after_a_crash_as_the_service() {
    let keeper = Keeper::start();
    let group = fresh_group();
    keeper.program.put("/v1/memberships/tap", on_lo(&group, json!({}))).await.expect(201);
    let call = on_lo(&fresh_group(), json!({"payload": "here?", "window_ms": 60_000}));
    keeper.program.put("/v1/messages/roll", call).await.expect(202);
    Peer::at("127.0.0.1").send(&group, "before");
    keeper.program.heard("/v1/memberships/tap/datagrams", 1).await;
    keeper.lines("memberships/tap/datagrams").await;
    let keeper = Keeper::start_on(keeper.ended("KILL").await);
    Peer::at("127.0.0.1").send(&group, "after");
    keeper.program.heard("/v1/memberships/tap/datagrams", 2).await;
    keeper.program.closed("/v1/messages/roll").await;
    let heard = keeper.lines("memberships/tap/datagrams").await;
    let roll = keeper.lines("messages/roll/responses").await;
    assert_eq!(parsed(&heard)[1]["gap"]["reason"], "lost");
    let directory = keeper.ended("KILL").await;

    assert_eq!(directory.export(&["memberships/tap"]).await, heard);
    assert_eq!(directory.export(&["messages/roll"]).await, roll);
}

#[tokio::test]
async fn the_configuration_file_names_the_data_directory() {
    let keeper = Keeper::start();
    keeper.hear("tap", json!({}), &texts(&["a"])).await;
    let lines = keeper.lines("memberships/tap/datagrams").await;
    let file = keeper.directory.0.path("rollcall.toml");
    let config = file.to_str().expect("UTF-8");
    let export = ["export", "--config", config, "memberships/tap"];

    let said = refusal(&run(&export).await);
    assert!(said.contains("it cannot be read"), "{said}");
    std::fs::write(&file, format!("log_bytes = 70_000\ndata_dir = {:?}\n", keeper.directory.path()))
        .expect("a file");
    assert_eq!(exported(run(&export).await), lines);
    std::fs::write(&file, "data_dirs = \"/\"\n").expect("a file");
    let said = refusal(&run(&export).await);
    assert!(said.contains("did you mean `data_dir`?"), "{said}");
}

#[tokio::test]
async fn an_export_does_not_disturb_a_running_service() {
    let keeper = Keeper::start();
    keeper.hear("tap", json!({}), &texts(&["a", "b"])).await;
    let lines = keeper.lines("memberships/tap/datagrams").await;

    assert_eq!(keeper.directory.export(&["memberships/tap"]).await, lines);

    keeper.hear("other", json!({}), &texts(&["c"])).await;
    let other = keeper.lines("memberships/other/datagrams").await;
    assert_eq!(keeper.directory.export(&["memberships/other"]).await, other);
}

#[tokio::test]
async fn datagrams_deleted_during_an_export_are_a_gap() {
    let keeper = Keeper::start();
    keeper.hear("tap", json!({}), &vec![vec![b'x'; 60_000]; 20]).await;
    keeper.lines("memberships/tap/datagrams").await;
    let mut export = keeper.directory.export_into_pipe();
    let mut lines = BufReader::new(export.stdout.take().expect("piped"));
    let mut first = String::new();
    lines.read_line(&mut first).expect("a line");
    keeper.program.delete("/v1/memberships/tap").await.expect(204);

    let mut rest = String::new();
    lines.read_to_string(&mut rest).expect("text");

    assert!(export.wait().expect("it ends").success());
    let found = parsed(&(first + &rest));
    let (gap, kept) = found.split_last().expect("lines");
    assert_eq!(gap["gap"]["reason"], "retention", "{gap}");
    assert_eq!(kept.last().expect("a line")["seq"], kept.len());
    assert_eq!(gap["gap"]["missed"], 20 - kept.len());
}

/// It puts something else under the same numbers, and into the same places of the file.
#[tokio::test]
async fn an_export_notices_that_a_service_has_run_meanwhile() {
    let keeper = Keeper::start();
    keeper.hear("tap", json!({}), &vec![vec![b'x'; 60_000]; 20]).await;
    let all = keeper.lines("memberships/tap/datagrams").await;
    let directory = keeper.ended("TERM").await;
    let mut export = directory.export_into_pipe();
    let mut lines = BufReader::new(export.stdout.take().expect("piped"));
    let mut found = String::new();
    lines.read_line(&mut found).expect("a line");

    let mut keeper = Keeper::start_on(directory);
    keeper.program.delete("/v1/memberships/tap").await.expect(204);
    keeper.program.restart("TERM").await;
    keeper.hear("other", json!({}), &vec![vec![b'y'; 60_000]; 20]).await;
    let _directory = keeper.ended("TERM").await;
    lines.read_to_string(&mut found).expect("text");

    assert!(export.wait().expect("it ends").success());
    let gap = found.lines().last().expect("a line");
    let kept = found.strip_suffix(&format!("{gap}\n")).expect("lines");
    assert!(owned(&all, "membership", "tap").starts_with(kept));
    let missed = 20 - kept.lines().count();
    let expected =
        json!({"kind": "membership", "id": "tap", "gap": {"reason": "retention", "missed": missed}});
    assert_eq!(parsed(gap), [expected]);
}

#[tokio::test]
async fn an_export_leaves_no_files_behind() {
    let keeper = Keeper::start();
    keeper.hear("tap", json!({}), &texts(&["a", "b"])).await;
    let lines = keeper.lines("memberships/tap/datagrams").await;
    let killed = keeper.ended("KILL").await;
    let copied = killed.copied_without_index();
    assert!(copied.files().iter().any(|(name, length, _)| name == "rollcall.db-wal" && *length > 0));
    for directory in [&killed, &copied] {
        let before = directory.files();
        assert_eq!(directory.export(&["memberships/tap"]).await, lines);
        let after = directory.files();
        // Programs that have the database open write into the index, which is theirs.
        let kept = |files: &[(String, u64, SystemTime)]| {
            let kept = files.iter().filter(|(name, ..)| !name.ends_with("-shm"));
            kept.cloned().collect::<Vec<_>>()
        };
        assert_eq!((kept(&before), before.len()), (kept(&after), after.len()));
    }
    let stopped = Keeper::start_on(copied).ended("TERM").await;
    let before = stopped.files();
    assert_eq!(before.iter().map(|(name, ..)| name.as_str()).collect::<Vec<_>>(), ["lock", "rollcall.db"]);
    assert!(stopped.export(&["memberships/tap"]).await.starts_with(&lines));
    assert_eq!(stopped.files(), before);
}

#[tokio::test]
async fn a_read_only_directory_can_be_exported() {
    let keeper = Keeper::start();
    keeper.hear("tap", json!({}), &texts(&["a", "b"])).await;
    let lines = keeper.lines("memberships/tap/datagrams").await;
    // Beside the service, which can write, as in another container.
    let Some(beside) = export_read_only(&keeper.directory) else { return };
    assert_eq!(beside, lines);
    let killed = keeper.ended("KILL").await;
    assert_eq!(export_read_only(&killed).expect("it worked before"), lines);
    let copied = killed.copied_without_index();
    assert_eq!(export_read_only(&copied).expect("it worked before"), lines);
    let stopped = Keeper::start_on(copied).ended("TERM").await;
    assert!(export_read_only(&stopped).expect("it worked before").starts_with(&lines));
}

/// Exports `memberships/tap` where the directory is mounted so that not even root can write to it; none if that cannot
/// be had.
fn export_read_only(directory: &Directory) -> Option<String> {
    const SCRIPT: &str = "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\" || exit 77
        touch \"$1/probe\" 2>/dev/null && exit 78
        exec \"$0\" export --data-dir \"$1\" memberships/tap";
    for rights in [&["--mount"][..], &["--user", "--map-root-user", "--mount"]] {
        let mut command = Command::new("unshare");
        command.args(rights).args(["sh", "-c", SCRIPT, BINARY, &directory.path()]);
        let output = command.output().expect("unshare starts");
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            return Some(exported(output));
        }
        assert!(said.contains("unshare:") || output.status.code() == Some(77), "{said}");
    }
    skip("needs CAP_SYS_ADMIN/unprivileged user namespaces: for a mount that is read-only");
    None
}

#[tokio::test]
async fn an_unreadable_directory_is_refused_with_its_reason() {
    let keeper = Keeper::start();
    keeper.hear("tap", json!({}), &texts(&["a"])).await;
    keeper.lines("memberships/tap/datagrams").await;
    let directory = keeper.ended("TERM").await;
    let said = directory.refused(&["memberships/tap", "messages/tap"]).await;
    assert!(said.contains("there is no message `tap` in"), "{said}");
    let database = std::fs::read(directory.database()).expect("the database");
    for (bytes, reason) in [
        (&database[..database.len() / 3], "is damaged"),
        (b"very important data", "is no database of rollcall"),
        (b"", "is no database of rollcall"),
        (&newer(&database), "was written by a newer rollcall (layout 9999, "),
    ] {
        std::fs::write(directory.database(), bytes).expect("written");
        for args in [&[][..], &["--list"]] {
            let said = directory.refused(args).await;
            assert!(said.contains(reason), "{said}");
        }
        assert_eq!(directory.files().len(), 2);
    }

    let nowhere = Directory(Scratch::new());
    let file = nowhere.0.path("export");
    let said = nowhere.refused(&["--output", file.to_str().expect("UTF-8")]).await;
    assert!(said.contains("there is nothing that a rollcall has kept in"), "{said}");
    assert!(!Path::new(&nowhere.path()).exists() && !file.exists());
}

/// The same database with another `user_version` (<https://www.sqlite.org/fileformat.html>, section 1.3).
fn newer(database: &[u8]) -> Vec<u8> {
    let mut newer = database.to_vec();
    newer[60..64].copy_from_slice(&9999_u32.to_be_bytes());
    newer
}

#[tokio::test]
async fn an_export_ends_quietly_when_its_reader_closes_the_pipe() {
    let keeper = Keeper::start();
    keeper.hear("tap", json!({}), &vec![vec![b'x'; 60_000]; 20]).await;
    keeper.lines("memberships/tap/datagrams").await;
    let directory = keeper.ended("KILL").await;

    let mut export = directory.export_into_pipe();
    let mut line = String::new();
    BufReader::new(export.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    let output = export.wait_with_output().expect("it ends");

    assert_eq!(parsed(&line)[0]["seq"], 1);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[tokio::test]
async fn only_the_owner_can_read_an_output_file() {
    use std::os::unix::fs::PermissionsExt;
    let keeper = Keeper::start();
    keeper.hear("tap", json!({}), &texts(&["a"])).await;
    let lines = keeper.lines("memberships/tap/datagrams").await;
    let file = keeper.directory.0.path("export");
    let output = ["memberships/tap", "--output", file.to_str().expect("UTF-8")];

    assert_eq!(keeper.directory.export(&output).await, "");

    assert_eq!(std::fs::read_to_string(&file).expect("a file"), lines);
    assert_eq!(std::fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
    let full = keeper.directory.refused(&["memberships/tap", "--output", "/dev/full"]).await;
    assert!(full.contains("/dev/full cannot be written to"), "{full}");
}
