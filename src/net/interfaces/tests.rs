//! The kernel of this machine, with faults injected into requests and replies.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;

use super::netlink::NetlinkSocket;
use super::*;
use crate::net::SocketErrorKind;

#[tokio::test]
async fn a_lost_reply_is_requested_again() {
    let host = Host::start().await;
    for lost in 1..3 {
        host.faults.lose.store(lost, Ordering::SeqCst);
        host.mark_incomplete();
        assert_eq!(host.watch.refresh().await.unwrap().by_index(1).unwrap().name.as_ref(), "lo");
        assert_eq!(host.faults.lose.load(Ordering::SeqCst), 0);
    }
    host.stop().await;
}

#[tokio::test]
async fn a_request_without_any_reply_ends_with_an_error() {
    let host = Host::start().await;
    host.faults.lose.store(u32::MAX, Ordering::SeqCst);
    host.mark_incomplete();
    let error = host.watch.refresh().await.unwrap_err();
    assert_eq!(error.kind(), SocketErrorKind::TimedOut, "{error}");
    assert!(host.watch.health().last_error.is_some());

    host.faults.lose.store(0, Ordering::SeqCst);
    host.mark_incomplete();
    host.watch.refresh().await.unwrap();
    assert!(host.watch.health().last_error.is_none());
    host.stop().await;
}

#[tokio::test]
async fn a_truncated_or_interrupted_dump_is_repeated() {
    let host = Host::start().await;
    let before = host.watch.table();
    for fault in [&host.faults.cut, &host.faults.interrupt] {
        fault.store(2, Ordering::SeqCst);
        host.mark_incomplete();
        assert_eq!(host.watch.refresh().await.unwrap(), before);
        assert_eq!(fault.load(Ordering::SeqCst), 0);
    }
    host.stop().await;
}

#[tokio::test]
async fn an_overflow_is_counted_and_causes_a_dump() {
    let host = Host::start().await;
    let before = host.watch.health();
    host.faults.overflow.store(3, Ordering::SeqCst);
    host.watch.refresh().await.unwrap();
    let after = host.watch.health();
    assert_eq!(after.overflows, before.overflows + 3);
    assert!(after.reads > before.reads);
    host.stop().await;
}

#[tokio::test]
async fn concurrent_requests_share_one_dump() {
    let host = Host::start().await;
    host.mark_incomplete();
    let before = host.watch.health().reads;
    let refreshes = (0..100).map(|_| host.watch.refresh());
    for table in futures_util::future::join_all(refreshes).await {
        table.unwrap();
    }
    assert!(host.watch.health().reads <= before + 2);
    host.stop().await;
}

#[tokio::test]
async fn the_thread_survives_a_panic() {
    let host = Host::start().await;
    host.faults.panic.store(1, Ordering::SeqCst);
    assert!(host.watch.refresh().await.unwrap().by_name("lo").is_some());
    assert_eq!(host.faults.panic.load(Ordering::SeqCst), 0);
    host.stop().await;
}

#[tokio::test]
async fn a_stuck_system_call_blocks_no_caller() {
    let host = Host::start().await;
    let (returns, returning) = mpsc::channel::<()>();
    *host.faults.stuck.lock().unwrap() = Some(returning);
    host.mark_incomplete();
    let error = host.watch.refresh().await.unwrap_err();
    assert_eq!(error.kind(), SocketErrorKind::TimedOut, "{error}");
    drop(returns);
    host.stop().await;
}

#[tokio::test]
async fn a_lost_route_reply_is_not_reported_as_no_route() {
    let host = Host::start().await;
    // Each route is another one, which is not in the cache.
    let mut ports = 1..;
    let mut query = || RouteQuery {
        destination: SocketAddr::from(([127, 0, 0, 1], ports.next().unwrap())),
        source_port: None,
        interface: None,
        source: None,
    };
    let expected = Route { interface_index: 1, source: Some([127, 0, 0, 1].into()) };
    for lost in 0..3 {
        host.faults.lose.store(lost, Ordering::SeqCst);
        assert_eq!(host.watch.route(&query()).unwrap(), expected);
    }
    host.faults.lose.store(3, Ordering::SeqCst);
    assert_eq!(host.watch.route(&query()).unwrap_err().kind(), SocketErrorKind::TimedOut);
    assert_eq!(host.watch.route(&query()).unwrap(), expected);

    let nowhere = RouteQuery { interface: Some(u32::MAX >> 1), ..query() };
    assert_eq!(host.watch.route(&nowhere).unwrap_err().kind(), SocketErrorKind::NoDevice);
    host.stop().await;
}

