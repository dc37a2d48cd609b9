//! Databases with random damage: nothing wrong is served, and all that is good is exported.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use rollcall::store::{Archive, DiskError, Log, Persist, Store, check, repair};
use rusqlite::Connection;

use super::{AMPLE, append, budget, crashed, open, read_all, settings, when_free};
use crate::support::program::Scratch;

const PAGE: usize = 16 * 1024;
const OWNERS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// What each owner was, and the payloads of its log by their numbers.
type Written = BTreeMap<String, (String, BTreeMap<u64, Vec<u8>>)>;

struct Described(String);

impl Persist for Described {
    fn spec(&self) -> String {
        self.0.clone()
    }

    fn status(&self) -> String {
        format!("status of {}", self.0)
    }
}

/// Owners with logs of several blocks, some of which have been deleted. Without `closed`, as a crash leaves them.
async fn written(scratch: &Scratch, closed: bool) -> Written {
    let (store, _) = open(&scratch.path("data"));
    let mut written = Written::new();
    let mut kept = Vec::new();
    for (nth, id) in OWNERS.into_iter().chain(["deleted"]).enumerate() {
        let owner = Arc::new(Described(format!("spec of {id}: {}", "x".repeat(nth * 400))));
        let log = Arc::new(Log::new(AMPLE, budget(), Some(store.new_handle())));
        let weak = Arc::downgrade(&owner) as Weak<dyn Persist>;
        log.persist("membership", id, weak, true);
        let payloads: BTreeMap<_, _> = (1..=9).map(|number| (number, payload(id, number))).collect();
        for payload in payloads.values() {
            append(&log, [&payload[..]]);
            // Each into a block of its own, or after some others.
            if payload.len() > 4_000 {
                store.flushed().await.expect("it is written");
            }
        }
        if id == "deleted" {
            store.flushed().await.expect("it is written");
            log.close();
        }
        // Where the journal is lost, the deletion is, too.
        written.insert(id.to_owned(), (owner.spec(), payloads));
        kept.push((owner, log));
    }
    store.flushed().await.expect("it is written");
    if closed {
        store.close().await.expect("it is closed");
    } else {
        crashed(scratch, "rollcall.db");
    }
    written
}

fn payload(id: &str, number: u64) -> Vec<u8> {
    let length = [40, 6_000, 900, 20_000, 10][usize::try_from(number).expect("few") % 5];
    format!("{id}{number};").into_bytes().into_iter().cycle().take(length).collect()
}

/// The damage that a seed stands for.
#[derive(Debug, Clone, Copy)]
enum Damage {
    Flips(usize),
    Noise(usize),
    ZeroedPage,
    CutShort,
    JournalNoise,
    JournalCut,
    NoJournal,
    NoLock,
    Empty,
    NoDatabase,
}

impl Damage {
    fn of(seed: u64) -> Self {
        match seed % 20 {
            0..=5 => Self::Flips(1),
            6 | 7 => Self::Flips(8),
            8..=10 => Self::Noise(300),
            11..=13 => Self::ZeroedPage,
            14 => Self::CutShort,
            15 => Self::JournalNoise,
            16 => Self::JournalCut,
            17 => Self::NoJournal,
            18 => Self::NoLock,
            _ if seed % 40 < 20 => Self::Empty,
            _ => Self::NoDatabase,
        }
    }

    fn needs_journal(self) -> bool {
        matches!(self, Self::JournalNoise | Self::JournalCut | Self::NoJournal)
    }

    fn inflict(self, directory: &Path, random: &mut fastrand::Rng) {
        let [database, journal, lock] =
            ["rollcall.db", "rollcall.db-wal", "lock"].map(|name| directory.join(name));
        let mut change = |path: &Path, change: &mut dyn FnMut(&mut Vec<u8>, &mut fastrand::Rng)| {
            let mut bytes = fs::read(path).expect("it is there");
            change(&mut bytes, random);
            fs::write(path, bytes).expect("it can be written");
        };
        let noise = |length: usize| {
            move |bytes: &mut Vec<u8>, random: &mut fastrand::Rng| {
                let at = random.usize(..bytes.len() - length);
                random.fill(&mut bytes[at..at + length]);
            }
        };
        match self {
            Self::Flips(count) => change(&database, &mut |bytes, random| {
                for _ in 0..count {
                    let at = random.usize(..bytes.len());
                    bytes[at] ^= 1 << random.u8(..8);
                }
            }),
            Self::Noise(length) => change(&database, &mut noise(length)),
            Self::ZeroedPage => change(&database, &mut |bytes, random| {
                let at = random.usize(..bytes.len() / PAGE) * PAGE;
                bytes[at..at + PAGE].fill(0);
            }),
            Self::CutShort => change(&database, &mut |bytes, random| {
                bytes.truncate(random.usize(bytes.len() / 3..bytes.len()));
            }),
            Self::JournalNoise => change(&journal, &mut noise(5_000)),
            Self::JournalCut => change(&journal, &mut |bytes, random| {
                bytes.truncate(random.usize(..bytes.len()));
            }),
            Self::NoJournal => fs::remove_file(journal).expect("it is there"),
            Self::NoLock => fs::remove_file(lock).expect("it is there"),
            Self::Empty => fs::write(database, "").expect("it can be written"),
            Self::NoDatabase => fs::remove_file(database).expect("it is there"),
        }
    }
}

