//! Releases memory to the kernel once a load has ended.
//!
//! The allocator keeps what was freed for later, up to hundreds of megabytes after a load. To release it takes the
//! allocator's locks for milliseconds, in which receive threads may have to wait; so this happens when the service is
//! nearly idle, and only if there is something to release.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::control::Control;
use crate::net::{ProcessMemory, free_heap_bytes, trim_heap};

/// Releases memory whenever the process is nearly idle; runs until it is cancelled.
pub(super) async fn release_when_idle(control: &Control) {
    const PERIOD: Duration = Duration::from_secs(5);
    /// Of one core, in each period.
    const NEARLY_IDLE: Duration = Duration::from_millis(250);
    let (mut before, mut trimmed) = (cpu_time(), MemoryUse::now());
    loop {
        tokio::time::sleep(PERIOD).await;
        let now = cpu_time();
        let is_idle = now.saturating_sub(before) < NEARLY_IDLE;
        before = now;
        if !is_idle || !MemoryUse::now().has_grown_since(&trimmed) {
            continue;
        }
        let control = control.clone();
        // A walk through the whole heap would block a worker of the runtime for too long.
        let trimming = tokio::task::spawn_blocking(move || {
            if let Some(store) = control.store() {
                store.release_memory();
            }
            trim_heap();
            MemoryUse::now()
        });
        if let Ok(now) = trimming.await {
            tracing::debug!(resident_bytes = now.resident, "free memory was released to the kernel");
            trimmed = now;
        }
    }
}

/// What shows whether there is memory to release. The allocator counts memory that it has released as free, too, so
/// only growth tells: of free bytes, or of resident ones.
struct MemoryUse {
    free: u64,
    resident: u64,
}

impl MemoryUse {
    fn now() -> Self {
        Self { free: free_heap_bytes(), resident: ProcessMemory::now().resident_bytes.unwrap_or_default() }
    }

    fn has_grown_since(&self, before: &Self) -> bool {
        /// Less is not worth the walk.
        const MIN_GROWTH: u64 = 1024 * 1024;
        self.free > before.free + MIN_GROWTH || self.resident > before.resident + MIN_GROWTH
    }
}

/// The processor time that the process has used.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}
