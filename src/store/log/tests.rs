//! Logs in memory: paging, gaps and the end of a log.

use futures_util::FutureExt;
use proptest::prelude::*;

use super::read_page::{ReadError, ReadRange};
use super::*;
use crate::model::{DatagramMeta, Timestamp};
use crate::store::page::{Gap, GapReason, Page};

const AMPLE: Limits = Limits { entries: 1_000_000, bytes: 1 << 26, age: None };

fn log(limits: Limits) -> Log {
    Log::new(limits, Arc::new(Budget::new(usize::MAX, None)), None)
}

fn record_batch(bytes: &[u8], segment: Option<u16>) -> RecordBatch<'_> {
    let metadata = DatagramMeta {
        received_at: Timestamp(0),
        source: ([192, 0, 2, 1], 1).into(),
        destination: ([239, 1, 1, 1], 1).into(),
        interface: "lo",
        hop_limit: Some(1),
        truncated: false,
    };
    RecordBatch { metadata, response: None, segment, bytes }
}

/// Reads a log in memory, without waiting.
fn read(log: &Log, after: Option<Cursor>, limit: usize) -> Result<Page, ReadError> {
    log.read(after, limit, ReadRange::ALL).now_or_never().expect("the log is in memory")
}

fn payloads(page: &Page) -> Vec<Vec<u8>> {
    page.entries().map(|entry| entry.payload.to_vec()).collect()
}

proptest! {
    /// Readers get each appended datagram once, in order, for all batches and page sizes.
    #[test]
    fn paging_gives_every_datagram_once(
        batches in prop::collection::vec(prop::collection::vec((1_u16..2000, 0_usize..20_000), 0..6), 0..20),
        limit in 1_usize..50,
    ) {
        let log = log(AMPLE);
        let mut expected = Vec::new();
        for batch in &batches {
            let buffers: Vec<(Vec<u8>, u16)> =
                batch.iter().map(|&(segment, length)| (vec![u8::try_from(length % 251).unwrap(); length], segment)).collect();
            for (bytes, segment) in &buffers {
                expected.extend(bytes.chunks(usize::from(*segment)).map(<[u8]>::to_vec));
                if bytes.is_empty() {
                    expected.push(Vec::new());
                }
            }
            log.append(buffers.iter().map(|(bytes, segment)| record_batch(bytes, Some(*segment))));
        }
        let mut seen = Vec::new();
        let mut cursor = None;
        loop {
            let page = read(&log, cursor, limit).unwrap();
            prop_assert_eq!(page.gap, None);
            let sequences: Vec<u64> = page.entries().map(|entry| entry.sequence).collect();
            let start = seen.len() as u64 + 1;
            prop_assert_eq!(sequences, (start..start + page.length as u64).collect::<Vec<_>>());
            if page.is_empty() {
                break;
            }
            seen.extend(payloads(&page));
            cursor = Some(page.next);
        }
        prop_assert_eq!(seen, expected);
    }

    /// A reader behind evicted datagrams gets their exact number.
    #[test]
    fn gaps_account_for_what_retention_took(
        sizes in prop::collection::vec(0_usize..900, 1..300),
        entries in 1_u64..40,
        read_at in 0_usize..100,
    ) {
        let log = log(Limits { entries, bytes: 8 * 1024, age: None });
        let mut cursor = None;
        let mut known = 0;
        for (position, size) in sizes.iter().enumerate() {
            log.append([record_batch(&vec![0; *size], None)]);
            if position % (read_at + 1) == 0 {
                let page = read(&log, cursor, 1000).unwrap();
                known += page.gap.map_or(0, |gap| gap.missed.unwrap()) + page.length as u64;
                prop_assert_eq!(known, position as u64 + 1);
                cursor = Some(page.next);
            }
        }
        let counters = log.counters();
        prop_assert_eq!(counters.appended, sizes.len() as u64);
        prop_assert!(counters.appended - counters.evicted <= entries);
    }
}

#[test]
fn the_last_datagrams_are_counted_across_evicted_and_lost_ones() {
    let log = log(Limits { entries: 400, ..AMPLE });
    for _ in 0..500 {
        log.append([record_batch(&[0; 1_000], None)]);
    }
    // A block in the middle is lost.
    let (first, next) = {
        let mut state = log.state();
        let slot = state.slots.remove(2).expect("some blocks are sealed");
        (slot.first, slot.next)
    };
    let kept: Vec<_> = (101..=500).filter(|sequence| !(first..next).contains(sequence)).collect();
    for count in [0, 1, 20, 100, kept.len() - 10, kept.len(), 1_000] {
        let (mut cursor, mut found) = (log.before_last(count, None, ReadRange::ALL), Vec::new());
        loop {
            let page = read(&log, Some(cursor), 1_000).unwrap();
            if page.is_empty() {
                break;
            }
            found.extend(page.entries().map(|entry| entry.sequence));
            cursor = page.next;
        }
        assert!(found == kept[kept.len().saturating_sub(count)..], "the last {count}");
    }
    let end = Cursor { sequence: 450, ..log.latest() };
    assert_eq!(log.before_last(10, Some(end), ReadRange::ALL).sequence, 440);
}

#[test]
fn a_cursor_of_another_log_gives_a_gap() {
    let (one, other) = (log(AMPLE), log(AMPLE));
    one.append([record_batch(b"a", None)]);
    other.append([record_batch(b"b", None)]);
    let cursor = read(&one, None, 1).unwrap().next;
    let page = read(&other, Some(cursor), 10).unwrap();
    assert_eq!(page.gap, Some(Gap { reason: GapReason::LogReplaced, missed: None }));
    assert_eq!(payloads(&page), [b"b"]);
}

#[tokio::test]
async fn the_log_wakes_readers_at_appends_and_at_its_end() {
    let log = log(AMPLE);
    let changed = log.changed();
    log.append([record_batch(b"a", None)]);
    changed.await;
    let changed = log.changed();
    log.close();
    changed.await;
    assert!(matches!(read(&log, None, 1), Err(ReadError::Closed)));
}

#[test]
fn a_read_since_a_time_skips_earlier_blocks() {
    let log = log(AMPLE);
    let payload = [0; 1_000];
    for second in 0..1_000 {
        let batch = record_batch(&payload, None);
        log.append([RecordBatch {
            metadata: DatagramMeta { received_at: Timestamp(second), ..batch.metadata },
            ..batch
        }]);
    }
    let scope = ReadRange { since: Some(Timestamp(700)), ..ReadRange::ALL };
    let page = log.read(None, 1_000, scope).now_or_never().expect("the log is in memory").unwrap();
    let times: Vec<_> = page.entries().map(|entry| entry.metadata.received_at.0).collect();
    // All requested datagrams, and less than a block of earlier ones.
    let before = times.iter().filter(|time| **time < 700).count();
    assert!(before < 70, "{before}");
    assert_eq!(times[before..], (700..1_000).collect::<Vec<_>>());
    assert_eq!(page.gap, None);
}

#[test]
fn a_read_ends_with_the_block_that_reaches_its_bytes() {
    let log = log(AMPLE);
    for _ in 0..1_000 {
        log.append([record_batch(&[0; 1_000], None)]);
    }
    let range = ReadRange { bytes: 100_000, ..ReadRange::ALL };
    let (mut read, mut cursor) = (Vec::new(), None);
    while read.iter().sum::<usize>() < 1_000 {
        let page = log.read(cursor, 1_000, range).now_or_never().expect("the log is in memory").unwrap();
        read.push(page.len());
        cursor = Some(page.next);
    }
    assert!(read.len() > 5 && read.iter().all(|length| *length < 200), "{read:?}");
}
