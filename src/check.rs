//! `rollcall check`: compares a data directory with its checksums, and repairs it.

use std::path::PathBuf;

use clap::Args;

use crate::store::{self, CheckReport, DiskError};

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

/// Checks the directory, and prints what it has.
pub fn run(args: &CheckArgs) -> Result<Verdict, DiskError> {
    let report = if args.repair { store::repair(&args.directory) } else { store::check(&args.directory) };
    let CheckReport { resources, datagrams, findings, without_spec, damaged_copy } = report?;
    let content = format!("resources: {resources}, datagrams: {datagrams}");
    for owner in without_spec {
        println!(
            "{owner} is set aside: a repair could not keep its specification; `rollcall export` has its log"
        );
    }
    if findings.is_empty() {
        println!("no damage found; {content}");
        return Ok(Verdict::Sound);
    }
    let findings = findings.join("\n");
    let Some(copy) = damaged_copy else {
        println!("damaged; good are: {content}");
        return Ok(Verdict::Damaged(findings + "\n`--repair` keeps all that is good"));
    };
    println!("{findings}\nrepaired; kept are: {content}; the damaged database is {}", copy.display());
    Ok(Verdict::Sound)
}
