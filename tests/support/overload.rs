//! All at once that clients and peers can do to a service: a flood, responses from countless sources, connections that
//! say nothing or never end their request, readers that do not read, and requests as fast as they are answered.
//!
//! It uses a unix socket and loopback, and ends by itself.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

/// Where the load is sent.
pub(crate) struct Target<'a> {
    /// Of the HTTP server.
    pub(crate) socket: &'a Path,
    /// Is flooded.
    pub(crate) group: SocketAddrV4,
    /// A socket that collects the responses to a message.
    pub(crate) collector: SocketAddrV4,
    /// The path of the flooded log.
    pub(crate) log: &'a str,
    /// The path of that message.
    pub(crate) message: &'a str,
}

pub(crate) struct Load {
    /// Of the flood and of the clients. The load ends later if rounds or responses are left.
    pub(crate) duration: Duration,
    /// Datagrams that are 65,000 bytes long, one of so many.
    pub(crate) large_every: u64,
    /// Different source addresses of responses.
    pub(crate) sources: u32,
    /// Connections without a request, and as many with an unfinished one.
    pub(crate) connections: usize,
    /// Clients that request the log and do not read it.
    pub(crate) stopped_readers: usize,
    pub(crate) clients: usize,
    /// Memberships that are created and deleted.
    pub(crate) rounds: u64,
}

impl Load {
    /// For a machine that runs nothing else.
    pub(crate) const WHOLE: Self = Self {
        duration: Duration::from_secs(20),
        large_every: 100,
        sources: 100_000,
        connections: 5_000,
        stopped_readers: 20,
        clients: 50,
        rounds: 100_000,
    };
}

pub(crate) struct Sent {
    /// Datagrams to the group.
    pub(crate) flooded: u64,
    /// Datagrams to the collector.
    pub(crate) responses: u64,
    pub(crate) rounds: u64,
    /// Answers to clients.
    pub(crate) answers: u64,
    /// Answers with a status of 500 or above, but 503.
    pub(crate) failures: u64,
    pub(crate) probes: Probes,
}

/// How long the server took for each `GET /livez` on a new connection, in ascending order.
pub(crate) struct Probes(Vec<Duration>);

impl Probes {
    /// The duration that 99 of 100 did not exceed.
    pub(crate) fn p99(&self) -> Duration {
        self.0.get(self.0.len() * 99 / 100).copied().unwrap_or_default()
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }
}

const ROUNDS_AT_ONCE: usize = 8;
/// No request takes so long.
const LIMIT: Duration = Duration::from_secs(20);

