//! Databases of earlier layouts are migrated, and can be exported as they are.

use std::fs;

use rollcall::store::{Archive, DiskError, Store, check, repair};
use rusqlite::Connection;

use super::{budget, entries, open, read_all, restore, settings, when_free};
use crate::support::program::Scratch;

const MESSAGE: &str = "01a219d1-716c-77c6-ba15-774676826d37";

/// A data directory as a service with the first layout left it.
fn first_layout() -> Scratch {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("data")).unwrap();
    fs::write(scratch.path("data/lock"), "in order").unwrap();
    let database = Connection::open(scratch.path("data/rollcall.db")).unwrap();
    database.execute_batch(include_str!("first_layout.sql")).unwrap();
    database.pragma_update(None, "journal_mode", "WAL").unwrap();
    scratch
}

#[tokio::test]
async fn a_database_of_the_first_layout_is_migrated() {
    let scratch = first_layout();
    let directory = scratch.path("data");

    let (store, saved) = open(&directory);

    let found = |id: &str| saved.iter().find(|saved| saved.id == id).expect("it was kept");
    assert_eq!(saved.len(), 3);
    assert!(found("tap").spec.starts_with("{\"created_at\":1795729466739651583,"));
    assert!(found("echo").spec.contains("\"rules\":{\"reply\""));
    assert!(found(MESSAGE).status.starts_with("{\"closed\":[\"window\","));
    let tap = saved.into_iter().filter(|saved| saved.id == "tap").collect();
    let log = restore(&store, tap, &std::sync::Arc::new(super::Owner));
    let heard = [(1, b"one".to_vec()), (2, Vec::new()), (3, b"three".to_vec())];
    assert_eq!(read_all(&log, None).await.0, heard);
    store.close().await.unwrap();
    drop((store, log));
    let report = when_free(|| check(&directory)).unwrap();
    assert_eq!((report.resources, report.datagrams, report.findings), (3, 5, Vec::new()));
    let columns = |table: &str| {
        let database = Connection::open(directory.join("rollcall.db")).unwrap();
        let columns = format!("SELECT group_concat(name, ' ') FROM pragma_table_info('{table}')");
        database.query_row(&columns, [], |row| row.get::<_, String>(0)).unwrap()
    };
    assert_eq!(columns("owners"), "log kind id spec checksum");
    assert!(columns("logs").starts_with("number kind id status epoch "));
    assert_eq!(open(&directory).1.len(), 3);
}

/// A salvage can find an older row of the log than its blocks.
#[tokio::test]
async fn a_complete_log_with_a_block_after_its_reserved_numbers_is_restored() {
    let scratch = first_layout();
    let directory = scratch.path("data");
    let database = Connection::open(directory.join("rollcall.db")).unwrap();
    database.execute_batch("UPDATE logs SET reserved = 1 WHERE number = 3").unwrap();
    drop(database);

    let (store, saved) = open(&directory);

    let message = saved.into_iter().filter(|saved| saved.id == MESSAGE).collect();
    let log = restore(&store, message, &std::sync::Arc::new(super::Owner));
    assert_eq!(read_all(&log, None).await.0, [(1, b"pong".to_vec())]);
    store.close().await.unwrap();
}

#[test]
fn a_database_of_the_first_layout_can_be_exported() {
    let scratch = first_layout();
    let before = fs::read(scratch.path("data/rollcall.db")).unwrap();

    let (mut archive, logs) = Archive::open(&scratch.path("data")).unwrap();

    let tap = logs.iter().find(|log| log.id == "tap").unwrap();
    let pages: Vec<_> = archive.pages(tap, |_, _| true).map(Result::unwrap).collect();
    assert_eq!(pages.iter().flat_map(entries).count(), 3);
    assert!(archive.spec(tap).unwrap().unwrap().contains("239.255.77.1:17001"));
    assert_eq!(archive.damage(), [""; 0]);
    assert_eq!(fs::read(scratch.path("data/rollcall.db")).unwrap(), before);
}

#[test]
fn a_damaged_record_of_the_first_layout_is_set_aside_and_all_else_is_migrated() {
    for damaged in ["cast(x'7bff7d' AS TEXT)", "'{\"created_at\":1795729466739651583'"] {
        let scratch = first_layout();
        let directory = scratch.path("data");
        let database = Connection::open(directory.join("rollcall.db")).unwrap();
        database.execute_batch(&format!("UPDATE owners SET wanted = {damaged} WHERE id = 'tap'")).unwrap();
        drop(database);
        let again = scratch.path("again");
        fs::create_dir(&again).unwrap();
        fs::copy(directory.join("rollcall.db"), again.join("rollcall.db")).unwrap();

        let (mut archive, logs) = Archive::open(&directory).unwrap();
        assert!(archive.damage()[0].contains("membership `tap` is damaged"), "{:?}", archive.damage());
        let tap = logs.iter().find(|log| log.id == "tap").unwrap();
        assert_eq!(
            archive
                .pages(tap, |_, _| true)
                .map(Result::unwrap)
                .flat_map(|page| entries(&page).collect::<Vec<_>>())
                .count(),
            3
        );
        let advice = when_free(|| check(&again)).unwrap_err().to_string();
        assert!(advice.contains("`rollcall check --repair` adds them"), "{advice}");
        let repaired = when_free(|| repair(&again)).unwrap();
        assert!(repaired.findings[0].contains("`tap`") && repaired.damaged_copy.unwrap().exists());
        assert_eq!((repaired.resources, repaired.without_spec.len()), (2, 1));
        assert_eq!(when_free(|| check(&again)).unwrap().findings, [""; 0]);

        let (store, saved) = open(&directory);
        assert_eq!((saved.len(), store.status().set_aside), (2, 1));
        assert!(directory.join("rollcall.db.damaged-1").exists());
    }
}

/// Such a service locks the file `lock`, which someone has deleted.
#[test]
fn a_database_that_an_earlier_service_still_uses_is_not_migrated() {
    let scratch = first_layout();
    let earlier = Connection::open(scratch.path("data/rollcall.db")).unwrap();
    earlier.query_row("SELECT count(*) FROM logs", [], |row| row.get::<_, i64>(0)).unwrap();
    fs::remove_file(scratch.path("data/lock")).unwrap();

    let refused = Store::open(&settings(&scratch.path("data")), budget()).err();

    assert!(matches!(refused, Some(DiskError::InUse(_))), "{refused:?}");
    earlier.execute_batch("UPDATE logs SET progress = '{}'").unwrap();
    drop(earlier);
    assert_eq!(open(&scratch.path("data")).1.len(), 3);
}
