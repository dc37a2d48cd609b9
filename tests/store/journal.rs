//! Damage of `SQLite`'s own log (the WAL), which `SQLite` itself takes for its end, and databases of which the WAL has all.

use std::fs;
use std::path::{Path, PathBuf};

use rollcall::store::{Archive, Cursor, DiskError, Log, Store, check, repair};

use super::{
    append, budget, crashed, entries, fresh, goes_on_behind, open, read_all, restore, settings, when_free,
};
use crate::support::program::Scratch;

const FRAME: usize = 24 + 16 * 1024;

/// What a service that was killed has left in `copy`, whose WAL has several transactions of one datagram each, and a
/// cursor behind them.
async fn killed(scratch: &Scratch) -> (PathBuf, Cursor) {
    let (owner, store, log) = fresh(scratch);
    append(&log, [b"first" as &[u8]]);
    store.close().await.unwrap();
    drop((store, log));
    let (store, saved) = open(&scratch.path("data"));
    let log = restore(&store, saved, &owner);
    for _ in 0..6 {
        append(&log, [&[b'x'; 5_000][..]]);
        store.flushed().await.unwrap();
    }
    let seen = end_of(&log).await;
    crashed(scratch, "rollcall.db");
    (scratch.path("copy"), seen)
}

async fn end_of(log: &Log) -> Cursor {
    let mut seen = None;
    loop {
        let page = log.read(seen, 1_000, rollcall::store::ReadRange::ALL).await.unwrap();
        seen = Some(page.next);
        if page.is_empty() {
            return page.next;
        }
    }
}

fn change_journal(directory: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let journal = directory.join("rollcall.db-wal");
    let mut bytes = fs::read(&journal).unwrap();
    change(&mut bytes);
    fs::write(journal, bytes).unwrap();
}

