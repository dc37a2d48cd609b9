//! The thread that follows the kernel: it applies each notification as it arrives, and reads everything when
//! notifications left something unclear, when some were lost, and now and then.

use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::dump::DumpReader;
use super::netlink::{DATAGRAM_BYTES, NetlinkSocket};
use super::table::LiveTable;
use super::watch_state::{InterfaceHealth, TableReply, WatchState};
use crate::logging::log_throttled;
use crate::model::InterfaceTable;
use crate::sync::{Lock, fatal};

pub(super) struct Follower {
    shared: Arc<WatchState>,
    /// A byte arrives when a caller waits for the table; the pipe closes when the thread is to end.
    wake_reader: PipeReader,
    reader: DumpReader,
    table: LiveTable,
    schedule: DumpSchedule,
    /// Callers that wait for a table as new as their request.
    waiting: Vec<TableReply>,
    buffer: Box<[u8]>,
}

/// Why the thread has stopped waiting.
enum Woken {
    Work,
    End,
}

impl Follower {
    pub(super) fn new(shared: Arc<WatchState>, wake_reader: PipeReader) -> Self {
        let reader = DumpReader::new(shared.netlink.clone());
        let (table, schedule) = (LiveTable::default(), DumpSchedule::default());
        let buffer = vec![0; DATAGRAM_BYTES].into();
        Self { shared, wake_reader, reader, table, schedule, waiting: Vec::new(), buffer }
    }

    /// Follows the kernel until the pipe closes. After an error or a panic it starts again with new sockets; if that
    /// fails again and again, the process ends.
    pub(super) fn run(mut self) {
        /// Together half a minute of pauses.
        const MAX_FAILURES: u32 = 10;
        const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
        const MAX_PAUSE: Duration = Duration::from_secs(5);
        let mut failures = 0;
        loop {
            let reads = self.shared.health.lock_shared().reads;
            match catch_unwind(AssertUnwindSafe(|| self.follow())) {
                Ok(Ok(())) => return,
                Ok(Err(error)) => log_throttled!(ERROR, %error, "interfaces are not followed: trying again"),
                Err(_) => log_throttled!(ERROR, "following interfaces panicked: trying again"),
            }
            failures = if self.shared.health.lock_shared().reads > reads { 1 } else { failures + 1 };
            if failures > MAX_FAILURES {
                fatal("interfaces cannot be followed");
            }
            self.reader = DumpReader::new(self.shared.netlink.clone());
            if let Woken::End = self.pause((SHORTEST_PAUSE * (1 << failures)).min(MAX_PAUSE)) {
                return;
            }
        }
    }

