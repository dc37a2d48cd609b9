//! Clients that read slowly are served, and those that stop are disconnected soon.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use rollcall::server::Listen;

use crate::support::metrics::Metrics;
use crate::support::peer::Peer;
use crate::support::program::Scratch;
use crate::support::server::{TestServer, fresh_group};

const TIMEOUT: Duration = Duration::from_millis(500);
const DATAGRAMS: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_slowly_gets_the_whole_answer() {
    let scratch = Scratch::new();
    let socket = scratch.path("socket");
    let (server, log) = with_a_long_log(|config| config.listen.push(Listen::Unix(socket.clone()))).await;
    let mut stream = UnixStream::connect(&socket).expect("connected");
    request(&mut stream, &log);

    // The kernel takes more for it once it has read some 150 kB.
    let lines = tokio::task::spawn_blocking(move || {
        let (mut lines, mut chunk) = (0, vec![0; 25_000]);
        while let Ok(length @ 1..) = stream.read(&mut chunk) {
            lines += chunk[..length].split(|byte| *byte == b'\n').count() - 1;
            thread::sleep(Duration::from_millis(100));
        }
        lines
    });

    let lines = lines.await.expect("no panic");
    assert!(lines >= DATAGRAMS, "{lines} lines");
    assert_eq!(closed_readers(&server).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_is_disconnected_in_time_and_costs_little() {
    const RECEIVE_BUFFER: usize = 16_384;
    let (server, log) = with_a_long_log(|_| {}).await;
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(RECEIVE_BUFFER).expect("a small buffer");
    socket.connect(&server.address().into()).expect("connected");
    let mut stream = TcpStream::from(socket);
    request(&mut stream, &log);

    let started = Instant::now();
    while closed_readers(&server).await == 0 {
        assert!(started.elapsed() < 4 * TIMEOUT, "it goes on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    assert!(started.elapsed() >= TIMEOUT * 3 / 4, "{:?}", started.elapsed());
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.len() < 300_000, "{}", rest.len());
}

fn request(stream: &mut impl Write, log: &str) {
    let request = format!("GET {log}?format=ndjson HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
}

async fn with_a_long_log(configure: impl FnOnce(&mut rollcall::server::Config)) -> (TestServer, String) {
    let server = TestServer::start_with(|config| {
        config.connection_limits.write_timeout = TIMEOUT;
        configure(config);
    })
    .await;
    let group = fresh_group();
    let log = format!("{}/datagrams", server.join(&group).await);
    let peer = Peer::at("127.0.0.1");
    for nth in 1..=DATAGRAMS {
        peer.send(&group, vec![b'x'; 1_400]);
        if nth % 50 == 0 {
            server.get(&format!("{log}?wait_ms=1000&limit=1")).await.expect(200);
        }
    }
    server.wait_for_datagrams(&log, DATAGRAMS).await;
    (server, log)
}

async fn closed_readers(server: &TestServer) -> u64 {
    Metrics::of(server).await.count(r#"rollcall_http_closed_connections_total{cause="reader"}"#)
}
