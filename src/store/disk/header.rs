//! The bytes of the database's header that never change (<https://www.sqlite.org/fileformat.html>, section 1.3).
//!
//! `SQLite` takes some of them for what another program or a later version of its own has written, and one for a page
//! size at which it finds no rows.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::error::DiskError;
use super::schema::{APPLICATION, PAGE_BYTES};

/// An error says what is damaged, unless the database is none of ours.
pub(super) fn examine(database: &Path) -> Result<(), DiskError> {
    const LENGTH: usize = 100;
    let mut header = [0; LENGTH];
    let is_read = File::open(database).is_ok_and(|file| file.read_exact_at(&mut header, 0).is_ok());
    if !is_read {
        return Ok(());
    }
    let page = u16::try_from(PAGE_BYTES).unwrap_or_default().to_be_bytes();
    // Until the first checkpoint, the identifier is in the WAL alone.
    let application = [[0; 4], APPLICATION.to_be_bytes()];
    let is_sound = header[..16] == *b"SQLite format 3\0"
        && header[16..18] == page
        && matches!(header[18..20], [1, 1] | [2, 2])
        && header[20..24] == [0, 64, 32, 32]
        && application.iter().any(|known| header[68..72] == *known);
    if is_sound {
        Ok(())
    } else {
        Err(DiskError::damaged(database, &"its first bytes are not those of a database of rollcall"))
    }
}
