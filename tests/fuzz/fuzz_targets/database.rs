//! A database with any numbers and texts is either refused, or its resources can be restored, read and exported. It has
//! the first layout: the migration gives the rows their checksums.
#![no_main]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use rollcall::model::{DatagramMeta, Timestamp};
use rollcall::store::{Archive, Budget, DiskError, Persist, Limits, Log, RecordBatch, ReadRange, Store, StoreSettings};
use rusqlite::{Connection, params};
use tokio::runtime::Runtime;

fuzz_target!(|rows: Rows| {
    std::fs::copy(&TEMPLATE.database, DIRECTORY.join("rollcall.db")).expect("a new database");
    rows.write(&DIRECTORY).expect("the layout takes them");
    RUNTIME.block_on(async {
        serve(&DIRECTORY, rows.new_limit).await;
        export(&DIRECTORY);
    });
});

#[derive(Debug, Arbitrary)]
struct Rows {
    logs: BTreeMap<Number, LogRow>,
    blocks: BTreeMap<Number, BlockRow>,
    new_limit: u8,
}

/// Small as most are, or any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Arbitrary)]
enum Number {
    Small(u8),
    Any(i64),
}

impl Number {
    fn get(self) -> i64 {
        match self {
            Self::Small(number) => number.into(),
            Self::Any(number) => number,
        }
    }
}

#[derive(Debug, Arbitrary)]
struct LogRow {
    is_message: bool,
    id: u8,
    epoch: Number,
    first: Number,
    reserved: Number,
    counters: [Number; 5],
    complete: bool,
}

#[derive(Debug, Arbitrary)]
struct BlockRow {
    log: Number,
    first: Number,
    next: Number,
    times: (Number, Number),
    data: Vec<u8>,
}

impl Rows {
    fn write(&self, directory: &Path) -> rusqlite::Result<()> {
        let mut connection = Connection::open(directory.join("rollcall.db"))?;
        let transaction = connection.transaction()?;
        for (number, log) in &self.logs {
            let number = number.get();
            let kind = if log.is_message { "message" } else { "membership" };
            transaction.execute(
                "INSERT OR REPLACE INTO owners VALUES (?1, ?2, ?3, '{}')",
                params![number, kind, log.id.to_string()],
            )?;
            let [appended, bytes, evicted, truncated, lost] = log.counters.map(Number::get);
            transaction.execute(
                "INSERT OR REPLACE INTO logs VALUES (?1, '', ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                params![
                    number,
                    log.epoch.get(),
                    log.first.get(),
                    log.reserved.get(),
                    appended,
                    bytes,
                    evicted,
                    truncated,
                    lost,
                    log.complete
                ],
            )?;
        }
        for (row, block) in &self.blocks {
            let (since, until) = block.times;
            transaction.execute(
                "INSERT OR REPLACE INTO blocks VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    row.get(),
                    block.log.get(),
                    block.first.get(),
                    block.next.get(),
                    since.get(),
                    until.get(),
                    block.data
                ],
            )?;
        }
        transaction.commit()
    }
}

/// As a service that starts, hears something, and stops.
async fn serve(directory: &Path, new_limit: u8) {
    let (store, saved) = match Store::open(&settings(directory), budget()) {
        Ok(opened) => opened,
        Err(DiskError::Damaged { .. }) => return,
        Err(fault) => panic!("{fault}"),
    };
    let owner: Arc<dyn Persist> = Arc::new(Owner);
    let limits = Limits { entries: u64::MAX, bytes: usize::MAX, age: None };
    let mut logs = Vec::new();
    for saved in saved {
        let log = Arc::new(Log::restored(limits, budget(), saved.handle, &saved.log));
        log.persist(&saved.kind, &saved.id, Arc::downgrade(&owner), false);
        read(&log).await;
        let address = ([192, 0, 2, 1], 1).into();
        let metadata = DatagramMeta {
            received_at: Timestamp(0),
            source: address,
            destination: address,
            interface: "lo",
            hop_limit: None,
            truncated: false,
        };
        log.append([RecordBatch { metadata, response: None, segment: None, bytes: b"new" }]);
        log.set_limits(Limits { entries: new_limit.into(), ..limits });
        read(&log).await;
        logs.push(log);
    }
    // A database that was made by hand may refuse what is written. If the writer panics, the process ends, which
    // libFuzzer reports.
    let _ = store.close().await;
}

/// All that is in it, to its end.
async fn read(log: &Log) {
    let mut after = None;
    // Each page is a datagram at least, or a gap.
    for _ in 0..1_000 {
        let Ok(page) = log.read(after, 1_000, ReadRange::ALL).await else { return };
        assert_eq!(page.entries().count(), page.len());
        if page.is_empty() && page.gap.is_none() {
            break;
        }
        after = Some(page.next);
    }
    let _ = (log.counters().kept(), log.latest());
}

fn export(directory: &Path) {
    let Ok((mut archive, logs)) = Archive::open(directory) else { return };
    for log in &logs {
        let _ = (log.datagrams(), log.bytes());
        let _ = archive.span(log);
        for page in archive.pages(log, |_, _| true).take(1_000) {
            let Ok(page) = page else { break };
            assert_eq!(page.entries().count(), page.len());
        }
    }
}

struct Owner;

impl Persist for Owner {
    fn spec(&self) -> String {
        "{}".to_owned()
    }

    fn status(&self) -> String {
        String::new()
    }
}

/// A database of the first layout with nothing in it.
struct Template {
    database: PathBuf,
}

static TEMPLATE: LazyLock<Template> = LazyLock::new(|| {
    let database = scratch("template").join("rollcall.db");
    let layout = include_str!("../../store/first_layout.sql");
    let created = Connection::open(&database).and_then(|database| {
        database.execute_batch(layout)?;
        database.execute_batch("DELETE FROM owners; DELETE FROM logs; DELETE FROM blocks")
    });
    created.expect("a new database");
    Template { database }
});
static DIRECTORY: LazyLock<PathBuf> = LazyLock::new(|| scratch("data"));
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
});

/// In memory, where there is room for files there.
fn scratch(name: &str) -> PathBuf {
    let memory = Path::new("/dev/shm");
    let root = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let path = root.join(format!("rollcall-fuzz-{}", std::process::id())).join(name);
    std::fs::create_dir_all(&path).expect("a directory");
    path
}

fn settings(directory: &Path) -> StoreSettings {
    StoreSettings { directory: directory.to_owned(), flush: Duration::from_hours(1), memory_bytes: 1 << 20 }
}

fn budget() -> Arc<Budget> {
    Arc::new(Budget::new(usize::MAX, Some(usize::MAX)))
}
