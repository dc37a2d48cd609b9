//! The state that the thread that follows the kernel shares with the callers that read the table.

use std::io::{self, PipeWriter, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use super::netlink::{Client, Netlink};
use super::route_cache::RouteCache;
use crate::model::InterfaceTable;
use crate::sync::Progress;

pub(super) struct WatchState {
    pub(super) netlink: Arc<dyn Netlink>,
    pub(super) table: watch::Sender<Arc<InterfaceTable>>,
    /// Std lock: held for an addition, or to take all.
    pub(super) requests: Mutex<RefreshRequests>,
    /// Std lock: held for an assignment or a copy.
    pub(super) health: Mutex<InterfaceHealth>,
    /// Std lock: held to read what the kernel has announced, and for a look-up or an insertion.
    pub(super) routes: Mutex<RouteCache>,
    /// Clients for route requests; if all are in use, one more is made. Std lock: held to take one or to put it back.
    pub(super) idle_clients: Mutex<Vec<Client>>,
    /// Progress of the thread.
    pub(super) progress: Arc<Progress>,
}

pub(super) type TableReply = oneshot::Sender<io::Result<Arc<InterfaceTable>>>;

/// Callers that wait for the thread.
pub(super) struct RefreshRequests {
    pub(super) waiting: Vec<TableReply>,
    /// Whether the thread has been woken for them.
    pub(super) woken: bool,
    /// None once the thread is to end.
    pub(super) wake_writer: Option<PipeWriter>,
}

/// How well the thread follows the kernel.
#[derive(Debug, Clone, Default)]
pub struct InterfaceHealth {
    /// When everything was last read from the kernel.
    pub last_read: Option<Instant>,
    /// Why the latest attempt to read everything failed; none if it did not.
    pub last_error: Option<String>,
    pub reads: u64,
    /// How often notifications arrived faster than they were read.
    pub overflows: u64,
}

impl InterfaceHealth {
    /// Everything is read at least this often, in case something was not announced.
    pub const PERIOD: Duration = Duration::from_secs(30);

    /// Notes that nothing is read any more.
    pub(super) fn end(&mut self) {
        self.last_read = None;
        self.last_error = Some(ended().to_string());
    }

    /// Whether everything has been read recently enough.
    pub fn is_current(&self, now: Instant) -> bool {
        self.last_read.is_some_and(|read| now.saturating_duration_since(read) < 3 * Self::PERIOD)
    }
}

impl RefreshRequests {
    pub(super) fn add(&mut self, reply: TableReply) -> io::Result<()> {
        let writer = self.wake_writer.as_mut().ok_or_else(ended)?;
        if !self.woken {
            writer.write_all(&[0])?;
            self.woken = true;
        }
        self.waiting.retain(|reply| !reply.is_closed());
        self.waiting.push(reply);
        Ok(())
    }

    pub(super) fn take(&mut self) -> Vec<TableReply> {
        self.woken = false;
        std::mem::take(&mut self.waiting)
    }
}

pub(super) fn ended() -> io::Error {
    io::Error::other("the service is stopping")
}
