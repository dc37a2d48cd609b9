//! The receiving side: a few threads, each waiting on one epoll instance that watches many sockets.
//!
//! A task and a reactor entry per socket would cost more memory than a membership itself, and a wake-up per datagram. A
//! receive thread instead waits with epoll until some of its sockets are ready, reads them with recvmmsg(2) into one
//! reused set of buffers, and calls each socket's [`Sink`] with the whole batch. It is a thread of its own: a task
//! would be woken by the runtime's epoll and then query its own, twice the system calls when datagrams arrive one by
//! one, and HTTP requests that compute would delay reception.
//!
//! Threads: `count` of them, tracked by the caller's `TaskTracker`, so that a shutdown waits for them. Tasks: one per
//! thread, which holds the writing end of a pipe until the service stops or the runtime ends; when the pipe closes, the
//! thread wakes and ends. Nothing else ends a thread: a sink that panics fails its own socket alone, and after an error
//! of epoll the thread tries again.

use std::io::{self, PipeReader};
use std::ops::Deref;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use slab::Slab;
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::batch::Batch;
use super::error::{Action, SocketError, WithAction};
use super::rtnl::under_rtnl;
use super::socket::Socket;
use super::sys::{Epoll, ReceiveBuffers};
use crate::logging::log_throttled;
use crate::sync::{Lock, Progress, fatal};

/// Takes the datagrams that a socket received.
pub trait Sink: Send {
    /// Called with every batch, on a receive thread: must not block. The sink may keep a [`SendHandle`] to the socket.
    fn deliver(&mut self, socket: &Arc<RegisteredSocket>, batch: &Batch<'_>);
}

/// Buffers per recvmmsg(2): enough to amortise the call, few enough to stay in the cache.
const BUFFERS: usize = 32;
/// Ready sockets that one `epoll_wait(2)` returns at most.
const EVENTS: usize = 64;
/// The epoll key of the pipe that ends the thread when it closes; sockets count from 0.
const STOP: u64 = u64::MAX;

pub struct ReceiveThreads {
    threads: Vec<(Arc<ReceiveThread>, JoinHandle<()>)>,
    next: AtomicUsize,
    failures: Arc<Failures>,
}

/// The failures of the threads.
#[derive(Default)]
struct Failures {
    epoll_errors: AtomicU64,
    /// Notified when a sink has panicked.
    panicked: Notify,
}

struct ReceiveThread {
    epoll: Epoll,
    /// Std lock: held for a lookup, an insertion or a removal.
    sockets: Mutex<Slab<Arc<RegisteredSocket>>>,
    progress: Arc<Progress>,
    failures: Arc<Failures>,
}

/// A socket that a receive thread reads. A send or a delivery in progress keeps it open until it is done.
pub struct RegisteredSocket {
    socket: Socket,
    /// Std lock: held by the receive thread while it delivers a batch, and by no other thread.
    sink: Mutex<Box<dyn Sink>>,
    /// Its owner has stopped or released it: nothing more is delivered or sent.
    released: AtomicBool,
    /// Its sink has panicked: nothing more is delivered.
    failed: AtomicBool,
    /// Set when the owner waits for the socket to be closed. Declared after `socket`, so that it is dropped later.
    gone: OnceLock<DropGuard>,
}

/// Owns a registered socket. Once this is dropped or released, nothing more is delivered from the socket.
pub struct Registration {
    thread: Arc<ReceiveThread>,
    key: usize,
    /// None once released.
    socket: Option<Arc<RegisteredSocket>>,
}

/// A socket that its owner has released, until it is closed: then its last batch is delivered, and no send is in
/// progress.
#[must_use = "until it resolves, a batch may still be delivered"]
#[derive(Clone)]
pub struct Closing(Option<CancellationToken>);

impl ReceiveThreads {
    pub fn start(count: usize, tasks: &TaskTracker, stop: &CancellationToken) -> Result<Self, SocketError> {
        let failures = Arc::<Failures>::default();
        let start = || {
            let thread = Arc::new(ReceiveThread::new(failures.clone()).context(Action::Open)?);
            let (stop_reader, stop_writer) = io::pipe().context(Action::Open)?;
            thread.epoll.add(stop_reader.as_fd(), STOP).context(Action::Open)?;
            let (running, task_token, stop) = (thread.clone(), tasks.token(), stop.clone());
            let handle = thread::Builder::new().name("receive".to_owned());
            let handle = handle.spawn(move || {
                if catch_unwind(AssertUnwindSafe(|| running.run(&stop_reader))).is_err() {
                    fatal("a receive thread panicked outside of any socket's sink");
                }
                running.progress.end();
                drop(task_token);
            });
            let handle = handle.context(Action::StartThread)?;
            tasks.spawn(async move {
                stop.cancelled().await;
                drop(stop_writer);
            });
            Ok((thread, handle))
        };
        let threads = (0..count.max(1)).map(|_| start()).collect::<Result<Vec<_>, SocketError>>()?;
        Ok(Self { threads, next: AtomicUsize::new(0), failures })
    }

