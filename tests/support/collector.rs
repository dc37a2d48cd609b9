//! A trace collector: a receiver of OTLP over HTTP.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value as Any};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use rollcall::traces::Endpoint;
use serde_json::{Map, Value};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// How long something may take that is sure to come.
const LIMIT: Duration = Duration::from_secs(30);

pub(crate) struct Collector {
    address: SocketAddr,
    requests: mpsc::UnboundedReceiver<Vec<Seen>>,
    /// Spans that were received and not returned yet.
    seen: Vec<Seen>,
    _task: AbortOnDropHandle<()>,
}

/// The response to a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reaction {
    Take,
    Refuse(u16),
    /// All but so many.
    Reject(i64),
    /// Never.
    Hang,
}

/// A span as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) span: Span,
    pub(crate) attributes: Map<String, Value>,
    pub(crate) resource: Map<String, Value>,
}

struct Desk {
    reactions: Mutex<VecDeque<Reaction>>,
    requests: mpsc::UnboundedSender<Vec<Seen>>,
}

impl Collector {
    /// Takes everything.
    pub(crate) async fn start() -> Self {
        Self::start_with([]).await
    }

    /// Answers the first batches so, and takes all that come after.
    pub(crate) async fn start_with(reactions: impl IntoIterator<Item = Reaction>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (sender, requests) = mpsc::unbounded_channel();
        let desk = Desk { reactions: Mutex::new(reactions.into_iter().collect()), requests: sender };
        let router = Router::new().route("/v1/traces", post(take)).with_state(Arc::new(desk));
        let serving = async move { axum::serve(listener, router).await.expect("it serves") };
        let task = AbortOnDropHandle::new(tokio::spawn(serving));
        Self { address, requests, seen: Vec::new(), _task: task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        self.url().parse().expect("a URL")
    }

    /// The spans of the next batch, also of a refused one.
    pub(crate) async fn batch(&mut self) -> Vec<Seen> {
        let batch = tokio::time::timeout(LIMIT, self.requests.recv()).await;
        batch.expect("spans come").expect("the collector lives")
    }

    /// The span of this name, once it has come.
    pub(crate) async fn span(&mut self, name: &str) -> Seen {
        loop {
            if let Some(at) = self.seen.iter().position(|seen| seen.span.name == name) {
                return self.seen.remove(at);
            }
            let batch = self.batch().await;
            self.seen.extend(batch);
        }
    }

    /// All spans that were received and not returned yet.
    pub(crate) fn rest(&mut self) -> Vec<Seen> {
        while let Ok(batch) = self.requests.try_recv() {
            self.seen.extend(batch);
        }
        std::mem::take(&mut self.seen)
    }
}

async fn take(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: Bytes) -> Response {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    let request = ExportTraceServiceRequest::decode(body).expect("a request of OTLP");
    let mut seen = Vec::new();
    for of_resource in request.resource_spans {
        let resource = read(of_resource.resource.expect("a resource").attributes);
        for span in of_resource.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans) {
            let attributes = read(span.attributes.clone());
            seen.push(Seen { span, attributes, resource: resource.clone() });
        }
    }
    let reaction = desk.reactions.lock().expect("no panic").pop_front();
    // The receiver is gone when the test is over.
    let _ = desk.requests.send(seen);
    let response = |partial_success| {
        let body = ExportTraceServiceResponse { partial_success }.encode_to_vec();
        ([("content-type", "application/x-protobuf")], body).into_response()
    };
    match reaction.unwrap_or(Reaction::Take) {
        Reaction::Take => response(None),
        Reaction::Reject(rejected_spans) => {
            let error_message = "too old".to_owned();
            response(Some(ExportTracePartialSuccess { rejected_spans, error_message }))
        }
        Reaction::Refuse(status) => StatusCode::from_u16(status).expect("a status").into_response(),
        Reaction::Hang => std::future::pending().await,
    }
}

fn read(attributes: Vec<KeyValue>) -> Map<String, Value> {
    let read = |KeyValue { key, value, .. }| {
        let value = match value.and_then(|value| value.value) {
            Some(Any::StringValue(text)) => text.into(),
            Some(Any::IntValue(number)) => number.into(),
            other => panic!("{key} is {other:?}"),
        };
        (key, value)
    };
    attributes.into_iter().map(read).collect::<BTreeMap<_, _>>().into_iter().collect()
}
