//! Data directories that the store refuses.

use std::path::Path;

use rollcall::store::{DiskError, Store};

use super::{append, budget, change, fresh, open, settings};
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
    change(&scratch, |database| database.pragma_update(None, "user_version", 99));
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
async fn a_damaged_database_is_refused() {
    let scratch = Scratch::new();
    let (_owner, store, log) = fresh(&scratch);
    append(&log, std::iter::repeat_n([0_u8; 1_000].as_slice(), 1_000));
    store.close().await.unwrap();
    drop(store);
    let path = scratch.path("data").join("rollcall.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let from = 3 * 16_384;
    bytes[from..].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
    let refusal = refusal(&scratch.path("data"));
    assert!(matches!(refusal, DiskError::Damaged { .. }), "{refusal}");
}

#[tokio::test]
async fn a_database_with_inconsistent_blocks_is_refused() {
    let scratch = Scratch::new();
    let (_owner, store, log) = fresh(&scratch);
    append(&log, [b"one" as &[u8]]);
    store.close().await.unwrap();
    drop(store);
    change(&scratch, |database| database.execute_batch("UPDATE blocks SET next = 7"));
    let refusal = refusal(&scratch.path("data"));
    assert!(matches!(refusal, DiskError::Damaged { .. }), "{refusal}");
}

#[tokio::test]
async fn a_database_with_impossible_numbers_is_refused() {
    for change_made in [
        "UPDATE logs SET reserved = 0, first = 0",
        "UPDATE logs SET first = reserved + 1",
        "UPDATE logs SET first = 0",
        "UPDATE logs SET appended = 9223372036854775807",
        "UPDATE logs SET lost = -1",
        "UPDATE logs SET number = 9223372036854775807; UPDATE owners SET log = 9223372036854775807",
        "UPDATE blocks SET log = 9223372036854775807",
        "UPDATE blocks SET row = 9223372036854775807",
    ] {
        let scratch = Scratch::new();
        let (_owner, store, log) = fresh(&scratch);
        append(&log, [b"one" as &[u8]]);
        store.close().await.unwrap();
        drop(store);
        change(&scratch, |database| database.execute_batch(change_made));
        let refusal = refusal(&scratch.path("data"));
        assert!(matches!(refusal, DiskError::Damaged { .. }), "{change_made}: {refusal}");
    }
}
