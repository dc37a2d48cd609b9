//! Bounds of what a request may ask for; each is also in the API document.

/// A day: a membership is the means for longer collections.
pub const WINDOW_MS: u64 = 86_400_000;
pub const LINGER_MS: u64 = 60_000;
/// How long a request may wait.
pub const WAIT_MS: u64 = 60_000;
pub const REPEAT_COUNT: u32 = 1_000_000;
pub const REPEAT_INTERVAL_MS: u64 = 3_600_000;
/// Each tracked attempt holds a socket on each interface.
pub const TRACKED_ATTEMPTS: u32 = 8;
pub const REPLY_DELAY_MS: u32 = 60_000;
/// 30 days.
pub const LEASE_MS: u64 = 2_592_000_000;
/// Sources that one filter may name; the kernel's own limits (`igmp_max_msf`, `mld_max_msf`) are lower by default.
pub const SOURCES: usize = 1_024;
pub const INTERFACES: usize = 1_024;
/// Labels of a resource, and conditions of a selector.
pub const LABELS: usize = 64;
