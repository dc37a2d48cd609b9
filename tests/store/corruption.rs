//! Databases that were damaged or changed behind the store's back, and failures of the disk.

use std::sync::{Arc, Weak};

use rollcall::store::{Archive, GapReason, Limits, Log, Persist, ReadRange, check, repair};
use rusqlite::Connection;

use super::{
    AMPLE, append, budget, change, crashed, entries, fresh, goes_on_behind, keep, open, read_all, restore,
    when_free,
};
use crate::support::program::Scratch;

#[tokio::test]
async fn blocks_without_a_log_are_not_assigned_to_another() {
    let scratch = Scratch::new();
    let (owner, store, log) = fresh(&scratch);
    append(&log, [b"secret" as &[u8]]);
    store.close().await.unwrap();
    drop((store, log));
    // As after a crash in the middle of a deletion: the log is gone, and the next would have had this number.
    change(&scratch, |database| database.execute_batch("DELETE FROM logs; DELETE FROM owners"));

    let (store, saved) = open(&scratch.path("data"));
    assert!(saved.is_empty());
    let log = keep(&store, "b", AMPLE, &owner);
    append(&log, [b"open" as &[u8]]);
    store.flushed().await.unwrap();
    let number = |id: &str| {
        let database = Connection::open(scratch.path("data").join("rollcall.db")).unwrap();
        let number = "SELECT log FROM owners WHERE id = ?1";
        database.query_row(number, [id], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert!(number("b") > 1);
}

#[tokio::test]
async fn missing_blocks_are_counted_as_lost() {
    let scratch = Scratch::new();
    let (owner, store, log) = fresh(&scratch);
    let payload = vec![0; 10_000];
    append(&log, std::iter::repeat_n(payload.as_slice(), 20));
    store.close().await.unwrap();
    drop((store, log));
    change(&scratch, |database| {
        database.execute_batch("DELETE FROM blocks WHERE row = (SELECT min(row) FROM blocks)")
    });

    let (store, saved) = open(&scratch.path("data"));
    let log = restore(&store, saved, &owner);

    let counters = log.counters();
    assert!(counters.lost > 0 && counters.kept() + counters.lost == 20, "{counters:?}");
    let (datagrams, gaps) = read_all(&log, None).await;
    assert_eq!(datagrams.len() as u64, counters.kept());
    assert_eq!((gaps[0].reason, gaps[0].missed), (GapReason::Lost, Some(counters.lost)));
    log.set_limits(Limits { entries: 1, ..AMPLE });
    append(&log, [b"new" as &[u8]]);
    assert_eq!(log.counters().kept(), 1);
}

#[tokio::test]
async fn a_damaged_block_is_a_gap_and_is_counted() {
    let scratch = Scratch::new();
    let (_owner, store, log) = fresh(&scratch);
    let payload = vec![0; 10_000];
    append(&log, std::iter::repeat_n(payload.as_slice(), 20));
    store.flushed().await.unwrap();
    while log.oldest_held().is_some() {
        log.drop_from_memory();
    }
    change(&scratch, |database| {
        database
            .execute_batch("UPDATE blocks SET data = zeroblob(9) WHERE row = (SELECT min(row) FROM blocks)")
    });

    let (datagrams, gaps) = read_all(&log, None).await;

    let lost = log.counters().lost;
    assert!(lost > 0 && datagrams.len() as u64 + lost == 20, "{lost}");
    assert_eq!((gaps[0].reason, gaps[0].missed), (GapReason::Lost, Some(lost)));
    assert_eq!(store.status().lost_blocks, 1);
}

/// What is served instead would be wrong: the records are valid.
#[tokio::test]
async fn a_flipped_bit_of_a_payload_is_a_gap() {
    let scratch = Scratch::new();
    let (owner, store, log) = fresh(&scratch);
    append(&log, [b"very important data" as &[u8]]);
    store.close().await.unwrap();
    drop((store, log));
    change(&scratch, |database| {
        let flip = "UPDATE blocks SET data = CAST(replace(CAST(data AS TEXT), 'data', 'dada') AS BLOB)";
        database.execute_batch(flip)
    });

    let (store, saved) = open(&scratch.path("data"));
    let log = restore(&store, saved, &owner);
    append(&log, [b"new" as &[u8]]);

    let (datagrams, gaps) = read_all(&log, None).await;
    assert_eq!(datagrams.iter().map(|(_, payload)| &payload[..]).collect::<Vec<_>>(), [b"new"]);
    assert!(gaps.iter().all(|gap| gap.reason == GapReason::Lost), "{gaps:?}");
    assert_eq!((log.counters().lost, store.status().lost_blocks), (1, 1));
}

#[tokio::test]
async fn a_damaged_owner_is_set_aside_with_its_log() {
    let scratch = Scratch::new();
    let (owner, store, log) = fresh(&scratch);
    let other = keep(&store, "b", AMPLE, &owner);
    append(&log, [b"one" as &[u8]]);
    append(&other, [b"two" as &[u8]]);
    store.close().await.unwrap();
    drop((store, log, other));
    change(&scratch, |database| database.execute_batch("UPDATE owners SET spec = 'spex' WHERE id = 'a'"));

    for _ in 0..2 {
        let (store, saved) = open(&scratch.path("data"));
        assert_eq!(store.status().set_aside, 1);
        assert_eq!(saved[0].id, "b");
        let log = restore(&store, saved, &owner);
        append(&log, [b"more" as &[u8]]);
        store.close().await.unwrap();
    }

    let (mut archive, logs) = Archive::open(&scratch.path("data")).unwrap();
    let aside = logs.iter().find(|log| log.id == "a").unwrap();
    let pages: Vec<_> = archive.pages(aside, |_, _| true).map(Result::unwrap).collect();
    assert_eq!(pages.iter().flat_map(entries).collect::<Vec<_>>(), [(1, b"one".to_vec())]);
    assert!(archive.damage()[0].contains("`a`"), "{:?}", archive.damage());
    let repaired = when_free(|| repair(&scratch.path("data"))).unwrap();
    assert_eq!((repaired.findings.len(), repaired.damaged_copy.is_some()), (1, true), "{repaired:?}");
    let after = when_free(|| check(&scratch.path("data"))).unwrap();
    assert_eq!((&after.findings[..], &after.without_spec[..]), (&[][..], &["membership `a`".to_owned()][..]));
    assert_eq!(after.datagrams, 4);

    // Whoever creates it again has a new log, and the old one makes way.
    let (store, _) = open(&scratch.path("data"));
    assert_eq!(store.status().set_aside, 1);
    let _again = keep(&store, "a", AMPLE, &owner);
    assert_eq!(store.status().set_aside, 0, "it is replaced");
    store.close().await.unwrap();
    drop(store);
    let (store, saved) = open(&scratch.path("data"));
    assert_eq!((saved.len(), store.status().set_aside), (2, 0));
}

#[tokio::test]
async fn a_damaged_owner_that_was_created_again_is_replaced_and_a_repair_counts_what_it_keeps() {
    let scratch = Scratch::new();
    let (owner, store, log) = fresh(&scratch);
    append(&log, [b"one" as &[u8], b"two"]);
    store.close().await.unwrap();
    drop((store, log));
    change(&scratch, |database| database.execute_batch("UPDATE owners SET spec = 'spex' WHERE id = 'a'"));
    let (store, _) = open(&scratch.path("data"));
    let again = keep(&store, "a", AMPLE, &owner);
    append(&again, [b"three" as &[u8]]);
    store.close().await.unwrap();
    drop((store, again));

    let repaired = when_free(|| repair(&scratch.path("data"))).unwrap();

    assert_eq!((repaired.resources, repaired.datagrams), (1, 1));
    assert!(repaired.findings[0].contains("leaves the 2 datagrams of its earlier log"), "{repaired:?}");
    let after = when_free(|| check(&scratch.path("data"))).unwrap();
    assert_eq!((after.resources, after.datagrams, after.findings.len()), (1, 1, 0));
    let (store, saved) = open(&scratch.path("data"));
    assert_eq!((saved.len(), store.status().set_aside), (1, 0));
}

/// `SQLite` would take some of these for another format, and find no rows or refuse to write.
#[tokio::test]
async fn a_flipped_bit_in_the_header_of_the_database_loses_nothing() {
    let flips = [
        (0, 1),
        (16, 1),
        (17, 1),
        (18, 1),
        (18, 0x80),
        (19, 1),
        (20, 16),
        (21, 1),
        (63, 1),
        (60, 8),
        (71, 1),
    ];
    for (at, bit) in flips {
        let scratch = Scratch::new();
        let (owner, store, log) = fresh(&scratch);
        append(&log, [b"one" as &[u8]]);
        store.close().await.unwrap();
        drop((store, log));
        let path = scratch.path("data").join("rollcall.db");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[at] ^= bit;
        std::fs::write(&path, bytes).unwrap();

        let (archive, logs) = Archive::open(&scratch.path("data")).unwrap();
        assert_eq!((logs[0].datagrams(), archive.damage().len()), (1, 1), "{at}");
        let report = when_free(|| check(&scratch.path("data"))).unwrap();
        assert!(!report.findings.is_empty() && report.datagrams == 1, "{at}: {report:?}");
        let (store, saved) = open(&scratch.path("data"));
        assert!(store.status().damaged_copy.is_some(), "{at}");
        let log = restore(&store, saved, &owner);
        assert_eq!(read_all(&log, None).await.0, [(1, b"one".to_vec())], "{at}");
    }
}

#[tokio::test]
async fn a_log_whose_row_is_damaged_goes_on_with_its_blocks() {
    for change_made in [
        "UPDATE logs SET reserved = 0, first = 0",
        "UPDATE logs SET first = reserved + 1",
        "UPDATE logs SET appended = 9223372036854775807",
        "UPDATE logs SET lost = -1",
        "UPDATE logs SET epoch = epoch + 1",
        "DELETE FROM logs",
    ] {
        let scratch = Scratch::new();
        let (owner, store, log) = fresh(&scratch);
        append(&log, [b"one" as &[u8]]);
        store.close().await.unwrap();
        drop((store, log));
        change(&scratch, |database| database.execute_batch(change_made));

        let (store, saved) = open(&scratch.path("data"));
        assert_eq!(saved[0].status, "", "{change_made}");
        let log = restore(&store, saved, &owner);
        append(&log, [b"new" as &[u8]]);
        let payloads = read_all(&log, None).await.0.into_iter().map(|(_, payload)| payload);
        assert_eq!(payloads.collect::<Vec<_>>(), [b"one", b"new"], "{change_made}");
        store.close().await.unwrap();
        drop((store, log));
        assert_eq!(open(&scratch.path("data")).1[0].status, "status", "{change_made}");
    }
}

#[tokio::test]
async fn blocks_with_wrong_numbers_are_lost() {
    for change_made in [
        "UPDATE blocks SET next = 7",
        "UPDATE blocks SET first = 2",
        "UPDATE blocks SET log = 9223372036854775807",
        "UPDATE blocks SET row = 9223372036854775807",
        "UPDATE blocks SET until = until + 1",
    ] {
        let scratch = Scratch::new();
        let (owner, store, log) = fresh(&scratch);
        append(&log, [b"one" as &[u8]]);
        store.close().await.unwrap();
        drop((store, log));
        change(&scratch, |database| database.execute_batch(change_made));

        let (store, saved) = open(&scratch.path("data"));
        assert_eq!(store.status().lost_blocks, 1, "{change_made}");
        let log = restore(&store, saved, &owner);
        assert_eq!(log.counters().lost, 1, "{change_made}");
        append(&log, [b"new" as &[u8]]);
        store.flushed().await.unwrap();
    }
}

#[tokio::test]
async fn numbers_that_were_read_during_a_disk_failure_are_not_reused() {
    let scratch = Scratch::new();
    let (owner, store, log) = fresh(&scratch);
    append(&log, [b"on disk" as &[u8]]);
    store.flushed().await.unwrap();
    let [database, away] = ["rollcall.db", "away"].map(|name| scratch.path("data").join(name));
    std::fs::rename(&database, &away).unwrap();
    for _ in 0..3_000 {
        append(&log, [b"seen" as &[u8]]);
    }
    store.flushed().await.unwrap_err();
    let mut seen = None;
    loop {
        let page = log.read(seen, 1_000, ReadRange::ALL).await.unwrap();
        seen = Some(page.next);
        if page.is_empty() {
            break;
        }
    }
    let seen = seen.unwrap();
    assert_eq!(seen.sequence, 3_001);
    crashed(&scratch, "away");

    let (store, saved) = open(&scratch.path("copy"));
    let log = restore(&store, saved, &owner);
    append(&log, [b"new" as &[u8]]);

    let number = goes_on_behind(&log, seen).await;
    // Once all is in order again, the next start is an ordinary one.
    store.close().await.unwrap();
    drop((store, log));
    let (store, saved) = open(&scratch.path("copy"));
    let log = restore(&store, saved, &owner);
    append(&log, [b"newer" as &[u8]]);
    assert_eq!(log.next_sequence(), number + 2);
}

#[tokio::test]
async fn the_newer_of_two_logs_under_one_name_is_kept() {
    let scratch = Scratch::new();
    let (owner, store, older) = fresh(&scratch);
    // As after a crash between a change of the group and the end of the log before.
    let newer = keep(&store, "a", AMPLE, &owner);
    append(&older, [b"older" as &[u8]]);
    append(&newer, [b"newer" as &[u8]]);
    store.close().await.unwrap();
    drop((store, older, newer));

    let (store, saved) = open(&scratch.path("data"));
    let log = restore(&store, saved, &owner);
    store.close().await.unwrap();

    assert_eq!(read_all(&log, None).await.0, [(1, b"newer".to_vec())]);
    let count = |table: &str| {
        let database = Connection::open(scratch.path("data").join("rollcall.db")).unwrap();
        database.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!([count("logs"), count("blocks")], [1, 1]);
}

#[tokio::test]
async fn a_panic_in_one_owner_fails_that_owner_only() {
    let scratch = Scratch::new();
    let (_owner, store, log) = fresh(&scratch);
    let harmed = Arc::new(Panicking);
    let its_log = Arc::new(Log::new(AMPLE, budget(), Some(store.new_handle())));
    its_log.persist("membership", "harmed", Arc::downgrade(&harmed) as Weak<dyn Persist>, true);
    append(&log, [b"kept" as &[u8]]);

    store.flushed().await.unwrap();
    store.panicked().await;
    store.close().await.unwrap();
    drop((store, log, its_log));

    let (_store, saved) = open(&scratch.path("data"));
    assert_eq!(saved.iter().map(|saved| &*saved.id).collect::<Vec<_>>(), ["a"]);
}

struct Panicking;

impl Persist for Panicking {
    fn spec(&self) -> String {
        panic!("an owner that panics on purpose")
    }

    fn status(&self) -> String {
        String::new()
    }
}