/// The pages of the rows of a table, by the rows' numbers; the first is the leaf that has the row.
fn pages_of_rows(database: &Connection, table: &str, key: &str) -> BTreeMap<i64, BTreeSet<usize>> {
    let mut numbers =
        database.prepare(&format!("SELECT {key} FROM {table} ORDER BY {key}")).expect("a table");
    let mut numbers = numbers.query_map([], |row| row.get::<_, i64>(0)).expect("rows");
    let pages = "SELECT pageno, path, pagetype, ncell FROM dbstat WHERE name = ?1 ORDER BY path";
    let mut pages = database.prepare(pages).expect("dbstat");
    let pages = pages.query_map([table], |row| {
        Ok((
            row.get::<_, u32>(0)? as usize,
            row.get::<_, String>(1)?,
            row.get::<_, String>(2)?,
            row.get::<_, u32>(3)?,
        ))
    });
    let pages: Vec<_> = pages.expect("pages").map(|page| page.expect("a page")).collect();
    let mut found = BTreeMap::new();
    for (leaf, path, _, cells) in pages.iter().filter(|(_, _, kind, _)| kind == "leaf") {
        for cell in 0..*cells {
            let overflow = format!("{path}{cell:03x}+");
            let further = pages.iter().filter(|(_, path, ..)| path.starts_with(&overflow)).map(|page| page.0);
            let row = numbers.next().expect("a row for each cell").expect("a number");
            found.insert(row, further.chain([*leaf]).collect());
        }
    }
    found
}

/// The datagrams that must be exported: their blocks are whole, and so is a row that names their log.
fn good(template: &Path, damaged: &Path) -> BTreeSet<(String, u64)> {
    let [before, after] =
        [template, damaged].map(|path| fs::read(path.join("rollcall.db")).expect("a database"));
    let is_whole = |page: &usize| {
        let range = (page - 1) * PAGE..page * PAGE;
        after.get(range.clone()) == Some(&before[range])
    };
    let database = Connection::open(template.join("rollcall.db")).expect("a database");
    let whole = |table, key| {
        let rows = pages_of_rows(&database, table, key).into_iter();
        rows.filter(|(_, pages)| pages.iter().all(is_whole)).map(|(row, _)| row).collect::<BTreeSet<_>>()
    };
    let (owners, logs, blocks) = (whole("owners", "log"), whole("logs", "number"), whole("blocks", "row"));
    let mut rows = database
        .prepare("SELECT row, log, id, first, next FROM blocks JOIN owners USING (log)")
        .expect("rows");
    let rows = rows.query_map([], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get(2)?, row.get(3)?, row.get::<_, u32>(4)?))
    });
    let mut good = BTreeSet::new();
    for row in rows.expect("rows") {
        let (row, log, id, first, next): (_, _, String, u32, _) = row.expect("a row");
        if blocks.contains(&row) && (owners.contains(&log) || logs.contains(&log)) {
            good.extend((first..next).map(|number| (id.clone(), number.into())));
        }
    }
    good
}

/// All that an export of the directory has; none if it is refused.
fn exported(directory: &Path, written: &Written) -> Option<BTreeSet<(String, u64)>> {
    let (mut archive, logs) = match Archive::open(directory) {
        Ok(opened) => opened,
        Err(error) => {
            assert_is_explained(&error);
            return None;
        }
    };
    let mut found = BTreeSet::new();
    for log in &logs {
        if let Some(spec) = archive.spec(log).expect("it can be asked") {
            assert!(spec.is_empty() || spec == written[&log.id].0, "{spec}");
        }
        for page in archive.pages(log, |_, _| true) {
            for entry in page.expect("a page").entries() {
                assert_eq!(entry.payload, written[&log.id].1[&entry.sequence], "{}", log.id);
                assert!(found.insert((log.id.clone(), entry.sequence)), "twice");
            }
        }
    }
    Some(found)
}