fn copied(from: &Path, to: PathBuf) -> PathBuf {
    fs::create_dir(&to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
    to
}

fn exported(directory: &Path) -> (usize, Vec<String>) {
    let (mut archive, logs) = Archive::open(directory).unwrap();
    let mut count = 0;
    for log in &logs {
        count += archive.pages(log, |_, _| true).map(|page| entries(&page.unwrap()).count()).sum::<usize>();
    }
    (count, archive.damage().to_vec())
}

#[tokio::test]
async fn an_undamaged_journal_is_read_as_before() {
    let scratch = Scratch::new();
    let (directory, seen) = killed(&scratch).await;
    assert_eq!(exported(&directory), (7, Vec::new()));
    assert_eq!(when_free(|| check(&directory)).unwrap().findings, [""; 0]);
    // A crash leaves frames without an end behind the last transaction, and a torn one.
    change_journal(&directory, |bytes| {
        bytes.extend_from_within(32..32 + FRAME);
        let at = bytes.len() - FRAME + 4;
        bytes[at..at + 4].fill(0);
    });
    assert_eq!(when_free(|| check(&directory)).unwrap().findings, [""; 0]);
    change_journal(&directory, |bytes| bytes.extend_from_within(32..32 + FRAME / 2));
    let (store, saved) = open(&directory);
    assert!(!store.status().is_damaged());
    let log = restore(&store, saved, &std::sync::Arc::new(super::Owner));
    append(&log, [b"new" as &[u8]]);
    assert!(log.next_sequence() <= seen.sequence + 1_001);
}

#[tokio::test]
async fn a_damaged_or_lost_journal_is_found_and_no_number_is_given_twice() {
    type Change = fn(&Path);
    let changes: [(&str, usize, Change); 8] = [
        ("a flip in the first frame", 6, |data| change_journal(data, |bytes| bytes[32 + 24 + 100] ^= 4)),
        ("a flip in the middle", 6, |data| {
            change_journal(data, |bytes| {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 4;
            });
        }),
        ("a flip in a frame's checksum", 6, |data| change_journal(data, |bytes| bytes[32 + FRAME + 17] ^= 1)),
        ("a flip in the header", 6, |data| change_journal(data, |bytes| bytes[9] ^= 4)),
        ("a flip in the last frame", 5, |data| {
            change_journal(data, |bytes| {
                let last = bytes.len() - 9;
                bytes[last] ^= 4;
            });
        }),
        ("cut short", 1, |data| change_journal(data, |bytes| bytes.truncate(32 + FRAME))),
        ("empty", 1, |data| change_journal(data, Vec::clear)),
        ("missing", 1, |data| fs::remove_file(data.join("rollcall.db-wal")).unwrap()),
    ];
    let scratch = Scratch::new();
    let (killed, seen) = killed(&scratch).await;
    for (nth, (name, good, change)) in changes.into_iter().enumerate() {
        let directory = copied(&killed, scratch.path(&format!("damaged-{nth}")));
        change(&directory);
        let again = copied(&directory, scratch.path(&format!("repaired-{nth}")));

        let (count, damage) = exported(&directory);
        assert!(
            count >= good && damage.iter().any(|line| line.contains("rollcall.db-wal")),
            "{name}: {count} {damage:?}"
        );
        let report = when_free(|| check(&directory)).unwrap();
        assert!(report.findings[0].contains("rollcall.db-wal"), "{name}: {report:?}");
        let repaired = when_free(|| repair(&again)).unwrap();
        assert!(
            repaired.damaged_copy.is_some() && repaired.datagrams == count as u64,
            "{name}: {repaired:?}"
        );
        assert_eq!(when_free(|| check(&again)).unwrap().findings, [""; 0], "{name}");

        for directory in [&again, &directory] {
            let (store, saved) = open(directory);
            let copy = store.status().damaged_copy;
            assert_eq!(copy.is_some(), *directory != again, "{name}");
            let log = restore(&store, saved, &std::sync::Arc::new(super::Owner));
            assert_eq!(read_all(&log, None).await.0.len(), count, "{name}");
            append(&log, [b"new" as &[u8]]);
            goes_on_behind(&log, seen).await;
            store.close().await.unwrap();
        }
        assert!(name == "missing" || directory.join("rollcall.db.damaged-1-wal").exists(), "{name}");
        assert!(directory.join("rollcall.db.damaged-1").exists(), "{name}");
    }
}

#[tokio::test]
async fn after_a_power_failure_numbers_are_skipped_and_nothing_is_rebuilt() {
    let scratch = Scratch::new();
    let (directory, seen) = killed(&scratch).await;
    let lock = fs::read_to_string(directory.join("lock")).unwrap();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let other = lock.replace(boot.trim(), "00000000-0000-0000-0000-000000000000");
    assert_ne!(other, lock);
    fs::write(directory.join("lock"), other).unwrap();
    change_journal(&directory, |bytes| bytes.truncate(32 + FRAME));

    let (store, saved) = open(&directory);

    assert!(!store.status().is_damaged());
    let log = restore(&store, saved, &std::sync::Arc::new(super::Owner));
    append(&log, [b"new" as &[u8]]);
    goes_on_behind(&log, seen).await;
}

#[tokio::test]
async fn a_database_of_which_the_journal_has_all_is_rebuilt_from_it() {
    for (name, length) in [("empty", Some(0)), ("cut short", Some(4_096)), ("missing", None)] {
        let scratch = Scratch::new();
        let (_owner, store, log) = fresh(&scratch);
        append(&log, [b"one" as &[u8]]);
        store.flushed().await.unwrap();
        let seen = end_of(&log).await;
        crashed(&scratch, "rollcall.db");
        let directory = scratch.path("copy");
        let database = directory.join("rollcall.db");
        match length {
            Some(length) => fs::File::options().write(true).open(&database).unwrap().set_len(length).unwrap(),
            None => fs::remove_file(&database).unwrap(),
        }
        let again = copied(&directory, scratch.path("again"));

        assert_eq!(exported(&directory).0, 1, "{name}");
        let report = when_free(|| repair(&again)).unwrap();
        assert_eq!((report.resources, report.datagrams), (1, 1), "{name}: {report:?}");
        let (store, saved) = open(&directory);
        assert!(store.status().is_damaged(), "{name}");
        let log = restore(&store, saved, &std::sync::Arc::new(super::Owner));
        append(&log, [b"new" as &[u8]]);
        goes_on_behind(&log, seen).await;
    }
}

#[tokio::test]
async fn nobody_is_advised_to_remove_a_journal_that_was_not_exported() {
    let scratch = Scratch::new();
    let (directory, _) = killed(&scratch).await;
    fs::write(directory.join("rollcall.db"), "").unwrap();
    change_journal(&directory, |bytes| bytes[32..].fill(0xa5));

    let refused = when_free(|| Store::open(&settings(&directory), budget())).err().unwrap();

    assert!(matches!(refused, DiskError::Vanished { .. }), "{refused}");
    assert!(refused.to_string().contains("`rollcall export`"), "{refused}");
}
