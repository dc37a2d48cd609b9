//! The memory that the process uses.

use std::fs;

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
