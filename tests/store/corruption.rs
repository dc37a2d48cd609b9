//! Databases that were damaged or changed behind the store's back, and failures of the disk.

use std::sync::{Arc, Weak};

use rollcall::store::{GapReason, Limits, Log, Persist, ReadRange};
use rusqlite::Connection;

use super::{AMPLE, append, budget, change, crashed, fresh, goes_on_behind, keep, open, read_all, restore};
use crate::support::program::Scratch;

#[tokio::test]
async fn blocks_without_a_log_are_not_assigned_to_another() {
    let scratch = Scratch::new();
    let (owner, store, log) = fresh(&scratch);
    append(&log, [b"secret" as &[u8]]);
    store.close().await.unwrap();
    drop((store, log));
    // As after a crash in the middle of a deletion: the log is gone, and the next would have had this number.
    change(&scratch, |database| database.execute_batch("DELETE FROM logs; UPDATE blocks SET log = 1"));

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
    assert_eq!(store.condition().lost_blocks, 1);
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
    let newer = keep(&store, "b", AMPLE, &owner);
    append(&older, [b"older" as &[u8]]);
    append(&newer, [b"newer" as &[u8]]);
    store.close().await.unwrap();
    drop((store, older, newer));
    // As after a crash between a change of the group and the end of the log before.
    change(&scratch, |database| database.execute_batch("UPDATE owners SET id = 'a'"));

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
    store.persist("membership", "harmed", &its_log, Arc::downgrade(&harmed) as Weak<dyn Persist>, true);
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
