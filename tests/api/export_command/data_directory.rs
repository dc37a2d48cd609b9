//! Exports from directories that are in use, read-only, damaged or changed meanwhile.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use serde_json::json;

use super::{Directory, RunningService, exported, owned, parsed, texts};
use crate::support::lab::skip;
use crate::support::program::{BINARY, Scratch};
#[tokio::test]
async fn an_export_does_not_disturb_a_running_service() {
    let service = RunningService::start();
    service.receive("tap", json!({}), &texts(&["a", "b"])).await;
    let lines = service.lines("memberships/tap/datagrams").await;

    assert_eq!(service.directory.export(&["memberships/tap"]).await, lines);

    service.receive("other", json!({}), &texts(&["c"])).await;
    let other = service.lines("memberships/other/datagrams").await;
    assert_eq!(service.directory.export(&["memberships/other"]).await, other);
}

#[tokio::test]
async fn datagrams_deleted_during_an_export_are_a_gap() {
    let service = RunningService::start();
    service.receive("tap", json!({}), &vec![vec![b'x'; 60_000]; 20]).await;
    service.lines("memberships/tap/datagrams").await;
    let mut export = service.directory.export_into_pipe();
    let mut lines = BufReader::new(export.stdout.take().expect("piped"));
    let mut first = String::new();
    lines.read_line(&mut first).expect("a line");
    service.program.delete("/v1/memberships/tap").await.expect(204);

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
    let service = RunningService::start();
    service.receive("tap", json!({}), &vec![vec![b'x'; 60_000]; 20]).await;
    let all = service.lines("memberships/tap/datagrams").await;
    let directory = service.ended("TERM").await;
    let mut export = directory.export_into_pipe();
    let mut lines = BufReader::new(export.stdout.take().expect("piped"));
    let mut found = String::new();
    lines.read_line(&mut found).expect("a line");

    let mut service = RunningService::start_on(directory);
    service.program.delete("/v1/memberships/tap").await.expect(204);
    service.program.restart("TERM").await;
    service.receive("other", json!({}), &vec![vec![b'y'; 60_000]; 20]).await;
    let _directory = service.ended("TERM").await;
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
    let service = RunningService::start();
    service.receive("tap", json!({}), &texts(&["a", "b"])).await;
    let lines = service.lines("memberships/tap/datagrams").await;
    let killed = service.ended("KILL").await;
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
    let stopped = RunningService::start_on(copied).ended("TERM").await;
    let before = stopped.files();
    assert_eq!(before.iter().map(|(name, ..)| name.as_str()).collect::<Vec<_>>(), ["lock", "rollcall.db"]);
    assert!(stopped.export(&["memberships/tap"]).await.starts_with(&lines));
    assert_eq!(stopped.files(), before);
}

#[tokio::test]
async fn a_read_only_directory_can_be_exported() {
    let service = RunningService::start();
    service.receive("tap", json!({}), &texts(&["a", "b"])).await;
    let lines = service.lines("memberships/tap/datagrams").await;
    // Beside the service, which can write, as in another container.
    let Some(beside) = export_read_only(&service.directory) else { return };
    assert_eq!(beside, lines);
    let killed = service.ended("KILL").await;
    assert_eq!(export_read_only(&killed).expect("it worked before"), lines);
    let copied = killed.copied_without_index();
    assert_eq!(export_read_only(&copied).expect("it worked before"), lines);
    let stopped = RunningService::start_on(copied).ended("TERM").await;
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
        let error = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            return Some(exported(output));
        }
        assert!(error.contains("unshare:") || output.status.code() == Some(77), "{error}");
    }
    skip("needs CAP_SYS_ADMIN/unprivileged user namespaces: for a mount that is read-only");
    None
}

#[tokio::test]
async fn an_unreadable_directory_is_refused_with_its_reason() {
    let service = RunningService::start();
    service.receive("tap", json!({}), &texts(&["a"])).await;
    service.lines("memberships/tap/datagrams").await;
    let directory = service.ended("TERM").await;
    let error = directory.export_error(&["memberships/tap", "messages/tap"]).await;
    assert!(error.contains("there is no message `tap` in"), "{error}");
    let database = std::fs::read(directory.database()).expect("the database");
    for (bytes, reason) in [
        (&database[..database.len() / 3], "is damaged"),
        (b"very important data", "is not a database of rollcall"),
        (b"", "is not a database of rollcall"),
        (&newer(&database), "was written by a newer rollcall (layout 9999, "),
    ] {
        std::fs::write(directory.database(), bytes).expect("written");
        for args in [&[][..], &["--list"]] {
            let error = directory.export_error(args).await;
            assert!(error.contains(reason), "{error}");
        }
        assert_eq!(directory.files().len(), 2);
    }

    let nowhere = Directory(Scratch::new());
    let file = nowhere.0.path("export");
    let error = nowhere.export_error(&["--output", file.to_str().expect("UTF-8")]).await;
    assert!(error.contains("is not the data directory of a rollcall"), "{error}");
    assert!(!Path::new(&nowhere.path()).exists() && !file.exists());
}

/// The same database with another `user_version` (<https://www.sqlite.org/fileformat.html>, section 1.3) and another
/// column.
fn newer(database: &[u8]) -> Vec<u8> {
    let mut newer = database.to_vec();
    newer[60..64].copy_from_slice(&9999_u32.to_be_bytes());
    let column = newer.windows(9).position(|bytes| bytes == b"spec TEXT").expect("a column");
    newer[column..column + 4].copy_from_slice(b"text");
    newer
}
