//! Which file is at a path: another one may take its place.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// The device and the inode of a file, which identify it as long as it exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileIdentity {
    device: u64,
    inode: u64,
}

impl FileIdentity {
    pub(crate) fn of(file: &Metadata) -> Self {
        Self { device: file.dev(), inode: file.ino() }
    }

    /// Whether `DEVICE:INODE`, in decimal, names this file, as in `JOURNAL_STREAM` (systemd.exec(5)).
    pub(crate) fn is_stream(&self, text: &str) -> bool {
        text == format!("{}:{}", self.device, self.inode)
    }
}
