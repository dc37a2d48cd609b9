//! Who is let in, and where the service listens.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use hyper::Method;
use rollcall::server::{Config, Listen, Server};
use serde_json::json;

use crate::support::client::Client;
use crate::support::program::{Program, Scratch};
use crate::support::server::{TestServer, config, fresh_group, on_lo};

#[tokio::test]
async fn unknown_host_names_are_refused() {
    let server =
        TestServer::start_with(|config| config.origin_policy.hosts = vec!["rollcall.lan".into()]).await;
    for host in ["127.0.0.1:8080", "[::1]", "localhost", "192.0.2.1:80", "rollcall.lan:8080"] {
        server.request(Method::GET, "/v1/messages").header("host", host).send().await.expect(200);
    }
    for host in ["evil.example", "127.0.0.1.evil.example:8080"] {
        let reply = server.request(Method::GET, "/v1/messages").header("host", host).send().await;
        let problem = reply.problem(403, "forbidden-host", "");
        assert!(problem["detail"].as_str().unwrap().contains("--allow-host"), "{problem}");
    }
}

#[tokio::test]
async fn pages_of_an_allowed_origin_can_use_the_api() {
    let allowed = "https://noc.example";
    let server = TestServer::start_with(|config| config.origin_policy.origins = vec![allowed.into()]).await;
    let ask = server.request(Method::OPTIONS, "/v1/memberships/m").header("origin", allowed);
    let ask = ask.header("access-control-request-method", "PUT");
    let answer = ask.header("access-control-request-headers", "content-type").send().await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), allowed);
    assert!(answer.header("access-control-allow-methods").contains("PUT"));
    assert!(answer.header("access-control-allow-headers").contains("content-type"));
    for path in ["/v1/groups", "/v1/memberships/none"] {
        let read = server.request(Method::GET, path).header("origin", allowed).send().await;
        assert_eq!(read.header("access-control-allow-origin"), allowed, "{path}");
        assert!(read.header("vary").contains("origin"), "{path}");
    }
    // Nobody else is told anything.
    let ask = server.request(Method::OPTIONS, "/v1/groups").header("origin", "https://evil.example");
    let answer = ask.header("access-control-request-method", "GET").send().await;
    answer.problem(403, "forbidden-origin", "");
    assert!(!answer.headers.contains_key("access-control-allow-origin"));
    assert!(!server.get("/v1/groups").await.headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn requests_of_other_origins_are_refused() {
    let allowed = "https://noc.example";
    let server = TestServer::start_with(|config| config.origin_policy.origins = vec![allowed.into()]).await;
    // What a page can send without asking first: a form, or fetch() in the mode no-cors.
    let path = format!("/v1/messages?group={}&interfaces=lo&window_ms=0", fresh_group());
    let post = |name, value| {
        server.request(Method::POST, &path).header(name, value).body("text/plain", "hello").send()
    };

    for origin in ["https://evil.example", "http://localhost:9090", "null"] {
        post("origin", origin).await.problem(403, "forbidden-origin", "");
    }
    post("sec-fetch-site", "cross-site").await.problem(403, "forbidden-origin", "");
    assert_eq!(server.get("/v1/messages").await.expect(200)["items"], json!([]));

    for origin in [allowed, "http://localhost"] {
        post("origin", origin).await.expect(202);
    }
}

#[tokio::test]
async fn a_cross_site_link_to_the_documentation_works() {
    let server = TestServer::start().await;
    let request = server.request(Method::GET, "/openapi.yaml");
    let request = request.header("sec-fetch-site", "cross-site").header("sec-fetch-mode", "navigate");
    assert_eq!(request.send().await.status, 200);
}

#[tokio::test]
async fn a_remote_address_without_tokens_must_be_allowed() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let refused = Server::bind(listening([Listen::Tcp(address.parse().unwrap())])).await;
        let error = refused.err().expect("it is refused").to_string();
        assert!(error.contains("--allow-anonymous"), "{error}");
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

#[tokio::test]
async fn a_unix_socket_accepts_every_host_name() {
    let scratch = Scratch::new();
    let path = scratch.path("socket");
    let _server = TestServer::start_with(|config| config.listen.push(Listen::Unix(path.clone()))).await;
    let local = Client::unix(&path);
    local.request(Method::GET, "/livez").header("host", "any.example").send().await.expect(200);
    let page = local.request(Method::GET, "/livez").header("origin", "https://evil.example");
    page.send().await.problem(403, "forbidden-origin", "");
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
    assert!(refusal(&path).await.contains("another program holds the socket there"));
    assert!(path.exists());
    drop(live);

    let file = scratch.path("file");
    std::fs::write(&file, "precious").unwrap();
    assert!(refusal(&file).await.contains("there is a file that is not a socket"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");

    assert!(refusal(&scratch.path("missing/socket")).await.contains("missing/socket"));
}

#[tokio::test]
async fn a_datagram_socket_at_the_path_is_left_alone() {
    let scratch = Scratch::new();
    let path = scratch.path("datagrams");
    let _live = std::os::unix::net::UnixDatagram::bind(&path).unwrap();

    assert!(refusal(&path).await.contains("another program holds the socket there"));
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

/// Why the service does not listen there.
async fn refusal(path: &Path) -> String {
    let refused = Server::bind(listening([Listen::Unix(path.to_owned())])).await;
    refused.err().expect("it is refused").to_string()
}

fn listening(listen: impl Into<Vec<Listen>>) -> Config {
    Config { listen: listen.into(), ..config() }
}
