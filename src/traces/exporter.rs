//! Takes spans out of the queue and sends them to the collector, in batches.
//!
//! Written by hand, and not `opentelemetry-otlp`: that brings a second HTTP client, and does not count the spans that
//! it drops or that the collector rejects.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, StatusCode, header};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::endpoint::Endpoint;
use super::queue::{SpanCounters, SpanQueue};
use super::span::Traces;
use crate::exchange::exchange;
use crate::logging::log_throttled;

/// Owns the task that sends spans: dropping this aborts the task, [`Self::finish`] ends it in order.
pub struct Exporter {
    finishing: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Exporter {
    /// Sends from now on the spans of the [`Traces`].
    pub fn start(endpoint: Endpoint) -> (Self, Traces) {
        tracing::info!(%endpoint, "traces are sent");
        let counters = Arc::new(SpanCounters::default());
        let (queue, waiting) = SpanQueue::new(counters.clone());
        let (finishing, resource) = (CancellationToken::new(), resource());
        let worker = Worker {
            endpoint,
            resource: (&resource).into(),
            waiting,
            batch: Vec::with_capacity(Worker::BATCH),
            in_flight: 0,
            finishing: finishing.clone(),
            counters: counters.clone(),
        };
        let provider =
            SdkTracerProvider::builder().with_resource(resource).with_span_processor(queue).build();
        let scope = InstrumentationScope::builder(NAME).with_version(VERSION).build();
        let traces = Traces::new(provider.tracer_with_scope(scope), counters);
        (Self { finishing, task: AbortOnDropHandle::new(tokio::spawn(worker.run())) }, traces)
    }

    /// Sends the spans that are left, once and until the deadline; those left then or ended later are dropped.
    pub async fn finish(mut self, deadline: Instant) {
        self.finishing.cancel();
        if timeout_at(deadline, &mut self.task).await.is_err() {
            self.task.abort();
            let _ = self.task.await;
        }
    }
}

const NAME: &str = env!("CARGO_PKG_NAME");
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The origin of all spans: this service, unless the environment gives it another name or adds attributes
/// (`OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`).
fn resource() -> Resource {
    let own = [KeyValue::new("service.name", NAME), KeyValue::new("service.version", VERSION)];
    let resource = Resource::builder_empty()
        .with_attributes(own)
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_detector(Box::new(EnvResourceDetector::new()));
    let named = std::env::var("OTEL_SERVICE_NAME").ok().filter(|name| !name.is_empty());
    match named {
        Some(name) => resource.with_service_name(name),
        None => resource,
    }
    .build()
}

struct Worker {
    endpoint: Endpoint,
    resource: ResourceAttributesWithSchema,
    waiting: mpsc::Receiver<SpanData>,
    batch: Vec<SpanData>,
    /// How many spans are being sent.
    in_flight: u64,
    finishing: CancellationToken,
    counters: Arc<SpanCounters>,
}

/// Why the collector has not accepted a batch.
#[derive(Debug, thiserror::Error)]
enum CollectorError {
    #[error(transparent)]
    Unreachable(#[from] io::Error),
    #[error("it responded with {0}")]
    Status(StatusCode),
}

impl Worker {
    const BATCH: usize = 512;
    /// How long a span waits for others.
    const DELAY: Duration = Duration::from_secs(1);
    /// How long the collector may take for a batch.
    const PATIENCE: Duration = Duration::from_secs(10);
    /// The first and the longest pause before a batch is sent again.
    const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];

    async fn run(mut self) {
        while self.gather().await {
            let spans = std::mem::take(&mut self.batch);
            self.in_flight = spans.len() as u64;
            let resource_spans = group_spans_by_resource_and_scope(spans, &self.resource);
            self.deliver(ExportTraceServiceRequest { resource_spans }.encode_to_vec().into()).await;
            self.in_flight = 0;
        }
    }

    /// Waits for a batch: a full one, or all spans there are once the first has waited, or at once when the service
    /// stops. False if no spans are left and none will come.
    async fn gather(&mut self) -> bool {
        let Self { waiting, batch, finishing, .. } = self;
        let fill = async {
            waiting.recv_many(batch, Self::BATCH).await;
            let more = async {
                while batch.len() < Self::BATCH
                    && waiting.recv_many(batch, Self::BATCH - batch.len()).await > 0
                {}
            };
            // Spans received until then stay in the batch.
            let _ = timeout(Self::DELAY, more).await;
        };
        if finishing.run_until_cancelled(fill).await.is_none() {
            self.waiting.close();
            let missing = Self::BATCH - self.batch.len();
            if missing > 0 {
                self.waiting.recv_many(&mut self.batch, missing).await;
            }
        }
        !self.batch.is_empty()
    }

    /// Sends a batch until the collector has accepted it or refused it for good; when the service stops, only once.
    async fn deliver(&mut self, body: Bytes) {
        let [mut pause, longest] = Self::PAUSES;
        loop {
            let sent = timeout(Self::PATIENCE, self.send(body.clone())).await;
            let error = match sent.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into())) {
                Ok(response) => return self.accepted(&response),
                Err(error) => error,
            };
            let gives_up = !error.may_pass() || self.finishing.is_cancelled();
            log_throttled!(WARN, endpoint = %self.endpoint, %error, spans = self.in_flight, dropped = gives_up, "the collector has not accepted spans");
            if gives_up {
                return self.counters.dropped(self.in_flight);
            }
            let _ = self.finishing.run_until_cancelled(tokio::time::sleep(pause)).await;
            pause = longest.min(pause * 2);
        }
    }

    async fn send(&self, body: Bytes) -> Result<Bytes, CollectorError> {
        let Endpoint { authority, path, .. } = &self.endpoint;
        let request = Request::post(path.as_str())
            .header(header::HOST, authority)
            .header(header::USER_AGENT, format!("{NAME}/{VERSION}"))
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .body(Full::new(body))
            .map_err(io::Error::other)?;
        let (status, response) = exchange(self.endpoint.connect().await?, request).await?;
        if status.is_success() { Ok(response) } else { Err(CollectorError::Status(status)) }
    }

    /// Counts the spans of an accepted batch as exported, except for those that the collector reports as rejected.
    fn accepted(&self, response: &Bytes) {
        // Not every collector responds in protobuf; an accepted batch needs no explanation.
        let partial = ExportTraceServiceResponse::decode(response.clone())
            .ok()
            .and_then(|decoded| decoded.partial_success);
        let rejected = partial.as_ref().and_then(|partial| u64::try_from(partial.rejected_spans).ok());
        let rejected = rejected.unwrap_or(0).min(self.in_flight);
        self.counters.exported(self.in_flight - rejected);
        if let Some(partial) = partial.filter(|_| rejected > 0) {
            self.counters.dropped(rejected);
            log_throttled!(WARN, endpoint = %self.endpoint, spans = rejected, reason = partial.error_message, "the collector has rejected spans");
        }
    }
}

impl CollectorError {
    /// Whether the collector may accept the same batch later (OTLP 1, "Failures"); otherwise it would refuse again.
    fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Status(status) => matches!(status.as_u16(), 429 | 502 | 503 | 504),
        }
    }
}

/// However the task ends, spans that were not sent are counted.
impl Drop for Worker {
    fn drop(&mut self) {
        self.waiting.close();
        let left = self.in_flight + (self.batch.len() + self.waiting.len()) as u64;
        if left > 0 {
            self.counters.dropped(left);
            tracing::warn!(spans = left, "the service stops before the collector has accepted all spans");
        }
    }
}
