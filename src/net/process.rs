//! The file descriptors and the memory that the process uses.

use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::OnceLock;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

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
        self.open.zip(self.limit).is_some_and(|(open, limit)| open >= for_sockets(limit) / 10 * 9)
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
    getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft)
}

/// Raises the soft limit of open files to the hard one (setrlimit(2)): each membership and each collecting
/// message holds sockets, and the usual soft limit of 1,024 is for programs that use select(2).
pub fn raise_descriptor_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// Whether enough descriptors are left after this one for files, connections and the requests that free some. The
/// kernel gives the lowest free number, so a high one means that few are left.
pub(super) fn leaves_room(fd: BorrowedFd<'_>) -> bool {
    static LIMIT: OnceLock<u64> = OnceLock::new();
    let limit = *LIMIT.get_or_init(|| limit().unwrap_or(u64::MAX));
    u64::try_from(fd.as_raw_fd()).is_ok_and(|number| number < for_sockets(limit))
}

/// How many of `limit` descriptors may be used for sockets that stay open.
fn for_sockets(limit: u64) -> u64 {
    /// Descriptors kept free; a quarter of them all if the limit is small.
    const RESERVE: u64 = 64;
    limit - RESERVE.min(limit / 4)
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