    /// How many threads are responsive, and how many there should be. A thread is not if it has been at one batch for
    /// `limit`, or has not woken for some time, not even to find nothing to read.
    pub fn running(&self, limit: Duration) -> (usize, usize) {
        let now = Instant::now();
        let runs = |(thread, handle): &&(Arc<ReceiveThread>, JoinHandle<()>)| {
            !handle.is_finished()
                && thread.progress.busy_for(now) < limit
                && thread.progress.since_heartbeat(now) < 3 * ReceiveThread::MAX_WAIT
        };
        (self.threads.iter().filter(runs).count(), self.threads.len())
    }

    /// The progress of each thread.
    pub(crate) fn progress(&self) -> impl Iterator<Item = &Arc<Progress>> {
        self.threads.iter().map(|(thread, _)| &thread.progress)
    }

    /// Errors of `epoll_wait(2)` so far.
    pub fn epoll_errors(&self) -> u64 {
        self.failures.epoll_errors.load(Ordering::Relaxed)
    }

    /// Resolves when a sink has panicked since the last call. Cancel-safe.
    pub async fn panicked(&self) {
        self.failures.panicked.notified().await;
    }

    /// Starts to deliver the datagrams that the socket receives: the sink, and everything it refers to, must be
    /// complete.
    pub fn register(&self, socket: Socket, sink: Box<dyn Sink>) -> Result<Registration, SocketError> {
        let (thread, _) = &self.threads[self.next.fetch_add(1, Ordering::Relaxed) % self.threads.len()];
        let socket = Arc::new(RegisteredSocket {
            socket,
            sink: Mutex::new(sink),
            released: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            gone: OnceLock::new(),
        });
        let key = thread.sockets().insert(socket.clone());
        let registration = Registration { thread: thread.clone(), key, socket: Some(socket) };
        thread.epoll.add(registration.socket().as_fd(), key as u64).context(Action::Open)?;
        Ok(registration)
    }
}

impl ReceiveThread {
    /// How often `epoll_wait(2)` may fail in a row, and the pause after each failure: together some seconds.
    const MAX_ERRORS_IN_A_ROW: u32 = 100;
    const ERROR_PAUSE: Duration = Duration::from_millis(20);
    /// After this time without a datagram the thread wakes, to show that it still runs.
    const MAX_WAIT: Duration = Duration::from_secs(10);

    fn new(failures: Arc<Failures>) -> io::Result<Self> {
        Ok(Self { epoll: Epoll::new()?, sockets: Mutex::default(), progress: Arc::default(), failures })
    }

    /// Serves ready sockets until the pipe's other end is closed.
    fn run(&self, _stop_reader: &PipeReader) {
        let mut buffers = ReceiveBuffers::new(BUFFERS);
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
        let mut errors = 0;
        loop {
            self.progress.idle();
            let ready = self.epoll.wait(&mut events, Self::MAX_WAIT);
            // With something to read, each batch shows that the thread runs.
            if ready.as_ref().map_or(0, ExactSizeIterator::len) == 0 {
                self.progress.heartbeat();
                buffers.release_pages();
            }
            let ready = match ready {
                Ok(ready) => ready,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    self.failures.epoll_errors.fetch_add(1, Ordering::Relaxed);
                    log_throttled!(ERROR, %error, "epoll_wait failed: the receive thread tries again");
                    errors += 1;
                    if errors > Self::MAX_ERRORS_IN_A_ROW {
                        fatal("epoll_wait keeps failing, and nothing is received");
                    }
                    thread::sleep(Self::ERROR_PAUSE);
                    continue;
                }
            };
            errors = 0;
            for key in ready {
                if key == STOP {
                    return;
                }
                // A socket closed since epoll_wait is gone, or its key belongs to another one that has nothing to read.
                let socket = usize::try_from(key).ok().and_then(|key| self.sockets().get(key).cloned());
                if let Some(socket) = socket {
                    self.progress.begin_work();
                    self.receive(&socket, &mut buffers);
                }
            }
        }
    }

