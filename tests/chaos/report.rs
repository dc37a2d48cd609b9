//! The record of operations and violations.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::sync::{Mutex, MutexGuard};

use super::service::Footprint;

/// How many violations of a kind are shown.
const SHOWN: usize = 5;
/// After this many violations, the test ends.
const ENOUGH: usize = 300;

#[derive(Default)]
pub(super) struct Report(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    operations: BTreeMap<&'static str, u64>,
    responses: BTreeMap<u16, u64>,
    datagrams: u64,
    checks: u64,
    violations: BTreeMap<&'static str, Vec<Violation>>,
}

struct Violation {
    /// Of the operation, or of the last one before it was found out.
    index: u64,
    detail: String,
}

impl Report {
    pub(super) fn operation(&self, kind: &'static str) {
        *self.counts().operations.entry(kind).or_default() += 1;
    }

    pub(super) fn response(&self, status: u16) {
        *self.counts().responses.entry(status).or_default() += 1;
    }

    pub(super) fn sent(&self, datagrams: u64) {
        self.counts().datagrams += datagrams;
    }

    pub(super) fn check(&self) {
        self.counts().checks += 1;
    }

    pub(super) fn violation(&self, kind: &'static str, index: u64, detail: impl Into<String>) {
        let detail = detail.into();
        self.counts().violations.entry(kind).or_default().push(Violation { index, detail });
    }

    /// Records the violation that a check has found, if any.
    pub(super) fn expect(&self, kind: &'static str, index: u64, outcome: Result<(), String>) {
        self.check();
        if let Err(detail) = outcome {
            self.violation(kind, index, detail);
        }
    }

    pub(super) fn violations(&self) -> usize {
        self.counts().violations.values().map(Vec::len).sum()
    }

    /// The phases that they are of, the first few.
    pub(super) fn phases(&self) -> Vec<u64> {
        const SHOWN: usize = 3;
        let counts = self.counts();
        let phases = counts.violations.values().flatten().map(|violation| violation.index / 1_000);
        phases.collect::<BTreeSet<_>>().into_iter().take(SHOWN).collect()
    }

    pub(super) fn is_hopeless(&self) -> bool {
        self.violations() >= ENOUGH
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().expect("no panic")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.counts();
        let list = |entries: &mut dyn Iterator<Item = (String, u64)>| {
            entries.fold(String::new(), |mut list, (name, count)| {
                let _ = write!(list, " {name} {count}");
                list
            })
        };
        let operations = counts.operations.iter().map(|(kind, count)| ((*kind).to_owned(), *count));
        let responses = counts.responses.iter().map(|(status, count)| (status.to_string(), *count));
        writeln!(f, "  operations:{}", list(&mut operations.into_iter()))?;
        writeln!(f, "  answers by status:{}", list(&mut responses.into_iter()))?;
        writeln!(f, "  datagrams sent: {}, checks: {}", counts.datagrams, counts.checks)?;
        let all: usize = counts.violations.values().map(Vec::len).sum();
        writeln!(f, "  violations: {all}")?;
        for (kind, violations) in &counts.violations {
            writeln!(f, "    {kind}: {}", violations.len())?;
            for violation in violations.iter().take(SHOWN) {
                writeln!(f, "      operation {}: {}", violation.index, violation.detail)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Footprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resident_kib, sockets, files, threads } = self;
        let descriptors = sockets + files;
        write!(
            f,
            "{resident_kib} KiB resident, {threads} threads, {descriptors} descriptors ({sockets} sockets)"
        )
    }
}
