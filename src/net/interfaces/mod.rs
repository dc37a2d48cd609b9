//! Interfaces, their addresses and routes, from the kernel by rtnetlink(7).
//!
//! Notifications have a socket of their own: if they arrive faster than they are read, its buffer overflows and only
//! notifications are lost; then everything is read again. Requests use other sockets, and none waits for a reply:
//! either it is there once the request is sent, or it is lost and the request is repeated.
//!
//! Threads: one that follows the notifications, counted by the caller's tracker. Tasks: one that holds the writing end
//! of a pipe until the service stops or the runtime ends; when the pipe closes, the thread wakes and ends.

mod dump;
mod follower;
mod groups;
mod message;
mod netlink;
mod route;
mod route_cache;
mod table;
mod watch_state;

use std::io;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::error::{Action, SocketError, WithAction};
use crate::model::InterfaceTable;
use crate::sync::{Lock, Progress};
use follower::Follower;
pub use groups::KernelGroups;
use netlink::{Client, KernelNetlink, Netlink};
pub use route::{Route, RouteQuery};
use route_cache::RouteCache;
pub use table::LiveTable;
pub use watch_state::InterfaceHealth;
use watch_state::{RefreshRequests, WatchState, ended};

/// The interfaces of this host as of the kernel's last message; cheap to clone.
#[derive(Clone)]
pub struct InterfaceWatch(Arc<WatchState>);

impl InterfaceWatch {
    pub async fn start(tasks: &TaskTracker, stop: &CancellationToken) -> Result<Self, SocketError> {
        Self::start_with(Arc::new(KernelNetlink), tasks, stop).await
    }

    async fn start_with(
        netlink: Arc<dyn Netlink>,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<Self, SocketError> {
        let (wake_reader, wake_writer) = io::pipe().context(Action::Interfaces)?;
        let routes = RouteCache::new(&*netlink).context(Action::Interfaces)?;
        let shared = Arc::new(WatchState {
            netlink,
            routes: Mutex::new(routes),
            table: watch::Sender::default(),
            requests: Mutex::new(RefreshRequests {
                waiting: Vec::new(),
                woken: false,
                wake_writer: Some(wake_writer),
            }),
            health: Mutex::default(),
            idle_clients: Mutex::default(),
            progress: Arc::default(),
        });
        let (follower, counted, ending) =
            (Follower::new(shared.clone(), wake_reader), tasks.token(), shared.clone());
        let thread = thread::Builder::new().name("interfaces".to_owned());
        let run = move || {
            follower.run();
            ending.progress.end();
            ending.health.lock_shared().end();
            drop(counted);
        };
        thread.spawn(run).context(Action::StartThread)?;
        let (end, stop) = (EndThread(shared.clone()), stop.clone());
        tasks.spawn(async move {
            stop.cancelled().await;
            drop(end);
        });
        let watch = Self(shared);
        watch.refresh().await?;
        Ok(watch)
    }

    /// The table as of the last change that the kernel announced.
    pub fn table(&self) -> Arc<InterfaceTable> {
        self.0.table.borrow().clone()
    }

    /// Notifies of each new table. An interface that has not changed is the same allocation in both tables.
    pub fn subscribe(&self) -> watch::Receiver<Arc<InterfaceTable>> {
        self.0.table.subscribe()
    }

    /// A table with every change made before this call. Cancel-safe; takes at most 5 seconds.
    pub async fn refresh(&self) -> Result<Arc<InterfaceTable>, SocketError> {
        const MAX_WAIT: Duration = Duration::from_secs(5);
        let (reply, replied) = oneshot::channel();
        self.0.requests.lock_shared().add(reply).context(Action::Interfaces)?;
        let replied = tokio::time::timeout(MAX_WAIT, replied).await;
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the kernel took too long");
        replied
            .map_err(late)
            .and_then(|replied| replied.unwrap_or_else(|_| Err(ended())))
            .context(Action::Interfaces)
    }

    /// How a datagram leaves: a few system calls, of microseconds. [`super::SocketErrorKind::NoRoute`] is the kernel's
    /// own reply.
    pub fn route(&self, query: &RouteQuery) -> Result<Route, SocketError> {
        let now = Instant::now();
        if let Some(known) = self.0.routes.lock_shared().get(query, now) {
            return Ok(known);
        }
        let route = self.look_up_route(query)?;
        self.0.routes.lock_shared().insert(*query, route, now);
        Ok(route)
    }

    fn look_up_route(&self, query: &RouteQuery) -> Result<Route, SocketError> {
        /// A reply about one route is some hundred bytes long.
        const REPLY_BYTES: usize = 4096;
        /// As many as make requests at once on a host with many processors.
        const MAX_IDLE: usize = 16;
        let idle = self.0.idle_clients.lock_shared().pop();
        let mut client = idle.unwrap_or_else(|| Client::new(self.0.netlink.clone(), REPLY_BYTES));
        let found = route::look_up(&mut client, query).context(Action::Interfaces);
        let mut idle = self.0.idle_clients.lock_shared();
        if idle.len() < MAX_IDLE {
            idle.push(client);
        }
        found
    }

    /// Progress of the thread that follows the kernel.
    pub(crate) fn progress(&self) -> &Arc<Progress> {
        &self.0.progress
    }

    pub fn health(&self) -> InterfaceHealth {
        self.0.health.lock_shared().clone()
    }
}

/// Ends the thread when it is dropped.
struct EndThread(Arc<WatchState>);

impl Drop for EndThread {
    fn drop(&mut self) {
        self.0.requests.lock_shared().wake_writer = None;
    }
}

#[cfg(test)]
mod tests;
