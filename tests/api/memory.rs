//! Memory that the service gives back after a load.

use std::time::{Duration, Instant};

use crate::support::client::Client;
use crate::support::metrics::Metrics;
use crate::support::program::Program;
use crate::support::raw_connection::RawConnection;

const MIB: u64 = 1024 * 1024;

#[tokio::test]
async fn the_memory_of_large_bodies_is_given_back() {
    const BODIES: usize = 300;
    let program = Program::start_with(&["--memory", "--request-bytes", "1000000000"]);
    // The first answers allocate what stays.
    program.get("/readyz").await.expect(200);
    let idle = resident(&program).await;
    let mut unfinished = Vec::new();
    for _ in 0..BODIES {
        let mut connection = RawConnection::unix(program.socket()).await;
        let head = "POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/plain\r\ncontent-length: 1000000\r\n\r\n";
        assert!(connection.send(head.as_bytes()).await);
        for _ in 0..244 {
            assert!(connection.send(&[b'x'; 4096]).await);
        }
        unfinished.push(connection);
    }
    let loaded = resident(&program).await;
    assert!(loaded > idle + BODIES as u64 * MIB / 2, "the load shows: {idle}, {loaded}");

    drop(unfinished);

    let started = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = resident(&program).await;
        if now <= idle + 8 * MIB {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{idle} before, {loaded} under load, {now} now");
    }
}

async fn resident(client: &Client) -> u64 {
    Metrics::of(client).await.count("process_resident_memory_bytes")
}
