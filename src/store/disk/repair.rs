//! Checks a database that no service uses, and repairs it.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::directory::Directory;
use super::error::DiskError;
use super::files::{self, beside, remove_beside};
use super::loading::{self, Damage, FoundRows, LoadedDatabase, LoadedResource};
use super::migration;
use super::replacement::Replacement;
use super::salvage::{self, Salvaged};
use super::schema::{self, Layout};
use super::snapshot_reader::SnapshotReader;
use super::tables::owners::OwnerRow;
use super::tables::{blocks, logs, owners};

/// What a data directory has, and what is damaged there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckReport {
    /// The memberships, responders and messages that a service restores.
    pub resources: usize,
    /// The datagrams in their logs.
    pub datagrams: u64,
    /// What is damaged, one sentence each; empty if the database is sound.
    pub findings: Vec<String>,
    /// Memberships, responders and messages whose logs are there, but whose specifications an earlier repair could not
    /// keep.
    pub without_spec: Vec<String>,
    /// Where the repair has left the damaged database; none if nothing was repaired.
    pub damaged_copy: Option<PathBuf>,
}

/// Reads all of a data directory that no service uses, and compares it with its checksums.
pub fn check(directory: &Path) -> Result<CheckReport, DiskError> {
    report(&Directory::existing(directory)?)
}

/// The same, and if something is damaged, writes all that is good to a new database. The damaged one stays beside it.
pub fn repair(directory: &Path) -> Result<CheckReport, DiskError> {
    let directory = Directory::existing(directory)?;
    let (mut findings, mut damaged_copy) = (Vec::new(), None);
    if has_first_layout(&directory)? {
        let migrated = migration::migrate(&directory.database());
        if let Some((copy, set_aside)) = migrated.map_err(|error| hopeless(&directory, error))? {
            (findings, damaged_copy) = (set_aside, Some(copy));
        }
    }
    let before = report(&directory)?;
    if !before.findings.is_empty() {
        findings.extend(before.findings);
        damaged_copy = Some(rebuild(&directory)?.0);
    }
    // What is really kept.
    let CheckReport { resources, datagrams, without_spec, .. } = report(&directory)?;
    Ok(CheckReport { resources, datagrams, findings, without_spec, damaged_copy })
}

