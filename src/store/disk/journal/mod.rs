//! `SQLite`'s own log (the WAL): what of it a service has written, and whether that is still there.
//!
//! `SQLite` takes the first frame that is not good for the end, as after a crash. So the service notes in the directory's
//! mark how far its transactions reach, and each start, check and export compares the WAL with it.

mod frames;
mod marker;

use std::path::Path;

pub(super) use frames::{Journal, be};
pub(super) use marker::{JournalMark, JournalMarker};

use super::error::DiskError;
use super::files::beside;

/// The state of a WAL that no service uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct JournalState {
    /// Its last transactions are missing, as after a power failure.
    pub(super) is_cut_by_power: bool,
    /// A transaction that was not completed is at its end: those frames count for nothing.
    pub(super) has_leftovers: bool,
}

/// Compares the WAL of a database with the mark that a service left; an error says what is damaged.
pub(super) fn examine(database: &Path, mark: Option<&JournalMark>) -> Result<JournalState, DiskError> {
    let path = beside(database, "-wal");
    let damaged = |detail: &str| Err(DiskError::damaged(&path, &detail));
    let journal = Journal::read(&path).map_err(|error| DiskError::of_files(&path, &error))?;
    let mark = mark.filter(|mark| mark.frames > 0);
    let lost = "it ends before the last transaction that the service wrote";
    let mut is_cut = false;
    match (&journal, mark) {
        (None, Some(mark)) if mark.is_of_this_boot() => {
            return damaged("it is missing or empty, although the service was using it");
        }
        (None, mark) => is_cut = mark.is_some(),
        (Some(Journal { header: None, .. }), _) => return damaged("its header is damaged"),
        (Some(journal @ Journal { header: Some(header), .. }), mark) => {
            if let Some(frame) = journal.damaged_frame() {
                return damaged(&format!("its frame {frame} is damaged"));
            }
            if let Some(mark) = mark {
                let is_same = header.checkpoints == mark.header.checkpoints;
                is_cut = header.checkpoints < mark.header.checkpoints
                    || is_same && (header.salts != mark.header.salts || journal.committed() < mark.frames);
                if is_cut && mark.is_of_this_boot() {
                    return damaged(lost);
                }
            }
        }
    }
    let has_leftovers = journal.is_some_and(|journal| journal.is_broken());
    Ok(JournalState { is_cut_by_power: is_cut, has_leftovers })
}