impl Target<'_> {
    /// Meanwhile it probes the server.
    pub(crate) fn overload(&self, load: &Load) -> Sent {
        let (ended, stop) = (AtomicBool::new(false), AtomicBool::new(false));
        let (answers, failures) = (AtomicU64::new(0), AtomicU64::new(0));
        let rounds_left = AtomicU64::new(load.rounds);
        let sent = thread::scope(|scope| {
            let held = scope.spawn(|| self.hold_connections(load));
            let flood = scope.spawn(|| self.flood(load, &ended));
            let responding = scope.spawn(|| self.respond(load.sources));
            for nth in 0..load.clients {
                let (ended, answers, failures) = (&ended, &answers, &failures);
                scope.spawn(move || {
                    for request in requests(nth, self) {
                        if ended.load(Ordering::Relaxed) {
                            break;
                        }
                        // A refused connection is tried again by the next request.
                        let Ok(status) = exchange(self.socket, &request) else { continue };
                        answers.fetch_add(1, Ordering::Relaxed);
                        failures.fetch_add(u64::from(status >= 500 && status != 503), Ordering::Relaxed);
                    }
                });
            }
            let begin = |nth| {
                let left = &rounds_left;
                scope.spawn(move || self.create_and_delete(nth, left))
            };
            let rounds: Vec<_> = (0..ROUNDS_AT_ONCE).map(begin).collect();
            let probing = scope.spawn(|| self.probe(&stop));
            thread::sleep(load.duration);
            ended.store(true, Ordering::Relaxed);
            let flooded = flood.join().expect("it floods");
            let responses = responding.join().expect("it responds");
            let rounds = rounds.into_iter().map(|rounds| rounds.join().expect("they are done")).sum();
            stop.store(true, Ordering::Relaxed);
            let probes = probing.join().expect("it probes");
            drop(held.join().expect("they connect"));
            Sent { flooded, responses, rounds, answers: 0, failures: 0, probes }
        });
        Sent { answers: answers.into_inner(), failures: failures.into_inner(), ..sent }
    }

    /// Sends to the group as fast as the kernel takes it.
    fn flood(&self, load: &Load, stop: &AtomicBool) -> u64 {
        let socket = on_loopback(Ipv4Addr::LOCALHOST);
        let (small, large) = (vec![b'a'; 64], vec![b'a'; 65_000]);
        let mut sent = 0;
        while !stop.load(Ordering::Relaxed) {
            let payload = if sent % load.large_every == 0 { &large } else { &small };
            sent += u64::from(socket.send_to(payload, self.group).is_ok());
        }
        sent
    }

    /// Responds once from each of so many addresses of 127.0.0.0/8.
    fn respond(&self, sources: u32) -> u64 {
        let first = Ipv4Addr::new(127, 1, 0, 0).to_bits();
        let respond = |nth| {
            let socket = on_loopback(Ipv4Addr::from_bits(first + nth));
            u64::from(socket.send_to(b"here", self.collector).is_ok())
        };
        (0..sources).map(respond).sum()
    }

    fn hold_connections(&self, load: &Load) -> Vec<UnixStream> {
        let head = format!("GET /livez HTTP/1.1\r\nhost: localhost\r\nx: {}", "x".repeat(60_000));
        let page = format!("GET {}?limit=1000 HTTP/1.1\r\nhost: localhost\r\n\r\n", self.log);
        let idle = (0..load.connections).map(|_| "");
        let unfinished = (0..load.connections).map(|_| head.as_str());
        let stopped = (0..load.stopped_readers).map(|_| page.as_str());
        let begin = |request: &str| {
            let mut stream = connect(self.socket).ok()?;
            // The server may close it at any time.
            let _ = stream.write_all(request.as_bytes());
            Some(stream)
        };
        stopped
            .chain(idle.zip(unfinished).flat_map(|(idle, unfinished)| [idle, unfinished]))
            .filter_map(begin)
            .collect()
    }

    /// Creates and deletes a membership as long as rounds are left; returns how often both were answered.
    fn create_and_delete(&self, nth: usize, left: &AtomicU64) -> u64 {
        let path = format!("/v1/memberships/round-{nth}");
        let body = r#"{"group": "239.255.1.1:9", "interfaces": ["lo"], "expires_in_ms": 86400000}"#;
        let [create, delete] = [request("PUT", &path, body), request("DELETE", &path, "")];
        let mut answered = 0;
        while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
            let both = [&create, &delete].map(|request| exchange(self.socket, request));
            answered += u64::from(both.iter().all(Result::is_ok));
        }
        answered
    }

    fn probe(&self, stop: &AtomicBool) -> Probes {
        let mut taken = Vec::new();
        let livez = request("GET", "/livez", "");
        while !stop.load(Ordering::Relaxed) {
            let begun = Instant::now();
            let status = exchange(self.socket, &livez);
            assert_eq!(status.expect("the server lives"), 200);
            taken.push(begun.elapsed());
            thread::sleep(Duration::from_millis(5));
        }
        taken.sort();
        Probes(taken)
    }
}

/// A client's requests, without end.
fn requests(nth: usize, target: &Target<'_>) -> impl Iterator<Item = String> {
    let Target { log, message, .. } = target;
    let send = r#"{"group": "239.255.1.2:9", "interfaces": ["lo"], "payload": "hello", "window_ms": 0}"#;
    let requests = [
        request("GET", &format!("{log}?limit=1000"), ""),
        request("GET", message, ""),
        request("POST", "/v1/messages", send),
        request("GET", "/metrics", ""),
        request("POST", "/v1/messages", &"x".repeat(1_000_000)),
        request("GET", &format!("{log}?format=ndjson&contains=nothing"), ""),
    ];
    requests.into_iter().cycle().skip(nth)
}

fn request(method: &str, path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// Sends a request on a connection of its own and reads the whole answer; gives its status.
fn exchange(socket: &Path, request: &str) -> io::Result<u16> {
    let mut stream = connect(socket)?;
    // A server may answer before it has read the request.
    let _ = stream.write_all(request.as_bytes());
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    io::copy(&mut reader.by_ref(), &mut io::sink())?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.ok_or_else(|| io::Error::other("no status"))
}

fn connect(socket: &Path) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(Duration::from_millis(200)))?;
    Ok(stream)
}

/// A socket that sends from this address, and groups by loopback.
fn on_loopback(source: Ipv4Addr) -> UdpSocket {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).expect("a socket");
    socket.set_multicast_if_v4(&Ipv4Addr::LOCALHOST).expect("loopback");
    socket.bind(&SocketAddrV4::new(source, 0).into()).expect("a port");
    socket.into()
}
