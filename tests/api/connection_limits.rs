//! What becomes of connections at the limit of connections.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::metrics::Metrics;
use crate::support::program::Program;

const CLOSED: &str = "rollcall_http_closed_connections_total";

#[tokio::test]
async fn at_the_limit_complete_requests_are_answered() {
    const THREADS: usize = 40;
    const REQUESTS: usize = 20;
    let program = Program::start_with(&["--connections", "25"]);

    let failed: Vec<_> = thread::scope(|scope| {
        let clients: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    let outcomes = (0..REQUESTS).map(|_| livez(program.socket()));
                    outcomes.filter_map(Result::err).collect::<Vec<_>>()
                })
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().expect("no panic")).collect()
    });

    assert!(failed.is_empty(), "{} failed: {:?}", failed.len(), failed.first());
}

#[tokio::test]
async fn as_many_are_closed_as_there_are_too_many_and_all_are_counted() {
    const LIMIT: usize = 100;
    const CONNECTIONS: usize = 300;
    let program = Program::start_with(&["--connections", &LIMIT.to_string()]);
    let mut idle: Vec<_> = (0..CONNECTIONS)
        .map(|_| UnixStream::connect(program.socket()).expect("the backlog has room"))
        .collect();
    // The service has accepted all of them, and one more.
    livez(program.socket()).expect("an answer");
    // Longer than a connection of the reserve may take for a head.
    tokio::time::sleep(Duration::from_millis(1_500)).await;

    for connection in &idle {
        connection.set_nonblocking(true).expect("a socket");
    }
    let is_open = |connection: &mut UnixStream| {
        connection.read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    };
    let open = idle.iter_mut().map(is_open).filter(|is_open| *is_open).count();
    assert_eq!(open, LIMIT - 1);
    let metrics = Metrics::of(&program).await;
    let counted = ["head", "idle", "reader", "full"]
        .map(|cause| metrics.count(&format!(r#"{CLOSED}{{cause="{cause}"}}"#)));
    // The request for the metrics has closed one.
    let closed = (CONNECTIONS - open) as u64;
    assert!((closed..=closed + 1).contains(&counted[0]), "{counted:?}");
    assert_eq!(counted[1..], [0, 0, 0]);
}

#[tokio::test]
async fn connections_of_the_reserve_that_say_nothing_are_counted() {
    let program = Program::start_with(&["--connections", "1"]);
    let mut busy = UnixStream::connect(program.socket()).expect("connected");
    busy.write_all(b"GET /v1/events?format=sse HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("sent");
    assert!(busy.read(&mut [0; 4_096]).expect("a head") > 0);

    let mut silent = UnixStream::connect(program.socket()).expect("connected");
    assert_eq!(silent.read(&mut [0]).expect("the end"), 0);

    let metrics = Metrics::of(&program).await;
    assert_eq!(metrics.count(&format!(r#"{CLOSED}{{cause="head"}}"#)), 1);
}

/// A request on a connection of its own.
fn livez(socket: &str) -> io::Result<()> {
    const LIMIT: Duration = Duration::from_secs(20);
    let started = Instant::now();
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let is_answered = answer.starts_with("HTTP/1.1 200 ");
    let other = || io::Error::other(format!("{answer:?} after {:?}", started.elapsed()));
    if is_answered { Ok(()) } else { Err(other()) }
}
