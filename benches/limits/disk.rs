//! Where the store is measured: on a disk, beside plain writes to the same.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// A directory under `target/`, removed when dropped.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("limits-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The type of the file system, as df(1) names it.
    pub(crate) fn file_system(&self) -> String {
        let df = Command::new("df").args(["--output=fstype"]).arg(&self.0).output();
        let text = df.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        let name = text.lines().nth(1).unwrap_or_default().trim().to_owned();
        assert!(name != "tmpfs" && name != "ramfs", "the store is to be measured on a disk, not on {name}");
        name
    }

    /// Bytes per second of writing so many to one file, 64 KiB at a time, until they are on disk (fdatasync(2)).
    pub(crate) fn plain_writes(&self, bytes: u64) -> f64 {
        let path = self.0.join("plain");
        let block = vec![b'x'; 64 * 1024];
        let begun = Instant::now();
        let mut file = File::create(&path).expect("a file");
        for _ in 0..bytes / block.len() as u64 {
            file.write_all(&block).expect("the disk takes it");
        }
        file.sync_data().expect("the disk takes it");
        let took = begun.elapsed();
        std::fs::remove_file(path).expect("it was there");
        bytes as f64 / took.as_secs_f64()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