fn assert_is_explained(error: &DiskError) {
    let text = error.to_string();
    assert!(text.contains("rollcall.db") || text.contains("is not the data directory"), "{text}");
    let bare = ["database disk image is malformed", "file is not a database", "disk I/O error"];
    assert!(!bare.iter().any(|bare| text.ends_with(bare)), "{text}");
}

/// Starts a store on the directory, and compares all that it serves with what was written.
async fn served(directory: &Path, written: &Written) -> Result<(), DiskError> {
    let (store, saved) = when_free(|| Store::open(&settings(directory), budget()))?;
    let mut logs = Vec::new();
    for saved in saved {
        let id = saved.id.clone();
        assert_eq!(saved.spec, written[&id].0);
        assert!(saved.status.is_empty() || saved.status == format!("status of {}", saved.spec));
        let log = Arc::new(Log::restored(AMPLE, budget(), saved.handle, &saved.log));
        let owner = Arc::new(Described(saved.spec));
        let weak = Arc::downgrade(&owner) as Weak<dyn Persist>;
        log.persist("membership", &id, weak, false);
        let mut last = 0;
        for (number, payload) in read_all(&log, None).await.0 {
            assert_eq!(payload, written[&id].1[&number], "{id}");
            last = number;
        }
        append(&log, [b"new" as &[u8]]);
        assert!(log.next_sequence() > last + 1);
        logs.push((owner, log));
    }
    // A table that is damaged where a start does not look fails the first write.
    match store.flushed().await {
        Ok(()) | Err(DiskError::Damaged { .. }) => {}
        Err(error) => panic!("{error}"),
    }
    let _ = store.close().await;
    Ok(())
}

fn copied(template: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir(to).expect("a new directory");
    for name in ["rollcall.db", "rollcall.db-wal", "lock"] {
        let _ = fs::copy(template.join(name), to.join(name));
    }
}

#[tokio::test]
async fn no_damage_has_a_wrong_byte_served_or_keeps_the_good_from_starting() {
    let [closed, running] = [Scratch::new(), Scratch::new()];
    let written_all = written(&closed, true).await;
    assert_eq!(written(&running, false).await, written_all);
    let templates: [PathBuf; 2] = [closed.path("data"), running.path("copy")];
    let scratch = Scratch::new();
    let (damaged, again) = (scratch.path("damaged"), scratch.path("again"));
    for seed in 0..200 {
        let damage = Damage::of(seed);
        let has_journal = damage.needs_journal() || seed % 3 == 0;
        let template = &templates[usize::from(has_journal)];
        copied(template, &damaged);
        damage.inflict(&damaged, &mut fastrand::Rng::with_seed(seed));
        let context = format!("seed {seed}: {damage:?}, journal: {has_journal}");
        println!("{context}");
        // Before the first checkpoint, all is in the journal, and the database has one page.
        let vanished = matches!(damage, Damage::Empty | Damage::NoDatabase)
            || damage.needs_journal()
            || matches!(damage, Damage::CutShort) && has_journal;

        let found = exported(&damaged, &written_all);
        let good = if has_journal || vanished { BTreeSet::new() } else { good(template, &damaged) };
        let none_is_good = matches!(damage, Damage::CutShort) && good.is_empty();
        match found {
            Some(found) => {
                let missing: Vec<_> = good.difference(&found).collect();
                assert!(missing.is_empty(), "{context}: {missing:?} are good and were not exported");
            }
            None => assert!(vanished || none_is_good, "{context}: nothing is exported"),
        }
        copied(&damaged, &again);
        match when_free(|| repair(&again)) {
            Ok(_) => {
                assert_eq!(
                    when_free(|| check(&again)).expect("it was repaired").findings,
                    [""; 0],
                    "{context}"
                );
                served(&again, &written_all).await.unwrap_or_else(|error| panic!("{context}: {error}"));
            }
            Err(error) => {
                assert!(vanished || none_is_good, "{context}: {error}");
                assert_is_explained(&error);
            }
        }
        match served(&damaged, &written_all).await {
            Ok(()) => {}
            Err(DiskError::Vanished { .. } | DiskError::Unreadable { .. }) if vanished => {}
            Err(DiskError::Unreadable { .. } | DiskError::Foreign(_)) if none_is_good => {}
            Err(error) => panic!("{context}: {error}"),
        }
    }
}
