//! A bare axum handler with the same JSON in and out, beside the same system calls.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use socket2::Socket;

use crate::bare;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MessageBody {
    group: String,
    payload: Option<String>,
    interfaces: Option<Vec<String>>,
    window_ms: Option<u64>,
    expires_in_ms: Option<u64>,
}

/// The service's response, field by field.
#[derive(Serialize)]
struct Answer {
    id: String,
    state: &'static str,
    created_at: String,
    group: String,
    payload: Option<String>,
    ttl: u8,
    loopback: bool,
    window_ms: u64,
    track_attempts: bool,
    linger_ms: u64,
    sent: [Sent; 1],
    counters: Counters,
    responders: [(); 0],
}

#[derive(Serialize)]
struct Sent {
    interface: String,
    source: String,
    count: u32,
    failed: u32,
    first_sent_at: String,
    last_sent_at: String,
}

#[derive(Default, Serialize)]
struct Counters {
    responses: u64,
    responders: u64,
    duplicates: u64,
    late: u64,
    strays: u64,
    dropped_buffers: u64,
    evicted: u64,
}

struct Bare {
    sender: Socket,
    joined: Mutex<Vec<Socket>>,
}

/// `--bare-http SOCKET`: serves until it is killed.
pub(crate) fn run(arguments: &[String]) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let sender = bare::sender(([239, 7, 2, 1], 7003).into()).expect("a sender");
        let state = Arc::new(Bare { sender, joined: Mutex::default() });
        let router = Router::new()
            .route("/readyz", get(async || "ok"))
            .route("/livez", get(async || "ok"))
            .route("/v1/messages", post(message))
            .route("/v1/memberships", post(membership))
            .route("/v1/messages/{id}", get(view))
            // Whatever else a load requests: the whole body is read, as the service does.
            .fallback(async |_body: Bytes| "ok")
            .with_state(state);
        let listener = tokio::net::UnixListener::bind(&arguments[0]).expect("a socket");
        axum::serve(listener, router).await.expect("it serves");
    });
}

async fn message(State(bare): State<Arc<Bare>>, Json(body): Json<MessageBody>) -> impl IntoResponse {
    let group: SocketAddr = body.group.parse().expect("a group");
    let payload = body.payload.clone().unwrap_or_default();
    if body.window_ms == Some(0) {
        bare::send(&bare.sender, &[group], payload.as_bytes(), 1, 1);
    } else {
        let socket = bare::sender(group).expect("a sender");
        bare::send(&socket, &[group], payload.as_bytes(), 1, 1);
    }
    created(StatusCode::ACCEPTED, body)
}

/// The view of a message.
async fn view(Path(id): Path<String>) -> impl IntoResponse {
    let (group, interface) = ("239.7.2.1:7003".to_owned(), "lo".to_owned());
    Json(answer(
        id,
        MessageBody {
            group,
            payload: Some("hello".to_owned()),
            interfaces: Some(vec![interface]),
            window_ms: Some(0),
            expires_in_ms: None,
        },
    ))
}

async fn membership(State(bare): State<Arc<Bare>>, Json(body): Json<MessageBody>) -> impl IntoResponse {
    let socket = bare::join(body.group.parse().expect("a group"), true).expect("a socket");
    bare.joined.lock().expect("no panic").push(socket);
    created(StatusCode::CREATED, body)
}

fn created(status: StatusCode, body: MessageBody) -> impl IntoResponse {
    let id = uuid::Uuid::now_v7().to_string();
    let location = [(header::LOCATION, format!("/v1/messages/{id}"))];
    (status, location, Json(answer(id, body)))
}

fn answer(id: String, body: MessageBody) -> Answer {
    let now = jiff::Timestamp::now().to_string();
    Answer {
        id,
        state: "collecting",
        created_at: now.clone(),
        group: body.group,
        payload: body.payload,
        ttl: 1,
        loopback: true,
        window_ms: body.window_ms.or(body.expires_in_ms).unwrap_or(1_000),
        track_attempts: false,
        linger_ms: 2_000,
        sent: [Sent {
            interface: body.interfaces.and_then(|names| names.into_iter().next()).unwrap_or_default(),
            source: SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000)).to_string(),
            count: 1,
            failed: 0,
            first_sent_at: now.clone(),
            last_sent_at: now,
        }],
        counters: Counters::default(),
        responders: [],
    }
}
