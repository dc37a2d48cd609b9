use std::net::SocketAddr;
use std::sync::mpsc;

use super::*;
use crate::model::Family;

/// Forwards the payloads of each batch, and panics at the payload `panic`.
struct ForwardingSink(mpsc::Sender<Vec<u8>>);

impl Sink for ForwardingSink {
    fn deliver(&mut self, _: &Arc<RegisteredSocket>, batch: &Batch<'_>) {
        for received in batch.iter() {
            assert_ne!(received.bytes, b"panic", "a sink that panics on purpose");
            let _ = self.0.send(received.bytes.to_vec());
        }
    }
}

fn bound() -> (Socket, SocketAddr) {
    let socket = Socket::open(Family::V4).unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

#[tokio::test]
async fn a_panicking_sink_fails_only_its_own_socket() {
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let threads = ReceiveThreads::start(1, &tasks, &stop).unwrap();
    let ((broken, broken_at), (whole, whole_at)) = (bound(), bound());
    let (delivering, delivered) = mpsc::channel();
    let broken = threads.register(broken, Box::new(ForwardingSink(delivering.clone()))).unwrap();
    let whole = threads.register(whole, Box::new(ForwardingSink(delivering))).unwrap();

    let sender = Socket::open(Family::V4).unwrap();
    for serial in 0..100_u8 {
        if serial == 50 {
            sender.send_to(broken_at, b"panic").unwrap();
        }
        sender.send_to(whole_at, &[serial]).unwrap();
    }
    threads.panicked().await;

    let received: Vec<_> = (0..100).map(|_| delivered.recv().unwrap()[0]).collect();
    assert_eq!(received, (0..100).collect::<Vec<_>>());
    assert!(broken.socket().has_failed() && !whole.socket().has_failed());
    assert_eq!(threads.running(Duration::from_secs(5)), (1, 1));

    stop.cancel();
    tasks.close();
    tasks.wait().await;
}

/// Blocks in each delivery until the test lets it end.
struct SlowSink {
    begun: mpsc::Sender<()>,
    may_end: mpsc::Receiver<()>,
}

impl Sink for SlowSink {
    fn deliver(&mut self, _: &Arc<RegisteredSocket>, _: &Batch<'_>) {
        let _ = self.begun.send(());
        let _ = self.may_end.recv();
    }
}

#[tokio::test]
async fn closing_waits_for_the_batch_in_progress() {
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let threads = ReceiveThreads::start(1, &tasks, &stop).unwrap();
    let (socket, address) = bound();
    let ((begun, has_begun), (end, may_end)) = (mpsc::channel(), mpsc::channel());
    let registration = threads.register(socket, Box::new(SlowSink { begun, may_end })).unwrap();
    let handle = SendHandle::new(registration.socket());
    Socket::open(Family::V4).unwrap().send_to(address, b"x").unwrap();
    has_begun.recv().unwrap();

    let closed = registration.release();
    assert!(!closed.is_done() && handle.open().is_none());
    assert_eq!(threads.running(Duration::ZERO), (0, 1), "it is at work on one batch");
    end.send(()).unwrap();
    closed.wait().await;
    assert!(can_bind(address), "the port is free");

    stop.cancel();
    tasks.close();
    tasks.wait().await;
}

fn can_bind(address: SocketAddr) -> bool {
    Socket::open(Family::V4).unwrap().bind(address).is_ok()
}
