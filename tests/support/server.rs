use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use rollcall::control::Settings;
use rollcall::http::Door;
use rollcall::server::{Config, Listen, Server};
use rollcall::store::Limits;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::client::Client;

/// A service of the test's own, on a port of its own.
pub(crate) struct TestServer {
    client: Client,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            listen: vec![Listen::Tcp(([127, 0, 0, 1], 0).into())],
            allow_anonymous: false,
            door: Door::default(),
            socket_mode: 0o660,
            grace: Duration::from_secs(5),
            settings: Settings {
                lanes: 2,
                receive_buffer: 1 << 20,
                log_limits: Limits { entries: 1_000_000, bytes: 32 << 20 },
                kept_messages: 10_000,
                replies_per_source: 100,
                replies_total: 10_000,
            },
        };
        change(&mut config);
        let server = Server::bind(config).await.expect("the service starts");
        let client = Client::tcp(server.tcp_addr().expect("a TCP address"));
        let stop = CancellationToken::new();
        let running = tokio::spawn(server.run(stop.clone()));
        Self { client, stop, running }
    }

    /// Stops the service in order and waits until it has.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.running.await.expect("the service ends in order");
    }
}

impl std::ops::Deref for TestServer {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// A group that no other test uses, on a port below the ephemeral range.
pub(crate) fn fresh_group() -> String {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let nth = NEXT.fetch_add(1, Ordering::Relaxed);
    let [a, b] = nth.to_be_bytes();
    let [_, _, c, d] = std::process::id().to_be_bytes();
    format!("239.{}.{c}.{d}:{}", a.wrapping_add(b).wrapping_add(1), 10_000 + nth % 20_000)
}
