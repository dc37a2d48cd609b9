//! The cost of clients that follow a log: of those that read, and of one that does not.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rollcall::store::Cursor;
use socket2::Socket;

use crate::bare;
use crate::disk::Scratch;
use crate::load::{Load, Receiver};
use crate::peer::{Service, cpu_ns, resident};
use crate::store::{Log, join};
use crate::table::{Bound, ROUNDS, Table};

const GROUP: &str = "239.7.5.1:7008";
const CLIENTS: usize = 1_000;
/// Datagrams per second.
const RATE: f64 = 500_000.0;

pub(crate) fn rows(table: &mut Table) {
    many(table);
    one_that_does_not_read(table);
}

fn load(duration: Duration) -> Load {
    let groups = vec![GROUP.parse().expect("a group")];
    Load { groups, payload: vec![b'x'; 64], segments: 16, duration }
}

fn sender() -> Socket {
    bare::sender(GROUP.parse().expect("a group")).expect("a sender")
}

/// A service with a full log, so that further memory is not the log's.
fn with_full_log(scratch: &Scratch, sender: &Socket) -> (Service, Log) {
    let mut service = Service::start_in(scratch.path(), &[]);
    let log = join(&service, GROUP);
    load(Duration::from_secs(3)).send(sender, RATE);
    service.wait_until_settled();
    (service, log)
}

fn many(table: &mut Table) {
    let name = "1,000 clients that follow one log";
    if !table.wants(name) {
        return;
    }
    let (mut idle, mut behind, mut shares, mut waits) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let sender = sender();
    for _ in 0..ROUNDS {
        let scratch = Scratch::new();
        let (mut service, log) = with_full_log(&scratch, &sender);
        let without = captured(&mut service, &sender).share;

        let end = log.after(&service, service.received());
        let before = resident(service.pid());
        let clients: Vec<_> = (0..CLIENTS).map(|_| follow(&service, &log, end)).collect();
        let readers = Readers::start(clients);
        let of_each = |now: u64| now.saturating_sub(before) as f64 / CLIENTS as f64;
        idle.push(of_each(resident(service.pid())));
        let with = captured(&mut service, &sender).share;
        let begun = Instant::now();
        service.received();
        waits.push(begun.elapsed().as_secs_f64() * 1e3);
        behind.push(of_each(resident(service.pid())));
        shares.push((with, without));
        drop(readers);
    }
    table.alone(&format!("{name}: memory of each"), "B", Bound::Within(32_768.0, 16_384.0), &idle);
    table.alone(&format!("{name}: memory of each, all behind"), "B", Bound::Report, &behind);
    let captured = format!("{name}: captured of 500,000/s ÷ without");
    table.pairs(&captured, "%", Bound::AtLeast(0.95, 0.999), &shares);
    table.alone(&format!("{name}: a request meanwhile"), "ms", Bound::Report, &waits);
}

fn one_that_does_not_read(table: &mut Table) {
    let name = "a client that does not read";
    if !table.wants(name) {
        return;
    }
    let (mut memory, mut shares, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
    let sender = sender();
    for _ in 0..ROUNDS {
        let scratch = Scratch::new();
        let (mut service, log) = with_full_log(&scratch, &sender);
        let without = captured(&mut service, &sender);
        let end = log.after(&service, service.received());
        let before = resident(service.pid());
        let client = follow(&service, &log, end);
        let with = captured(&mut service, &sender);
        // By now the log has evicted the datagrams that the client has not read.
        load(Duration::from_secs(1)).send(&sender, RATE);
        service.wait_until_settled();
        memory.push(resident(service.pid()).saturating_sub(before) as f64 / 1024.0);
        until_told_of_a_gap(client);
        shares.push((with.share, without.share));
        cpu.push((with.cpu, without.cpu));
    }
    table.alone(&format!("{name}: memory"), "KiB", Bound::Within(2_048.0, 1_024.0), &memory);
    let captured = format!("{name}: captured of 500,000/s ÷ without");
    table.pairs(&captured, "%", Bound::AtLeast(0.95, 0.999), &shares);
    table.pairs(&format!("{name}: CPU per datagram ÷ without"), "ns", Bound::AtMost(1.3, 1.1), &cpu);
}

/// The results of a second at [`RATE`].
struct Captured {
    /// Percent of the sent datagrams.
    share: f64,
    /// Nanoseconds per datagram.
    cpu: f64,
}

fn captured(service: &mut Service, sender: &Socket) -> Captured {
    let before = service.received();
    let cpu = cpu_ns(service.pid());
    let sent = load(Duration::from_secs(1)).send(sender, RATE);
    // For the datagrams that are still in the socket and in the store.
    std::thread::sleep(Duration::from_millis(200));
    let cpu = (cpu_ns(service.pid()) - cpu) as f64;
    let kept = (service.received() - before) as f64;
    Captured { share: 100.0 * kept / sent as f64, cpu: cpu / kept }
}

/// Follows the log from its end on. The response's head has been read.
fn follow(service: &Service, log: &Log, end: Cursor) -> UnixStream {
    let mut client = service.client.connect().expect("a connection").into_stream();
    let path = &log.path;
    let head =
        format!("GET {path}?after={end} HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n");
    client.write_all(head.as_bytes()).expect("the server reads");
    let mut byte = [0];
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte).expect("a head");
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
    client
}

/// Continues reading; an overtaken client gets a gap before long.
fn until_told_of_a_gap(mut client: UnixStream) {
    /// More than the socket and the service hold for one client.
    const MOST: usize = 4 * 1024 * 1024;
    let mut text = Vec::new();
    let mut chunk = vec![0; 64 * 1024];
    while !String::from_utf8_lossy(&text).contains("event: gap\n") {
        let read = client.read(&mut chunk).expect("it goes on");
        text.extend_from_slice(&chunk[..read]);
        let last = String::from_utf8_lossy(&text[text.len().saturating_sub(400)..]);
        assert!(
            read > 0 && text.len() < MOST,
            "it was overtaken and not told within {} bytes: {last}",
            text.len()
        );
    }
}

/// A thread that reads the clients' data, and discards it.
struct Readers {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<io::Result<()>>>,
}

impl Readers {
    fn start(clients: Vec<UnixStream>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let sockets: Vec<Socket> = clients.into_iter().map(Socket::from).collect();
            let epoll = bare::Epoll::over(&sockets)?;
            let mut chunk = vec![0; 256 * 1024];
            while !stopped.load(Ordering::Relaxed) {
                epoll.wait(|ready| {
                    let _ = (&sockets[ready]).read(&mut chunk);
                });
            }
            Ok(())
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(|thread| thread.join().expect("it reads")).transpose().expect("epoll");
    }
}
