//! What was kept is there again, under the same numbers.

use rollcall::store::{GapReason, LogCounters, ReadRange};

use super::{append, crashed, entries, fresh, goes_on_behind, open, read_all, restore};
use crate::support::program::Scratch;

#[tokio::test]
async fn a_log_goes_on_where_it_ended() {
    let scratch = Scratch::new();
    let (owner, store, log) = fresh(&scratch);
    append(&log, [b"one" as &[u8], b"", b"three"]);
    let cursor = log.read(None, 2, ReadRange::ALL).await.unwrap().next;
    let counters = log.counters();
    store.close().await.unwrap();
    drop((store, log));

    let (store, saved) = open(&scratch.path("data"));
    assert_eq!((saved[0].kind.as_str(), saved[0].id.as_str()), ("membership", "a"));
    assert_eq!((saved[0].spec.as_str(), saved[0].status.as_str()), ("spec", "status"));
    let log = restore(&store, saved, &owner);
    // A sealed block costs a little more than one that grows.
    let kept_bytes = counters.kept_bytes;
    assert_eq!(LogCounters { kept_bytes, ..log.counters() }, counters);
    append(&log, [b"four" as &[u8]]);

    let (datagrams, gaps) = read_all(&log, Some(cursor)).await;
    assert_eq!(datagrams, [(3, b"three".to_vec()), (4, b"four".to_vec())]);
    assert_eq!(gaps, []);
}

#[tokio::test]
async fn what_is_larger_than_memory_is_read_from_disk() {
    let scratch = Scratch::new();
    let (_owner, store, log) = fresh(&scratch);
    let payloads: Vec<_> = (0..5_000_u32).map(|number| [number.to_le_bytes(); 50].concat()).collect();
    append(&log, payloads.iter().map(Vec::as_slice));
    store.flushed().await.unwrap();
    while log.oldest_held().is_some() {
        log.drop_from_memory();
    }
    assert_eq!(log.counters().lost, 0);

    let (datagrams, gaps) = read_all(&log, None).await;
    let expected: Vec<_> = (1..).zip(payloads).collect();
    assert_eq!((datagrams, gaps), (expected, vec![]));
}

#[tokio::test]
async fn what_leaves_memory_before_it_is_on_disk_is_counted_and_told() {
    let scratch = Scratch::new();
    let (_owner, store, log) = fresh(&scratch);
    append(&log, [b"on disk" as &[u8]]);
    store.flushed().await.unwrap();
    // Blocks of 64 KiB, of which the first has the one that is on disk.
    let payload = vec![0; 10_000];
    append(&log, std::iter::repeat_n(payload.as_slice(), 30));
    log.drop_from_memory();
    log.drop_from_memory();

    let lost = log.counters().lost;
    assert!(lost > 6, "{lost}");
    let (datagrams, gaps) = read_all(&log, None).await;
    let numbers: Vec<_> = datagrams.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (lost + 1..=31).collect::<Vec<_>>());
    let [gap] = gaps[..] else { panic!("{gaps:?}") };
    assert_eq!(gap.missed, Some(lost));
}

#[tokio::test]
async fn durable_readers_see_what_is_on_disk_and_no_more() {
    let scratch = Scratch::new();
    let (_owner, store, log) = fresh(&scratch);
    append(&log, [b"one" as &[u8]]);
    store.flushed().await.unwrap();
    append(&log, [b"two" as &[u8]]);

    let page = log.read(None, 10, ReadRange::DURABLE).await.unwrap();
    assert_eq!(entries(&page).collect::<Vec<_>>(), [(1, b"one".to_vec())]);
    let changed = log.changed();
    assert!(log.read(Some(page.next), 10, ReadRange::DURABLE).await.unwrap().is_empty());
    store.flushed().await.unwrap();
    changed.await;
    let page = log.read(Some(page.next), 10, ReadRange::DURABLE).await.unwrap();
    assert_eq!(entries(&page).collect::<Vec<_>>(), [(2, b"two".to_vec())]);
}

#[tokio::test]
async fn what_retention_took_and_what_a_crash_took_are_told_apart() {
    let scratch = Scratch::new();
    let (owner, store, log) = fresh(&scratch);
    append(&log, [b"old" as &[u8]; 3]);
    store.flushed().await.unwrap();
    log.evict();
    store.flushed().await.unwrap();
    crashed(&scratch, "rollcall.db");

    let (store, saved) = open(&scratch.path("copy"));
    let log = restore(&store, saved, &owner);
    append(&log, [b"new" as &[u8]]);

    let (datagrams, gaps) = read_all(&log, None).await;
    let [(number, _)] = datagrams[..] else { panic!("{datagrams:?}") };
    let told: Vec<_> = gaps.iter().map(|gap| (gap.reason, gap.missed)).collect();
    assert_eq!(told, [(GapReason::Retention, Some(3)), (GapReason::Lost, Some(number - 4))]);
}

#[tokio::test]
async fn after_a_crash_numbers_go_on_behind_all_that_were_seen() {
    let scratch = Scratch::new();
    let (owner, store, log) = fresh(&scratch);
    append(&log, [b"one" as &[u8]]);
    store.flushed().await.unwrap();
    // Not a few, yet fewer than make the store write at once.
    for _ in 0..400 {
        append(&log, [b"seen" as &[u8]]);
    }
    let seen = log.read(None, 1_000, ReadRange::ALL).await.unwrap().next;
    assert_eq!(seen.sequence, 401);
    crashed(&scratch, "rollcall.db");

    let (store, saved) = open(&scratch.path("copy"));
    let log = restore(&store, saved, &owner);
    append(&log, [b"new" as &[u8]]);

    let number = goes_on_behind(&log, seen).await;
    // From the start, too: what was on disk, a step, and what is new.
    let (datagrams, gaps) = read_all(&log, None).await;
    assert_eq!(datagrams.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, number]);
    assert_eq!(gaps.iter().filter_map(|gap| gap.missed).sum::<u64>(), number - 2);
}
