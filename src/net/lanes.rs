//! The receiving side: a few threads, each waiting on one epoll instance that watches many sockets.
//!
//! A task and a reactor entry per socket would cost more memory than a membership itself, and a wake-up
//! per datagram. A lane instead asks epoll which of its sockets are ready, empties them with recvmmsg(2)
//! into one reused room, and calls each socket's [`Sink`] with the whole batch. It is a thread of its own,
//! because a task would be woken by the runtime's epoll first and ask its own afterwards: twice the system calls
//! where datagrams come one by one, and requests that compute would delay what is received.
//!
//! Threads: one per lane, counted by the caller's tracker. Tasks: one per lane, which holds the writing end of a
//! pipe until the service stops or the runtime goes; its end wakes the lane and ends it. A slot's lock is held
//! while its sink runs, which is how dropping a [`Registration`] can promise that no batch is delivered
//! afterwards. Sinks must therefore never close a registration.

use std::io::{self, PipeReader};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};

use slab::Slab;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::batch::Batch;
use super::fault::{Action, Doing, Fault};
use super::socket::Socket;
use super::sys::{Epoll, ReceiveRoom};

/// Takes what a socket received.
pub trait Sink: Send {
    /// Called with every batch, on a lane's thread: must not block and must not close registrations.
    fn deliver(&mut self, socket: &Socket, batch: &Batch<'_>);
}

/// Buffers per recvmmsg(2): enough to amortise the call, few enough to stay in the cache.
const BUFFERS: usize = 32;
/// Sockets asked for in one `epoll_wait(2)`.
const EVENTS: usize = 64;
/// Stands for the pipe whose end ends the lane; slots count from 0.
const STOP: u64 = u64::MAX;

pub struct Lanes {
    lanes: Vec<(Arc<Lane>, JoinHandle<()>)>,
    next: AtomicUsize,
}

struct Lane {
    epoll: Epoll,
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
        let start = || {
            let lane = Arc::new(Lane { epoll: Epoll::new()?, slots: Mutex::default() });
            let (stopped, stopping) = io::pipe()?;
            lane.epoll.add(stopped.as_fd(), STOP)?;
            let (running, counted) = (lane.clone(), tasks.token());
            let thread = thread::Builder::new().name("lane".to_owned());
            let thread = thread.spawn(move || {
                running.run(&stopped);
                drop(counted);
            })?;
            let stop = stop.clone();
            tasks.spawn(async move {
                stop.cancelled().await;
                drop(stopping);
            });
            Ok((lane, thread))
        };
        let lanes = (0..count.max(1)).map(|_| start()).collect::<io::Result<Vec<_>>>().doing(Action::Open)?;
        Ok(Self { lanes, next: AtomicUsize::new(0) })
    }

    /// How many receive, and how many there should be.
    pub fn running(&self) -> (usize, usize) {
        (self.lanes.iter().filter(|(_, thread)| !thread.is_finished()).count(), self.lanes.len())
    }

    /// Starts to deliver what the socket receives. The sink may keep the handle, to send later.
    pub fn register<S: Sink + 'static>(
        &self,
        socket: Socket,
        sink: impl FnOnce(Handle) -> S,
    ) -> Result<Registration, Fault> {
        let (lane, _) = &self.lanes[self.next.fetch_add(1, Ordering::Relaxed) % self.lanes.len()];
        let socket = Arc::new(socket);
        let slot = Arc::new(Slot::default());
        *slot.open() =
            Some(Open { socket: socket.clone(), sink: Box::new(sink(Handle(Arc::downgrade(&slot)))) });
        let key = lane.slots().insert(slot.clone());
        let registration = Registration { lane: lane.clone(), key, slot, socket };
        lane.epoll.add(registration.socket.as_fd(), key as u64).doing(Action::Open)?;
        Ok(registration)
    }
}

impl Lane {
    /// Serves ready sockets until the pipe's other end is closed.
    fn run(&self, _stopped: &PipeReader) {
        let mut room = ReceiveRoom::new(BUFFERS);
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
        loop {
            let ready = match self.epoll.wait(&mut events) {
                Ok(ready) => ready,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    tracing::error!(%error, "epoll_wait failed");
                    return;
                }
            };
            for key in ready {
                if key == STOP {
                    return;
                }
                // A slot that was closed since epoll_wait is gone, or is another one that has nothing to read.
                let slot = usize::try_from(key).ok().and_then(|key| self.slots().get(key).cloned());
                if let Some(slot) = slot {
                    slot.receive(&mut room);
                }
            }
        }
    }

    fn slots(&self) -> MutexGuard<'_, Slab<Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    fn open(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Receives and delivers one batch. If there is more to read, epoll says so again.
    fn receive(&self, room: &mut ReceiveRoom) {
        let mut open = self.open();
        let Some(Open { socket, sink }) = open.as_mut() else {
            return;
        };
        // Errors are asynchronous ICMP errors of earlier sends, which reading clears, or that nothing is there.
        if let Ok(buffers) = room.receive(socket.as_fd()) {
            sink.deliver(socket, &Batch::new(room, buffers));
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
        let _ = self.lane.epoll.remove(self.socket.as_fd());
        self.lane.slots().try_remove(self.key);
        self.slot.open().take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Family;

    struct Broken(std::sync::mpsc::Sender<()>);

    impl Sink for Broken {
        fn deliver(&mut self, _: &Socket, _: &Batch<'_>) {
            let _ = self.0.send(());
            panic!("a sink that fails");
        }
    }

    #[tokio::test]
    async fn a_lane_that_has_died_is_missed() {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let lanes = Lanes::start(2, &tasks, &stop).unwrap();
        assert_eq!(lanes.running(), (2, 2));
        let socket = Socket::open(Family::V4).unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = socket.local_addr().unwrap();
        let (delivering, delivered) = std::sync::mpsc::channel();
        let _registration = lanes.register(socket, |_| Broken(delivering)).unwrap();
        Socket::open(Family::V4).unwrap().send_to(address, b"x").unwrap();
        delivered.recv().unwrap();
        while lanes.running() == (2, 2) {
            tokio::task::yield_now().await;
        }
        assert_eq!(lanes.running(), (1, 2));

        stop.cancel();
        tasks.close();
        tasks.wait().await;
    }
}
