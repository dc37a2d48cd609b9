//! Deleted and evicted datagrams free disk space.

use std::time::Duration;

use rollcall::store::Limits;

use super::{AMPLE, Owner, append, keep, open, read_all, restore};
use crate::support::program::Scratch;

const MIB: usize = 1024 * 1024;

#[tokio::test]
async fn a_deleted_log_frees_its_disk_space() {
    let scratch = Scratch::new();
    let path = scratch.path("data");
    let owner = std::sync::Arc::new(Owner);
    let (store, _) = open(&path);
    let (stays, goes) = (keep(&store, "stays", AMPLE, &owner), keep(&store, "goes", AMPLE, &owner));
    let payload = vec![7; 10_000];
    for _ in 0..20 {
        append(&goes, std::iter::repeat_n(payload.as_slice(), 200));
        append(&stays, [b"small" as &[u8]]);
        store.flushed().await.unwrap();
    }
    let on_disk = |name: &str| usize::try_from(std::fs::metadata(path.join(name)).unwrap().len()).unwrap();
    let all = || on_disk("rollcall.db") + on_disk("rollcall.db-wal");
    assert!(all() > 40 * MIB, "{}", all());

    goes.close();
    store.flushed().await.unwrap();
    // It happens step by step, by itself.
    let shrunk = async {
        while all() > 2 * MIB {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), shrunk).await.expect("the files shrink");

    store.close().await.unwrap();
    drop((store, stays, goes));
    let (store, saved) = open(&path);
    let log = restore(&store, saved, &owner);
    assert_eq!(read_all(&log, None).await.0.len(), 20);
}

#[tokio::test]
async fn a_full_log_takes_no_more_disk_space() {
    let scratch = Scratch::new();
    let path = scratch.path("data");
    let owner = std::sync::Arc::new(Owner);
    let (store, _) = open(&path);
    let log = keep(&store, "a", Limits { bytes: 2 * MIB, ..AMPLE }, &owner);
    let payload = vec![7; 10_000];
    for _ in 0..40 {
        append(&log, std::iter::repeat_n(payload.as_slice(), 100));
        store.flushed().await.unwrap();
    }
    let counters = log.counters();
    assert_eq!(counters.appended, 4_000);
    assert!(counters.kept_bytes <= 2 * MIB as u64, "{counters:?}");
    store.close().await.unwrap();
    let size = std::fs::metadata(path.join("rollcall.db")).unwrap().len();
    assert!(size < 6 * MIB as u64, "{size}");
    drop((store, log));
    let (store, saved) = open(&path);
    let log = restore(&store, saved, &owner);
    let (datagrams, gaps) = read_all(&log, None).await;
    let first = datagrams[0].0;
    assert_eq!(datagrams.last().unwrap().0, 4_000);
    assert_eq!(gaps[0].missed, Some(first - 1));
}