    /// Pauses for this long, even if callers wait for the table.
    fn pause(&self, pause: Duration) -> Woken {
        let until = Instant::now() + pause;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match wait(&self.wake_reader, None, left) {
                Ok(Woken::End) => return Woken::End,
                _ if left.is_zero() => return Woken::Work,
                _ => {}
            }
        }
    }

    fn follow(&mut self) -> io::Result<()> {
        let notifications = self.shared.netlink.subscribe_to_interfaces()?;
        // Earlier announcements were missed.
        self.table.mark_incomplete();
        loop {
            let pause = self.schedule.until_next(Instant::now(), self.table.is_incomplete());
            self.shared.progress.idle();
            if let Woken::End = wait(&self.wake_reader, Some(notifications.as_fd()), pause)? {
                return Ok(());
            }
            self.shared.progress.begin_work();
            self.waiting.append(&mut self.shared.requests.lock_shared().take());
            self.drain(&*notifications)?;
            let is_requested = self.table.is_incomplete() || !self.waiting.is_empty();
            let read = self.schedule.is_due(Instant::now(), is_requested).then(|| self.read());
            if self.table.take_changed() {
                self.shared.table.send_replace(Arc::new(self.table.table()));
            }
            match read {
                // The callers wait for the read that is due.
                None if self.table.is_incomplete() => {}
                None | Some(Ok(())) => self.reply_all(Ok),
                Some(Err(error)) => self.reply_all(|_| Err(copy(&error))),
            }
        }
    }

    /// Applies the notifications that have arrived.
    fn drain(&mut self, notifications: &dyn NetlinkSocket) -> io::Result<()> {
        /// A limit, so that the table is published even in a storm of changes.
        const MAX_READ: usize = 1000;
        for _ in 0..MAX_READ {
            match notifications.receive(&mut self.buffer) {
                Ok(length) => self.table.apply(&self.buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    self.shared.health.lock_shared().overflows += 1;
                    self.table.mark_incomplete();
                }
                Err(error) => return Err(error),
            }
        }
        self.table.mark_incomplete();
        Ok(())
    }

    fn read(&mut self) -> io::Result<()> {
        let result = self.reader.read().map(|dump| self.table.replace(dump));
        let now = Instant::now();
        self.schedule.last = Some(now);
        if let Err(error) = &result {
            log_throttled!(WARN, %error, "the interfaces could not be read");
            self.table.mark_incomplete();
        }
        let mut health = self.shared.health.lock_shared();
        health.last_error = result.as_ref().err().map(ToString::to_string);
        if result.is_ok() {
            health.reads += 1;
            health.last_read = Some(now);
        }
        result
    }

    fn reply_all(&mut self, result: impl Fn(Arc<InterfaceTable>) -> io::Result<Arc<InterfaceTable>>) {
        let table = self.shared.table.borrow().clone();
        for waiting in self.waiting.drain(..) {
            // A caller whose timeout has passed has gone.
            let _ = waiting.send(result(table.clone()));
        }
    }
}

/// When to read everything.
#[derive(Debug, Default)]
struct DumpSchedule {
    last: Option<Instant>,
}

impl DumpSchedule {
    /// Between two reads in a storm of changes.
    const SHORTEST: Duration = Duration::from_millis(250);

    fn is_due(&self, now: Instant, is_requested: bool) -> bool {
        self.until_next(now, is_requested).is_zero()
    }

    /// How long until a read is due.
    fn until_next(&self, now: Instant, is_requested: bool) -> Duration {
        let pause = if is_requested { Self::SHORTEST } else { InterfaceHealth::PERIOD };
        self.last.map_or(Duration::ZERO, |last| (last + pause).saturating_duration_since(now))
    }
}

/// Waits for notifications, for callers that want the table, or for `max` at most.
fn wait(
    mut wake_reader: &PipeReader,
    notifications: Option<BorrowedFd<'_>>,
    max: Duration,
) -> io::Result<Woken> {
    let milliseconds = u16::try_from(max.as_micros().div_ceil(1000)).unwrap_or(u16::MAX);
    let descriptors = std::iter::once(wake_reader.as_fd()).chain(notifications);
    let mut descriptors: Vec<_> = descriptors.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
    match poll(&mut descriptors, PollTimeout::from(milliseconds)) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    let woken = descriptors[0].revents().unwrap_or(PollFlags::empty());
    if woken.intersects(PollFlags::POLLIN | PollFlags::POLLHUP) {
        let read = wake_reader.read(&mut [0; 64])?;
        return Ok(if read == 0 { Woken::End } else { Woken::Work });
    }
    Ok(Woken::Work)
}

/// The same error for another caller that waits.
fn copy(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_dump_is_due_at_once_and_later_ones_after_a_pause() {
        let now = Instant::now();
        let mut schedule = DumpSchedule::default();
        assert!(schedule.is_due(now, false));

        schedule.last = Some(now);
        assert_eq!(schedule.until_next(now, true), DumpSchedule::SHORTEST);
        assert_eq!(schedule.until_next(now, false), InterfaceHealth::PERIOD);
        assert!(!schedule.is_due(now + DumpSchedule::SHORTEST / 2, true));
        assert!(
            schedule.is_due(now + DumpSchedule::SHORTEST, true)
                && !schedule.is_due(now + DumpSchedule::SHORTEST, false)
        );
        assert!(schedule.is_due(now + InterfaceHealth::PERIOD, false));
    }
}