    /// Receives and delivers one batch. If there is more to read, epoll reports the socket again.
    fn receive(&self, socket: &Arc<RegisteredSocket>, buffers: &mut ReceiveBuffers) {
        if socket.released.load(Ordering::Acquire) || socket.failed.load(Ordering::Acquire) {
            return;
        }
        // An error is an ICMP error of an earlier send, which reading clears, or means that there is nothing to read.
        let Ok(filled) = buffers.receive(socket.as_fd()) else {
            return;
        };
        let batch = Batch::new(buffers, filled);
        if !socket.deliver(&batch) {
            // Otherwise epoll would report the socket as readable without end.
            let _ = self.epoll.remove(socket.as_fd());
            self.failures.panicked.notify_one();
        }
    }

    fn sockets(&self) -> MutexGuard<'_, Slab<Arc<RegisteredSocket>>> {
        self.sockets.lock_shared()
    }
}

/// Sends from a registered socket for as long as it is open, without keeping it open.
#[derive(Clone)]
pub struct SendHandle(Weak<RegisteredSocket>);

impl SendHandle {
    pub fn new(socket: &Arc<RegisteredSocket>) -> Self {
        Self(Arc::downgrade(socket))
    }

    /// The socket, which stays open for as long as the caller holds it; none once its owner has closed it.
    pub fn open(&self) -> Option<Arc<RegisteredSocket>> {
        self.0.upgrade().filter(|socket| !socket.released.load(Ordering::Acquire))
    }
}

impl RegisteredSocket {
    /// Whether its sink has panicked, so that nothing more is delivered.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Hands a batch to the sink; false if the sink panics.
    pub(crate) fn deliver(self: &Arc<Self>, batch: &Batch<'_>) -> bool {
        if self.released.load(Ordering::Acquire) || self.has_failed() {
            return true;
        }
        let delivered = catch_unwind(AssertUnwindSafe(|| self.sink.lock_own().deliver(self, batch)));
        if delivered.is_err() {
            self.failed.store(true, Ordering::Release);
        }
        delivered.is_ok()
    }
}

impl Deref for RegisteredSocket {
    type Target = Socket;

    fn deref(&self) -> &Socket {
        &self.socket
    }
}

impl Registration {
    pub fn socket(&self) -> &Arc<RegisteredSocket> {
        self.socket.as_ref().expect("it is there until it is released")
    }

    /// From now on nothing is received or sent; the socket itself is closed later.
    pub fn stop(&self) {
        self.socket().released.store(true, Ordering::Release);
        let _ = self.thread.epoll.remove(self.socket().as_fd());
    }

    /// Releases the socket: from now on nothing is received or sent, and it is closed once no delivery or send is in
    /// progress.
    pub fn release(mut self) -> Closing {
        self.take()
    }

    fn take(&mut self) -> Closing {
        let Some(socket) = self.socket.take() else { return Closing(None) };
        socket.released.store(true, Ordering::Release);
        let _ = self.thread.epoll.remove(socket.as_fd());
        self.thread.sockets().try_remove(self.key);
        match Arc::try_unwrap(socket) {
            Ok(socket) => {
                under_rtnl(|| drop(socket));
                Closing(None)
            }
            Err(socket) => {
                let gone = CancellationToken::new();
                let _ = socket.gone.set(gone.clone().drop_guard());
                Closing(Some(gone))
            }
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let _ = self.take();
    }
}

impl Closing {
    /// Resolves once the socket is closed. Cancel-safe.
    pub async fn wait(&self) {
        if let Some(gone) = &self.0 {
            gone.cancelled().await;
        }
    }

    /// Whether the socket is closed already.
    pub fn is_done(&self) -> bool {
        self.0.as_ref().is_none_or(CancellationToken::is_cancelled)
    }
}

#[cfg(test)]
impl Registration {
    /// Registers a socket that no thread reads: the test delivers the batches.
    pub(crate) fn unread(socket: Socket, sink: Box<dyn Sink>) -> Result<Self, SocketError> {
        let thread = Arc::new(ReceiveThread::new(Arc::default()).context(Action::Open)?);
        let socket = Arc::new(RegisteredSocket {
            socket,
            sink: Mutex::new(sink),
            released: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            gone: OnceLock::new(),
        });
        Ok(Self { thread, key: 0, socket: Some(socket) })
    }
}

#[cfg(test)]
mod tests;
