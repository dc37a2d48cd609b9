//! Ends the process when a part that everything depends on is stuck, so that the supervisor restarts it.
//!
//! Thread: one, outside the runtime, which may be stuck itself. It wakes every few seconds, and ends with the last
//! [`Control`](super::Control). It counts its own checks and not the time, so that a process that was stopped and
//! continued (`SIGSTOP`, a laptop's lid) does not seem stuck.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::timers::Timers;
use crate::net::{InterfaceWatch, ReceiveThreads};
use crate::store::Store;
use crate::sync::{Progress, fatal};

/// How long one piece of work may take. The longest legitimate one is a transaction on a slow disk.
pub(super) const MAX_BUSY: Duration = Duration::from_mins(1);
const PERIOD: Duration = Duration::from_secs(5);

/// Watches until it is dropped.
pub(super) struct Watchdog {
    _ends: Sender<()>,
}

/// A thread or task that must not work on the same piece of work for long.
pub(super) struct Watched {
    /// The message that the process ends with if it is stuck.
    stuck: &'static str,
    /// Identifies the piece of work under way; none while there is nothing to do.
    current_work: Box<dyn Fn() -> Option<u64> + Send>,
    before: Option<u64>,
    /// How many checks in a row found the same piece of work.
    seen: u32,
}

impl Watchdog {
    pub(super) fn start(watched: Vec<Watched>) -> io::Result<Self> {
        let (ends, ended) = channel();
        thread::Builder::new().name("watchdog".to_owned()).spawn(move || watch(watched, &ended))?;
        Ok(Self { _ends: ends })
    }
}

fn watch(mut all: Vec<Watched>, ended: &Receiver<()>) {
    while ended.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
        if let Some(stuck) = all.iter_mut().find_map(|watched| watched.is_stuck().then_some(watched.stuck)) {
            fatal(stuck);
        }
    }
}

impl Watched {
    fn new(stuck: &'static str, current_work: impl Fn() -> Option<u64> + Send + 'static) -> Self {
        Self { stuck, current_work: Box::new(current_work), before: None, seen: 0 }
    }

    /// A thread that may wait for work without a limit.
    fn at_work(stuck: &'static str, progress: &Arc<Progress>) -> Self {
        let progress = progress.clone();
        Self::new(stuck, move || progress.current_work().map(Into::into))
    }

    /// A thread that wakes at least twice a minute, whether there is work or not.
    fn with_heartbeats(stuck: &'static str, progress: &Arc<Progress>) -> Self {
        let progress = progress.clone();
        Self::new(stuck, move || progress.last_heartbeat().map(Into::into))
    }

    /// All threads and tasks that the core needs.
    pub(super) fn all(
        threads: &ReceiveThreads,
        interfaces: &InterfaceWatch,
        reconciler: &Arc<Progress>,
        timers: &Arc<Timers>,
        store: Option<&Store>,
        stop: &CancellationToken,
    ) -> Vec<Self> {
        let (timers, stop, started) = (timers.clone(), stop.clone(), Instant::now());
        // Uses the first due time, so that it also works when the runtime is stuck and the task does not run.
        let overdue = move || {
            let first = timers.first().filter(|first| *first < Instant::now() && !stop.is_cancelled())?;
            u64::try_from(first.saturating_duration_since(started).as_nanos()).ok()
        };
        let mut all: Vec<_> = threads
            .progress()
            .map(|progress| Self::with_heartbeats("a receive thread has been stuck for a minute", progress))
            .collect();
        all.push(Self::with_heartbeats(
            "the thread that follows the interfaces has been stuck for a minute",
            interfaces.progress(),
        ));
        all.push(Self::with_heartbeats(
            "the thread that opens sockets has been stuck for a minute",
            reconciler,
        ));
        all.push(Self::new("the timers have been stuck for a minute", overdue));
        all.extend(store.map(|store| {
            Self::at_work("the thread that writes to disk has been stuck for a minute", store.progress())
        }));
        all
    }

    /// Call it once in each `PERIOD`.
    fn is_stuck(&mut self) -> bool {
        let now = (self.current_work)();
        let is_same = now.is_some() && now == self.before;
        (self.before, self.seen) = (now, if is_same { self.seen + 1 } else { 0 });
        PERIOD * self.seen >= MAX_BUSY
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn a_thread_is_stuck_after_a_minute_on_one_piece_of_work() {
        let work = Arc::new(AtomicU64::new(0));
        let current_work = work.clone();
        let mut watched = Watched::new("a test", move || Some(current_work.load(Ordering::Relaxed)));
        let looks = u32::try_from(MAX_BUSY.as_millis() / PERIOD.as_millis()).expect("few");
        for _ in 0..3 {
            work.fetch_add(1, Ordering::Relaxed);
            assert!((0..looks).all(|_| !watched.is_stuck()), "it comes to an end in time");
        }
        assert!(watched.is_stuck());
        let mut idle = Watched::new("a test", || None);
        assert!((0..10 * looks).all(|_| !idle.is_stuck()));
    }
}
