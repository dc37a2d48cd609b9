//! Logs on disk, without a service around them.

mod corruption;
mod damage;
mod disk_space;
mod journal;
mod layouts;
mod persistence;
mod refused_directories;

use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rollcall::model::{DatagramMeta, Timestamp};
use rollcall::store::{
    Budget, Cursor, DiskError, Gap, GapReason, Limits, Log, Page, Persist, ReadRange, RecordBatch,
    SavedResource, Store, StoreSettings,
};

use rusqlite::Connection;

use crate::support::program::Scratch;

const AMPLE: Limits = Limits { entries: u64::MAX, bytes: usize::MAX, age: None };

/// An owner without state.
struct Owner;

impl Persist for Owner {
    fn spec(&self) -> String {
        "spec".to_owned()
    }

    fn status(&self) -> String {
        "status".to_owned()
    }
}

/// A store that writes only on request, or when much is pending.
fn settings(directory: &Path) -> StoreSettings {
    StoreSettings { directory: directory.to_owned(), flush: Duration::from_hours(1), memory_bytes: 1 << 30 }
}

fn open(directory: &Path) -> (Store, Vec<SavedResource>) {
    when_free(|| Store::open(&settings(directory), budget())).expect("the store opens")
}

/// A program that another test starts has a copy of the lock's descriptor between its fork and its exec, and with it
/// the lock (flock(2)): so the store may be in use for a moment after it was closed.
fn when_free<T>(attempt: impl Fn() -> Result<T, DiskError>) -> Result<T, DiskError> {
    let start = Instant::now();
    loop {
        match attempt() {
            Err(DiskError::InUse(_)) if start.elapsed() < Duration::from_secs(1) => std::thread::yield_now(),
            done => return done,
        }
    }
}

fn budget() -> Arc<Budget> {
    Arc::new(Budget::new(usize::MAX, Some(usize::MAX)))
}

/// A new store with one log, which has no bounds, and its owner.
fn fresh(scratch: &Scratch) -> (Arc<Owner>, Store, Arc<Log>) {
    let owner = Arc::new(Owner);
    let (store, _) = open(&scratch.path("data"));
    let log = keep(&store, "a", AMPLE, &owner);
    (owner, store, log)
}

/// A new log, stored under this id.
fn keep(store: &Store, id: &str, limits: Limits, owner: &Arc<Owner>) -> Arc<Log> {
    let log = Arc::new(Log::new(limits, budget(), Some(store.new_handle())));
    log.persist("membership", id, weak(owner), true);
    log
}

/// The only stored log of a store, which must be open.
fn restore(_: &Store, saved: Vec<SavedResource>, owner: &Arc<Owner>) -> Arc<Log> {
    let [saved] =
        <[SavedResource; 1]>::try_from(saved).unwrap_or_else(|saved| panic!("{} logs", saved.len()));
    let log = Arc::new(Log::restored(AMPLE, budget(), saved.handle, &saved.log));
    log.persist(&saved.kind, &saved.id, weak(owner), false);
    log
}

fn weak(owner: &Arc<Owner>) -> Weak<dyn Persist> {
    Arc::downgrade(owner) as Weak<dyn Persist>
}

/// Appends one datagram for each payload.
fn append<'a>(log: &Log, payloads: impl IntoIterator<Item = &'a [u8]>) {
    log.append(payloads.into_iter().map(|bytes| RecordBatch {
        metadata: DatagramMeta {
            received_at: Timestamp(0),
            source: ([192, 0, 2, 1], 1).into(),
            destination: ([239, 1, 1, 1], 1).into(),
            interface: "lo",
            hop_limit: Some(1),
            truncated: false,
        },
        response: None,
        segment: None,
        bytes,
    }));
}

/// All that a reader gets: numbers, payloads, and gaps in between.
async fn read_all(log: &Log, mut cursor: Option<Cursor>) -> (Vec<(u64, Vec<u8>)>, Vec<Gap>) {
    let (mut datagrams, mut gaps) = (Vec::new(), Vec::new());
    loop {
        let page = log.read(cursor, 1_000, ReadRange::ALL).await.expect("it can be read");
        gaps.extend(page.gap);
        datagrams.extend(entries(&page));
        if page.is_empty() && page.gap.is_none() {
            return (datagrams, gaps);
        }
        cursor = Some(page.next);
    }
}

fn entries(page: &Page) -> impl Iterator<Item = (u64, Vec<u8>)> {
    page.entries().map(|entry| (entry.sequence, entry.payload.to_vec()))
}

/// Copies the files as a crash leaves them: at a moment when nothing is being written. `database`: the name of the
/// database file then.
fn crashed(scratch: &Scratch, database: &str) {
    let [from, to] = ["data", "copy"].map(|name| scratch.path(name));
    std::fs::create_dir(&to).unwrap();
    for (old, new) in [(database, "rollcall.db"), ("rollcall.db-wal", "rollcall.db-wal"), ("lock", "lock")] {
        std::fs::copy(from.join(old), to.join(new)).unwrap();
    }
}

/// The number of the one datagram, `new`, that came since the log was left: behind all that were seen, with a gap that
/// accounts for the step.
async fn goes_on_behind(log: &Log, seen: Cursor) -> u64 {
    let (datagrams, gaps) = read_all(log, Some(seen)).await;
    let [(number, payload)] = &datagrams[..] else { panic!("{datagrams:?}") };
    assert!(*number > seen.sequence && payload == b"new", "{number}");
    let [gap] = gaps[..] else { panic!("{gaps:?}") };
    assert_eq!((gap.reason, gap.missed), (GapReason::Lost, Some(number - seen.sequence - 1)));
    *number
}

/// Changes the database behind the store's back.
fn change(scratch: &Scratch, change: impl FnOnce(&Connection) -> rusqlite::Result<()>) {
    change(&Connection::open(scratch.path("data").join("rollcall.db")).unwrap()).unwrap();
}
