//! `rollcall check`: compares a data directory with its checksums, and repairs it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::control::saved_group;
use crate::store::{self, Archive, CheckReport, DiskError};

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The data directory. No service may use it.
    #[arg(value_name = "DATA_DIR")]
    directory: PathBuf,
    /// If something is damaged, write all that is good to a new database, and keep the damaged one beside it.
    #[arg(long)]
    repair: bool,
}

/// The result of a check of a data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Sound,
    /// Something is damaged and not repaired: what it is, a line each.
    Damaged(String),
}

/// Checks the directory. Also returns what to print: what it has, a line each.
pub fn run(args: &CheckArgs) -> Result<(Verdict, String), DiskError> {
    let report = if args.repair { store::repair(&args.directory) } else { store::check(&args.directory) };
    let CheckReport { resources, datagrams, findings, without_spec, damaged_copy } = report?;
    let content = format!("resources: {resources}, datagrams: {datagrams}");
    let mut printed = String::new();
    for owner in without_spec {
        let _ = writeln!(
            printed,
            "{owner} is set aside: a repair could not keep its specification; `rollcall export` has its log"
        );
    }
    let unrestorable = if findings.is_empty() { unrestorable(&args.directory)? } else { Vec::new() };
    if !unrestorable.is_empty() {
        let _ = writeln!(printed, "damaged; good are: {content}");
        return Ok((Verdict::Damaged(unrestorable.join("\n")), printed));
    }
    if findings.is_empty() {
        let _ = writeln!(printed, "no damage found; {content}");
        return Ok((Verdict::Sound, printed));
    }
    let findings = findings.join("\n");
    let Some(copy) = damaged_copy else {
        let _ = writeln!(printed, "damaged; good are: {content}");
        let advice = if resources == 0 && datagrams == 0 {
            "nothing in it can be read: put a copy back"
        } else {
            "`--repair` keeps all that is good"
        };
        return Ok((Verdict::Damaged(format!("{findings}\n{advice}")), printed));
    };
    let copy = copy.display();
    let _ = writeln!(printed, "{findings}\nrepaired; kept are: {content}; the damaged database is {copy}");
    Ok((Verdict::Sound, printed))
}

/// What no service can restore although its row is as it was written: it was damaged before rows had checksums.
fn unrestorable(directory: &Path) -> Result<Vec<String>, DiskError> {
    let (mut archive, logs) = Archive::open(directory)?;
    let mut found = Vec::new();
    for log in logs.iter().filter(|log| !log.is_set_aside()) {
        let spec = archive.spec(log)?.unwrap_or_default();
        if let Err(error) = saved_group(&spec) {
            found.push(format!(
                "{} `{}` cannot be restored ({error}): a service sets it aside; `rollcall export` has its log, and creating it again replaces it",
                log.kind, log.id
            ));
        }
    }
    Ok(found)
}
