//! The receiving side: a few tasks, each waiting on one epoll instance that watches many sockets.
//!
//! A task and a reactor entry per socket would cost more memory than a membership itself, and a wake-up
//! per datagram. A lane instead asks epoll which of its sockets are ready, empties them with recvmmsg(2)
//! into one reused room, and calls each socket's [`Sink`] with the whole batch.
//!
//! Tasks: one per lane, owned by the caller of [`Lanes::start`]; cancel-safe, because nothing is held
//! across an await. A slot's lock is held while its sink runs, which is how dropping a [`Registration`]
//! can promise that no batch is delivered afterwards. Sinks must therefore never close a registration.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use slab::Slab;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::batch::Batch;
use super::fault::{Action, Doing, Fault};
use super::socket::Socket;
use super::sys::{self, Epoll, ReceiveRoom};
use crate::logging::rarely;

/// Takes what a socket received.
pub trait Sink: Send {
    /// Called with every batch, on a lane's task: must not block and must not close registrations.
    fn deliver(&mut self, socket: &Socket, batch: &Batch<'_>);
}

/// Buffers per recvmmsg(2): enough to amortise the call, few enough to stay in the cache.
const BUFFERS: usize = 32;
/// Sockets asked for in one `epoll_wait(2)`.
const EVENTS: usize = 64;
/// Batches after which a busy lane lets other tasks run.
const BATCHES_BEFORE_YIELD: usize = 64;

pub struct Lanes {
    lanes: Vec<Arc<Lane>>,
    next: AtomicUsize,
}

struct Lane {
    epoll: AsyncFd<Epoll>,
    /// Std lock: held for a lookup, an insertion or a removal.
    slots: Mutex<Slab<Arc<Slot>>>,
}

#[derive(Default)]
struct Slot {
    /// Std lock: held by the lane while it receives and delivers one batch. None once closed.
    open: Mutex<Option<Open>>,
}

struct Open {
    socket: Arc<Socket>,
    sink: Box<dyn Sink>,
}

/// A socket that a lane reads; dropped or closed, the socket is closed and its sink gone.
pub struct Registration {
    lane: Arc<Lane>,
    key: usize,
    slot: Arc<Slot>,
    socket: Arc<Socket>,
}

impl Lanes {
    pub fn start(count: usize, tasks: &TaskTracker, stop: &CancellationToken) -> Result<Self, Fault> {
        let lanes = (0..count.max(1))
            .map(|_| {
                let epoll = sys::watch(Epoll::new()?, Interest::READABLE)?;
                Ok(Arc::new(Lane { epoll, slots: Mutex::default() }))
            })
            .collect::<io::Result<Vec<_>>>()
            .doing(Action::Open)?;
        for lane in &lanes {
            let lane = lane.clone();
            let stop = stop.clone();
            tasks.spawn(async move { stop.run_until_cancelled(lane.run()).await });
        }
        Ok(Self { lanes, next: AtomicUsize::new(0) })
    }

    /// Starts to deliver what the socket receives. The sink may keep the handle, to send later.
    pub fn register<S: Sink + 'static>(
        &self,
        socket: Socket,
        sink: impl FnOnce(Handle) -> S,
    ) -> Result<Registration, Fault> {
        let lane = &self.lanes[self.next.fetch_add(1, Ordering::Relaxed) % self.lanes.len()];
        let socket = Arc::new(socket);
        let slot = Arc::new(Slot::default());
        *slot.open() =
            Some(Open { socket: socket.clone(), sink: Box::new(sink(Handle(Arc::downgrade(&slot)))) });
        let key = lane.slots().insert(slot.clone());
        let registration = Registration { lane: lane.clone(), key, slot, socket };
        lane.epoll.get_ref().add(registration.socket.as_fd(), key as u64).doing(Action::Open)?;
        Ok(registration)
    }
}

impl Lane {
    async fn run(&self) {
        let mut room = ReceiveRoom::new(BUFFERS);
        loop {
            let Ok(mut guard) = self.epoll.readable().await else {
                return;
            };
            if self.drain(&mut room) {
                guard.clear_ready();
            } else {
                drop(guard);
                tokio::task::yield_now().await;
            }
        }
    }

    /// Serves ready sockets; true once none is ready, false when it is time to yield.
    fn drain(&self, room: &mut ReceiveRoom) -> bool {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
        let mut batches = 0;
        while batches < BATCHES_BEFORE_YIELD {
            let ready = match self.epoll.get_ref().ready(&mut events) {
                Ok(ready) => ready,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    rarely!(ERROR, %error, "epoll_wait failed");
                    return true;
                }
            };
            let before = batches;
            let mut more = false;
            for key in ready {
                batches += 1;
                // A slot that was closed since epoll_wait is gone, or is another one that has nothing to read.
                let slot = usize::try_from(key).ok().and_then(|key| self.slots().get(key).cloned());
                more |= slot.is_some_and(|slot| slot.receive(room));
            }
            // All that was ready has been read. What arrives from now on wakes the runtime's own epoll anew, and
            // its readiness is not cleared by a guard that is older: asking once more would be for nothing.
            if !more && batches - before < EVENTS {
                return true;
            }
        }
        false
    }

    fn slots(&self) -> MutexGuard<'_, Slab<Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    fn open(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Receives and delivers one batch; whether there may be more to read.
    fn receive(&self, room: &mut ReceiveRoom) -> bool {
        let mut open = self.open();
        let Some(Open { socket, sink }) = open.as_mut() else {
            return false;
        };
        match room.receive(socket.as_fd()) {
            Ok(buffers) => {
                sink.deliver(socket, &Batch::new(room, buffers));
                buffers == BUFFERS
            }
            // Other errors are asynchronous ICMP errors of earlier sends: reading them clears them.
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}

/// Sends from a registered socket for as long as it is open, without keeping it open.
#[derive(Clone)]
pub struct Handle(Weak<Slot>);

impl Handle {
    /// None once the socket is closed. Must not be called from the socket's own sink.
    pub fn send_to(&self, destination: SocketAddr, payload: &[u8]) -> Option<Result<(), Fault>> {
        let slot = self.0.upgrade()?;
        let open = slot.open();
        open.as_ref().map(|open| open.socket.send_to(destination, payload))
    }
}

impl Registration {
    pub fn socket(&self) -> &Arc<Socket> {
        &self.socket
    }
}

impl Drop for Registration {
    /// Waits for a batch that is being delivered, then closes.
    fn drop(&mut self) {
        let _ = self.lane.epoll.get_ref().remove(self.socket.as_fd());
        self.lane.slots().try_remove(self.key);
        self.slot.open().take();
    }
}
