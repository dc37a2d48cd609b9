//! A reopened store has the same datagrams under the same numbers.

use rollcall::store::{GapReason, LogCounters, ReadRange};

use super::{append, crashed, entries, fresh, goes_on_behind, open, read_all, restore};
use crate::support::program::Scratch;

#[tokio::test]
async fn a_reopened_log_continues_where_it_ended() {
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
async fn a_log_larger_than_memory_is_read_from_disk() {
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
async fn datagrams_dropped_before_they_are_on_disk_are_counted_as_lost() {
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
async fn a_durable_read_returns_only_datagrams_on_disk() {
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
async fn gaps_distinguish_retention_from_a_crash() {
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
    let reported: Vec<_> = gaps.iter().map(|gap| (gap.reason, gap.missed)).collect();
    assert_eq!(reported, [(GapReason::Retention, Some(3)), (GapReason::Lost, Some(number - 4))]);
}

#[tokio::test]
async fn numbers_that_were_read_are_not_reused_after_a_crash() {
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
    // From the start, too: the datagram on disk, a gap, and the new one.
    let (datagrams, gaps) = read_all(&log, None).await;
    assert_eq!(datagrams.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, number]);
    assert_eq!(gaps.iter().filter_map(|gap| gap.missed).sum::<u64>(), number - 2);
}
