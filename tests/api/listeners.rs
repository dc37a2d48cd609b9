//! The addresses and unix sockets that the service listens on.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rollcall::server::{Config, Listen, Server};
use serde_json::json;

use crate::support::client::Client;
use crate::support::program::{Program, Scratch};
use crate::support::server::{TestServer, config, fresh_group, on_lo};
#[tokio::test]
async fn a_remote_address_without_tokens_must_be_allowed() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let refused = Server::bind(listening([Listen::Tcp(address.parse().unwrap())])).await;
        let error = refused.err().expect("it is refused").to_string();
        assert!(error.contains("can be reached from other hosts"), "{error}");
    }
    let server = TestServer::start_with(|config| {
        config.listen = vec![Listen::Tcp(([0, 0, 0, 0], 0).into())];
        config.allow_anonymous = true;
    });
    server.await.get("/readyz").await.expect(200);
}

#[tokio::test]
async fn a_unix_socket_has_the_configured_mode_and_is_removed_at_the_end() {
    let scratch = Scratch::new();
    for mode in [0o660, 0o600] {
        let path = scratch.path("socket");
        let server = TestServer::start_with(|config| {
            config.listen.push(Listen::Unix(path.clone()));
            config.socket_mode = mode;
        });
        let server = server.await;

        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
        let group = fresh_group();
        let joined = Client::unix(&path).post("/v1/memberships", on_lo(&group, json!({}))).await;
        server.get(joined.header("location")).await.expect(200);

        server.stop().await;
        assert!(!path.exists());
    }
}

/// The moment between bind(2) and chmod(2) is short; a thread that looks all the time often catches it.
#[tokio::test]
async fn a_unix_socket_is_closed_to_others_from_the_start() {
    let scratch = Scratch::new();
    let (socket, ended) = (scratch.path("socket"), Arc::new(AtomicBool::new(false)));
    let (made, stop) = (scratch.path("socket.new"), ended.clone());
    let watcher = std::thread::spawn(move || {
        let mut modes = BTreeSet::new();
        while !stop.load(Ordering::Relaxed) {
            if let Ok(found) = std::fs::symlink_metadata(&made) {
                modes.insert(found.permissions().mode() & 0o777);
            }
        }
        modes
    });
    let listen = format!("unix:{}", socket.display());
    for _ in 0..5 {
        let umask = ["sh", "-c", "umask 0; exec \"$@\"", "sh"];
        drop(Program::start_as(&umask, &["--memory", "--listen", &listen]));
    }
    ended.store(true, Ordering::Relaxed);

    let modes = watcher.join().expect("no panic");
    assert!(modes.iter().all(|mode| mode % 0o10 == 0), "{modes:?}");
}

#[tokio::test]
async fn a_stale_socket_file_is_replaced() {
    let mut crashed = Program::start();
    let path = PathBuf::from(crashed.listen().strip_prefix("unix:").unwrap());
    crashed.signal("KILL");
    crashed.ended().await;
    assert!(path.exists());

    let _server = TestServer::start_with(|config| config.listen.push(Listen::Unix(path.clone()))).await;

    Client::unix(&path).get("/livez").await.expect(200);
}

#[tokio::test]
async fn other_files_at_the_socket_path_are_left_alone() {
    let scratch = Scratch::new();
    let path = scratch.path("socket");
    let live = UnixListener::bind(&path).unwrap();
    assert!(bind_error(&path).await.contains(&format!("(process {}) listens there", std::process::id())));
    assert!(path.exists());
    drop(live);

    let file = scratch.path("file");
    std::fs::write(&file, "precious").unwrap();
    assert!(bind_error(&file).await.contains("there is a file that is not a socket"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");

    assert!(bind_error(&scratch.path("missing/socket")).await.contains("missing/socket"));
}

#[tokio::test]
async fn a_datagram_socket_at_the_path_is_left_alone() {
    let scratch = Scratch::new();
    let path = scratch.path("datagrams");
    let _live = std::os::unix::net::UnixDatagram::bind(&path).unwrap();

    assert!(bind_error(&path).await.contains("another process listens there"));
    assert!(path.exists());
}

#[tokio::test]
async fn the_socket_of_another_program_outlives_the_service() {
    let scratch = Scratch::new();
    let path = scratch.path("socket");
    let first = TestServer::start_with(|config| config.listen.push(Listen::Unix(path.clone()))).await;
    std::fs::remove_file(&path).unwrap();
    let _second = TestServer::start_with(|config| config.listen.push(Listen::Unix(path.clone()))).await;

    first.stop().await;

    Client::unix(&path).get("/livez").await.expect(200);
}

/// The error with which the service refuses to listen there.
async fn bind_error(path: &Path) -> String {
    let refused = Server::bind(listening([Listen::Unix(path.to_owned())])).await;
    refused.err().expect("it is refused").to_string()
}

fn listening(listen: impl Into<Vec<Listen>>) -> Config {
    Config { listen: listen.into(), ..config() }
}