#[tokio::test]
async fn the_thread_ends_with_the_service() {
    let host = Host::start().await;
    let watch = host.watch.clone();
    assert!(watch.health().is_current(Instant::now()));
    host.stop().await;
    watch.refresh().await.unwrap_err();
    assert!(!watch.health().is_current(Instant::now()));
}

#[test]
fn the_table_is_current_for_three_periods() {
    let read = Instant::now();
    let health = InterfaceHealth { last_read: Some(read), ..InterfaceHealth::default() };
    assert!(health.is_current(read) && health.is_current(read + Duration::from_secs(89)));
    assert!(!health.is_current(read + Duration::from_secs(90)));
    assert!(!InterfaceHealth::default().is_current(read));
}

/// This machine, with faults between its kernel and the service.
struct Host {
    watch: InterfaceWatch,
    faults: Arc<Faults>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Host {
    async fn start() -> Self {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let faults = Arc::<Faults>::default();
        let watch = InterfaceWatch::start_with(Arc::new(Faulty(faults.clone())), &tasks, &stop).await;
        Self { watch: watch.unwrap(), faults, tasks, stop }
    }

    /// Makes the next request wait until everything has been read again.
    fn mark_incomplete(&self) {
        self.faults.overflow.store(1, Ordering::SeqCst);
    }

    async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// How often each fault is still to happen.
#[derive(Default)]
struct Faults {
    lose: AtomicU32,
    cut: AtomicU32,
    interrupt: AtomicU32,
    overflow: AtomicU32,
    panic: AtomicU32,
    /// A reply arrives only when the other end is dropped.
    stuck: Mutex<Option<mpsc::Receiver<()>>>,
}

struct Faulty(Arc<Faults>);

struct FaultySocket {
    socket: Box<dyn NetlinkSocket>,
    faults: Arc<Faults>,
    notifies: bool,
}

impl Netlink for Faulty {
    fn open(&self) -> io::Result<Box<dyn NetlinkSocket>> {
        Ok(Box::new(FaultySocket { socket: KernelNetlink.open()?, faults: self.0.clone(), notifies: false }))
    }

    fn subscribe_to_interfaces(&self) -> io::Result<Box<dyn NetlinkSocket>> {
        Ok(Box::new(FaultySocket {
            socket: KernelNetlink.subscribe_to_interfaces()?,
            faults: self.0.clone(),
            notifies: true,
        }))
    }

    fn subscribe_to_routes(&self) -> io::Result<Box<dyn NetlinkSocket>> {
        KernelNetlink.subscribe_to_routes()
    }
}

impl NetlinkSocket for FaultySocket {
    fn send(&self, request: &[u8]) -> io::Result<()> {
        self.socket.send(request)
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let happens = |fault: &AtomicU32| {
            fault.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
        };
        if self.notifies {
            if happens(&self.faults.panic) {
                // Without the panic hook, which may take seconds for a backtrace.
                std::panic::resume_unwind(Box::new("a panic on purpose"));
            }
            if happens(&self.faults.overflow) {
                return Err(io::Error::from_raw_os_error(libc::ENOBUFS));
            }
            return self.socket.receive(buffer);
        }
        if let Some(returning) = self.faults.stuck.lock().unwrap().take() {
            let _ = returning.recv();
        }
        let length = self.socket.receive(buffer)?;
        if happens(&self.faults.lose) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if happens(&self.faults.interrupt) {
            buffer[6] |= 16;
        }
        Ok(if happens(&self.faults.cut) { length / 2 - 1 } else { length })
    }
}

impl AsFd for FaultySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
