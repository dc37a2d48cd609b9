//! Data directories that the store refuses.

use std::path::Path;

use rollcall::store::{DiskError, Store, check, repair};

use super::{append, budget, change, fresh, open, settings, when_free};
use crate::support::program::Scratch;

fn refusal(directory: &Path) -> DiskError {
    Store::open(&settings(directory), budget()).err().expect("it is refused")
}

#[tokio::test]
async fn a_directory_in_use_is_refused() {
    let scratch = Scratch::new();
    let (store, _) = open(scratch.path("data").as_path());
    assert!(matches!(refusal(&scratch.path("data")), DiskError::InUse(_)));
    store.close().await.unwrap();
    drop(store);
    open(&scratch.path("data"));
}

#[test]
fn a_directory_of_a_newer_version_is_refused() {
    let scratch = Scratch::new();
    drop(open(&scratch.path("data")));
    change(&scratch, |database| database.execute_batch("CREATE TABLE tags (a); PRAGMA user_version = 99"));
    let refusal = refusal(&scratch.path("data"));
    assert!(matches!(refusal, DiskError::Newer { found: 99, .. }), "{refusal}");
    assert!(refusal.to_string().contains("newer"));
}

#[test]
fn a_database_of_another_program_is_refused() {
    let scratch = Scratch::new();
    std::fs::create_dir(scratch.path("data")).unwrap();
    change(&scratch, |database| database.execute_batch("CREATE TABLE theirs (a)"));
    assert!(matches!(refusal(&scratch.path("data")), DiskError::Foreign(_)));
    let scratch = Scratch::new();
    std::fs::create_dir(scratch.path("data")).unwrap();
    std::fs::write(scratch.path("data").join("rollcall.db"), "not a database, but a text\n".repeat(100))
        .unwrap();
    assert!(matches!(refusal(&scratch.path("data")), DiskError::Foreign(_)));
}

#[test]
fn a_file_in_place_of_the_directory_is_refused() {
    let scratch = Scratch::new();
    std::fs::write(scratch.path("data"), "").unwrap();
    assert!(matches!(refusal(&scratch.path("data")), DiskError::NoDirectory(_)));
}

#[tokio::test]
async fn a_database_of_which_nothing_is_good_is_refused() {
    let scratch = Scratch::new();
    let (_owner, store, log) = fresh(&scratch);
    append(&log, std::iter::repeat_n([0_u8; 1_000].as_slice(), 1_000));
    store.close().await.unwrap();
    drop(store);
    let path = scratch.path("data").join("rollcall.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let from = 2 * 16_384;
    bytes[from..].fill(0xa5);
    std::fs::write(&path, &bytes).unwrap();
    let refusal = when_free(|| Err::<(), _>(refusal(&scratch.path("data")))).unwrap_err();
    assert!(matches!(refusal, DiskError::Unreadable { .. }), "{refusal}");
    assert!(refusal.to_string().contains("nothing in it can be read: put a copy back"), "{refusal}");
    let repaired = when_free(|| repair(&scratch.path("data"))).unwrap_err();
    assert!(!repaired.to_string().contains("--repair"), "{repaired}");
    assert!(std::fs::read(&path).unwrap()[from..] == bytes[from..], "it is left as it was");
}

/// A new database in its place would hide the loss.
#[tokio::test]
async fn a_database_that_vanished_or_is_empty_is_refused() {
    for change_files in [
        |data: &Path| std::fs::write(data.join("rollcall.db"), "").unwrap(),
        |data: &Path| std::fs::remove_file(data.join("rollcall.db")).unwrap(),
        |data: &Path| {
            std::fs::remove_file(data.join("rollcall.db")).unwrap();
            std::fs::remove_file(data.join("lock")).unwrap();
            std::fs::write(data.join("rollcall.db-wal"), "committed").unwrap();
        },
    ] {
        let scratch = Scratch::new();
        let (_owner, store, log) = fresh(&scratch);
        append(&log, [b"one" as &[u8]]);
        store.close().await.unwrap();
        drop(store);
        change_files(&scratch.path("data"));
        for refusal in [
            when_free(|| Err::<(), _>(refusal(&scratch.path("data")))).unwrap_err(),
            when_free(|| check(&scratch.path("data"))).unwrap_err(),
        ] {
            assert!(matches!(refusal, DiskError::Vanished { .. }), "{refusal}");
            assert!(refusal.to_string().contains("put a copy back, or remove"), "{refusal}");
        }
    }
}

#[tokio::test]
async fn a_directory_whose_lock_was_deleted_is_still_in_use() {
    let scratch = Scratch::new();
    let (_owner, store, _log) = fresh(&scratch);
    std::fs::remove_file(scratch.path("data").join("lock")).unwrap();
    assert!(matches!(refusal(&scratch.path("data")), DiskError::InUse(_)));
    assert!(matches!(check(&scratch.path("data")), Err(DiskError::InUse(_))));
    store.close().await.unwrap();
}

/// An earlier service locks nothing else, and recognises no other lock.
#[tokio::test]
async fn an_earlier_service_and_this_one_exclude_each_other() {
    let scratch = Scratch::new();
    drop(open(&scratch.path("data")));
    let lock = || std::fs::File::options().write(true).open(scratch.path("data").join("lock")).unwrap();
    let earlier = lock();
    while earlier.try_lock().is_err() {
        std::thread::yield_now();
    }
    assert!(matches!(refusal(&scratch.path("data")), DiskError::InUse(_)));
    drop(earlier);
    let _store = open(&scratch.path("data"));
    assert!(lock().try_lock().is_err());
}