/// Replaces a damaged database by one with all rows that are good; returns where the damaged one is now, and how many
/// blocks were damaged. Fails if no row is good.
pub(super) fn rebuild(directory: &Directory) -> Result<(PathBuf, usize), DiskError> {
    let database = &*directory.database();
    let failed = |error| DiskError::of_sqlite(database, &error);
    let replacement = Replacement::begin(database)?;
    let rows = copy_good(database, &replacement.connection)?;
    if !has_good(&rows) {
        return Err(hopeless(directory, DiskError::damaged(database, &"no row in it is good")));
    }
    let LoadedDatabase { logs, set_aside, damage, superseded, orphans, .. } = loading::assemble(rows);
    for number in superseded {
        logs::delete(&replacement.connection, number).map_err(failed)?;
        owners::delete(&replacement.connection, number).map_err(failed)?;
    }
    for log in logs.iter().filter(|log| log.is_rebuilt) {
        logs::put(&replacement.connection, &log.row).map_err(failed)?;
    }
    for LoadedResource { row, .. } in set_aside {
        let owner = OwnerRow { log: row.number, kind: row.kind, id: row.id, spec: String::new() };
        owners::put(&replacement.connection, &owner).map_err(failed)?;
    }
    for row in damage.blocks.iter().chain(&orphans) {
        blocks::delete(&replacement.connection, *row).map_err(failed)?;
    }
    let copy = files::free_copy(database);
    replacement.finish(|| {
        // Readers may have seen numbers that were reserved in rows that are gone. If the process ends here, the next
        // start skips numbers for nothing.
        directory.mark(true)?;
        directory.journal_marker().note_empty();
        for suffix in ["-wal", ""] {
            match std::fs::rename(beside(database, suffix), beside(&copy, suffix)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        remove_beside(database)
    })?;
    Ok((copy, damage.blocks.len()))
}

/// The error of a damaged database of which nothing can be read.
pub(super) fn hopeless(directory: &Directory, error: DiskError) -> DiskError {
    match error {
        _ if directory.has_vanished() => directory.vanished(),
        DiskError::Damaged { path, .. } if schema::examine_header(&path).is_err() => DiskError::Foreign(path),
        DiskError::Damaged { path, detail } => DiskError::Unreadable { path, detail },
        error => error,
    }
}

/// Whether any row of a database that `SQLite` does not recognise is good, so that it is one of ours.
pub(super) fn is_ours(database: &Path) -> bool {
    salvage::read(database, true, |_, _| Ok(())).is_ok_and(|found| has_good(&found.rows))
}

fn has_good(rows: &FoundRows) -> bool {
    rows.owners.iter().any(|owner| owner.row.is_some())
        || rows.logs.iter().any(|log| log.row.is_some())
        || rows.blocks.iter().any(|block| block.row.is_some())
}

/// Copies all rows that are good.
pub(super) fn copy_good(database: &Path, target: &Connection) -> Result<FoundRows, DiskError> {
    let failed = |error| DiskError::of_sqlite(database, &error);
    let mut refused = None;
    let salvaged = salvage::read(database, true, |row, data| {
        blocks::put_row(target, row, data).map_err(|error| {
            refused = Some(error);
            io::Error::other("the block cannot be written")
        })
    });
    if let Some(error) = refused {
        return Err(failed(error));
    }
    let rows = salvaged.map_err(|error| DiskError::of_files(database, &error))?.rows;
    let mut owners = rows.owners.iter().filter_map(|owner| owner.row.as_ref());
    owners.try_for_each(|owner| owners::put(target, owner)).map_err(failed)?;
    let mut logs = rows.logs.iter().filter_map(|log| log.row.as_ref());
    logs.try_for_each(|log| logs::put(target, log)).map_err(failed)?;
    Ok(rows)
}

fn report(directory: &Directory) -> Result<CheckReport, DiskError> {
    let database = &*directory.database();
    let examined = directory.examine();
    let structure = match examined.clone() {
        Ok(_) => structure(database)?,
        Err(error) if directory.has_vanished() && !is_ours(database) => {
            return Err(hopeless(directory, error));
        }
        Err(DiskError::Damaged { path, detail }) => vec![format!("{} is damaged: {detail}", path.display())],
        Err(error) => return Err(error),
    };
    let Salvaged { rows, unknown } = salvage::read(database, examined.is_err(), |_, _| Ok(()))
        .map_err(|error| DiskError::of_files(database, &error))?;
    let LoadedDatabase { logs, set_aside, damage, .. } = loading::assemble(rows);
    let mut findings = structure;
    let Damage { set_aside: owners, replaced, without_spec, rebuilt, blocks } = damage;
    findings.extend(
        owners
            .iter()
            .map(|owner| format!("{owner} is damaged: a service sets it aside, and does not restore it")),
    );
    findings.extend(replaced.iter().map(|(owner, datagrams)| {
        format!("{owner} was damaged and is created again: a repair leaves the {datagrams} datagrams of its earlier log in the damaged database alone")
    }));
    findings
        .extend(rebuilt.iter().map(|owner| format!("the status and the counters of {owner} are damaged")));
    findings
        .extend(blocks.iter().map(|row| format!("block {row} of a log is damaged: its datagrams are lost")));
    if unknown > 0 {
        findings.push(format!("{unknown} rows cannot be read"));
    }
    let all = logs.iter().chain(&set_aside);
    let datagrams = all.map(|log| log.log.datagrams()).sum();
    Ok(CheckReport { resources: logs.len(), datagrams, findings, without_spec, damaged_copy: None })
}

fn has_first_layout(directory: &Directory) -> Result<bool, DiskError> {
    let database = &*directory.database();
    let layout = directory.examine().and_then(|_| {
        let mut reader = SnapshotReader::open(database)?;
        schema::layout(reader.connection()?, database)
    });
    match layout {
        Err(DiskError::Damaged { .. } | DiskError::Foreign(_)) => Ok(false),
        layout => Ok(layout? == Layout::First),
    }
}

/// What `SQLite` finds wrong with the pages of the database.
fn structure(database: &Path) -> Result<Vec<String>, DiskError> {
    const MAX_FINDINGS: usize = 20;
    let broken = |error: &dyn std::fmt::Display| vec![format!("SQLite cannot read the database: {error}")];
    let mut reader = match SnapshotReader::open(database) {
        Ok(reader) => reader,
        Err(error @ (DiskError::Damaged { .. } | DiskError::Foreign(_))) => return Ok(broken(&error)),
        Err(error) => return Err(error),
    };
    let connection = reader.connection()?;
    match schema::layout(connection, database) {
        Ok(Layout::Current) => {}
        Ok(Layout::First) => {
            return Err(DiskError::other(
                database,
                &"an earlier rollcall wrote it, without checksums: `rollcall check --repair` adds them, and so does a start of the service",
            ));
        }
        Ok(Layout::None) => return Ok(vec!["the database has no tables".to_owned()]),
        Err(error @ (DiskError::Damaged { .. } | DiskError::Foreign(_))) => return Ok(broken(&error)),
        Err(error) => return Err(error),
    }
    let check = || {
        let mut check = connection.prepare(&format!("PRAGMA integrity_check({MAX_FINDINGS})"))?;
        check.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()
    };
    Ok(match check() {
        Ok(lines) => {
            let lines = lines.into_iter().filter(|line| line != "ok");
            lines.map(|line| format!("SQLite finds the database damaged: {line}")).collect()
        }
        Err(error) => broken(&error),
    })
}
