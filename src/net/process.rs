//! The file descriptors and the memory that the process uses.

use std::fs;

use super::sys;

/// File descriptors of this process: each socket takes one. A number that /proc does not give is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptors {
    pub open: Option<u64>,
    /// How many may be open (`RLIMIT_NOFILE`, getrlimit(2)).
    pub limit: Option<u64>,
}

impl Descriptors {
    pub fn now() -> Self {
        Self { open: open(), limit: limit() }
    }

    /// Whether nine in ten of those that sockets may take are in use; false if unknown.
    pub fn are_short(&self) -> bool {
        self.open.zip(self.limit).is_some_and(|(open, limit)| open >= sys::for_sockets(limit) / 10 * 9)
    }
}

/// Since Linux 6.2 the directory's size is their number; on older kernels they have to be counted.
fn open() -> Option<u64> {
    const DIRECTORY: &str = "/proc/self/fd";
    let size = fs::metadata(DIRECTORY).map_or(0, |found| found.len());
    if size > 0 {
        return Some(size);
    }
    // One of them is the directory itself, open for reading.
    fs::read_dir(DIRECTORY).ok().map(|entries| entries.count().saturating_sub(1) as u64)
}

fn limit() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    soft.split_ascii_whitespace().next()?.parse().ok()
}

/// The memory of this process (proc(5)); none where /proc does not say.
#[derive(Debug, Clone, Copy)]
pub struct ProcessMemory {
    pub resident_bytes: Option<u64>,
    pub virtual_bytes: Option<u64>,
}

impl ProcessMemory {
    pub fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self { resident_bytes: bytes(&status, "VmRSS:"), virtual_bytes: bytes(&status, "VmSize:") }
    }
}

/// The value of this line, which is in kibibytes.
fn bytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}
