//! The process as the kernel sees it: the standard metrics of Prometheus clients, from proc(5).

use std::fs;

use crate::net::{Descriptors, ProcessMemory};

/// The values that could be read; none except on Linux with /proc.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) resident_memory_bytes: Option<u64>,
    pub(super) virtual_memory_bytes: Option<u64>,
    /// User and system time together.
    pub(super) cpu_seconds: Option<f64>,
    pub(super) open_fds: Option<u64>,
    pub(super) max_fds: Option<u64>,
    /// Seconds since 1970.
    pub(super) start_time_seconds: Option<f64>,
}

impl Process {
    pub(super) fn now() -> Self {
        let memory = ProcessMemory::now();
        let stat = read("/proc/self/stat");
        let times = Times::parse(&stat);
        let descriptors = Descriptors::now();
        let booted = after(&read("/proc/stat"), "btime ");
        Self {
            resident_memory_bytes: memory.resident_bytes,
            virtual_memory_bytes: memory.virtual_bytes,
            cpu_seconds: times.as_ref().map(|times| seconds(times.user + times.system)),
            open_fds: descriptors.open,
            max_fds: descriptors.limit,
            start_time_seconds: times
                .zip(booted)
                .map(|(times, booted)| seconds(booted * TICKS + times.start)),
        }
    }
}

/// `USER_HZ`, the unit of times in /proc: 100 on all supported architectures (proc(5), time(7)).
const TICKS: u64 = 100;

/// In ticks; the start time counts from the boot of the system.
struct Times {
    user: u64,
    system: u64,
    start: u64,
}

impl Times {
    /// Fields 14, 15 and 22 of /proc/pid/stat. Field 2 is the program's name in parentheses, which may itself contain
    /// spaces and parentheses.
    fn parse(stat: &str) -> Option<Self> {
        let (_, rest) = stat.rsplit_once(')')?;
        let fields: Vec<_> = rest.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse().ok();
        Some(Self { user: field(14)?, system: field(15)?, start: field(22)? })
    }
}

/// The first number after this beginning of a line.
fn after(text: &str, beginning: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(beginning))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "exact to the hundredth for a million years")]
fn seconds(ticks: u64) -> f64 {
    ticks as f64 / TICKS as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_and_parentheses_in_a_program_name_do_not_shift_the_fields() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 0 0 0 140 60 0 0 20 0 3 0 5000 1 1";
        let times = Times::parse(stat).unwrap();
        assert_eq!((times.user, times.system, times.start), (140, 60, 5000));
    }

    #[test]
    fn the_service_sees_its_own_process() {
        let process = Process::now();
        assert!(process.resident_memory_bytes.unwrap() > 1 << 20);
        assert!(process.virtual_memory_bytes >= process.resident_memory_bytes);
        assert!(process.open_fds.unwrap() >= 3 && process.open_fds <= process.max_fds);
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        let age = now - process.start_time_seconds.unwrap();
        assert!((-2.0..86_400.0).contains(&age), "{age}");
        assert!(process.cpu_seconds.is_some());
    }
}
