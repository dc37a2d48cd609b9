//! Metrics for Prometheus, gathered at each scrape.
//!
//! Labels have few values, and clients choose none of them. Here are the metrics of what the service does;
//! [`limit_metrics`](super::limit_metrics) has those of what is bounded for all resources or connections together, and
//! [`process`](super::process) those of the process.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::Response;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text, text};
use prometheus_client::registry::Registry;
use tokio::runtime::RuntimeMetrics;
use utoipa::ToSchema;

use super::connection_counts::ConnectionCounts;
use super::exposition::{ALONE, Labels, MetricsPage, prefers_open_metrics};
use super::http_metrics::RouteCounts;
use super::limit_metrics::{connections, limits};
use super::process::Process;
use crate::control::{Done, MetricsSnapshot, ReceivedTotals, ResourceKind, States};
use crate::http::compute::compute;
use crate::http::problem::{Problem, ProblemKind};
use crate::http::reading::varying;
use crate::http::request_bytes::RequestBytes;
use crate::http::state::AppState;
use crate::model::CloseReason;
use crate::net::InterfaceHealth;
use crate::store::{Store, StoreStatus};
use crate::traces::SpanCounts;

/// Metrics in the text format of Prometheus or of OpenMetrics.
#[derive(ToSchema)]
#[schema(as = MetricsText, examples(
    "# HELP rollcall_messages_collecting Messages that collect responses.\n# TYPE rollcall_messages_collecting gauge\nrollcall_messages_collecting 1\n"
))]
#[expect(dead_code, reason = "the API document shows it for a body that is plain text")]
pub(in crate::http) struct Metrics(String);

/// Read metrics for Prometheus
///
/// In the text format of Prometheus, or of OpenMetrics if `Accept` prefers it. Counters keep their values when
/// resources are deleted, and start at zero with the service.
#[utoipa::path(get, path = "/metrics", tag = "service", operation_id = "get_metrics",
    responses(
        (status = 200, description = "All metrics", content(
            (Metrics = "text/plain"),
            (Metrics = "application/openmetrics-text"),
        ), headers(("vary" = String, description = "`accept`"))),
        Problem,
    ))]
pub(in crate::http) async fn metrics(
    State(state): State<AppState>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let open = match prefers_open_metrics(&headers) {
        Ok(open) => open,
        Err(problem) => return Ok(varying(problem)),
    };
    let runtime = tokio::runtime::Handle::current().metrics();
    // With thousands of memberships, a snapshot takes milliseconds.
    let written = compute(Done::Nothing, move || {
        let snapshot = Snapshot {
            control: state.control.snapshot(),
            interfaces: state.control.interface_health(),
            store: state.control.store().map(Store::status),
            failures: state.control.failures(),
            receive_errors: state.control.receive_errors(),
            traffic: state.metrics.report(),
            streams: state.streams.report(),
            connections: state.connection_counts.clone(),
            request_bytes: state.request_bytes.clone(),
            problems: state.admin.configuration().problems.len(),
            spans: state.traces.counts(),
            process: Process::now(),
            runtime,
        };
        let mut registry = Registry::default();
        registry.register_collector(Box::new(snapshot));
        let mut body = String::new();
        if open { text::encode(&mut body, &registry) } else { prometheus_text::encode(&mut body, &registry) }
            .map(|()| body)
    });
    let body = written.await?;
    let body = body.map_err(|error| Problem::new(ProblemKind::Internal, error.to_string()))?;
    let content_type = if open { OPEN_METRICS } else { prometheus_text::CONTENT_TYPE };
    Ok(varying(([(header::CONTENT_TYPE, content_type)], body)))
}

/// All metrics at one moment.
#[derive(Debug)]
struct Snapshot {
    control: MetricsSnapshot,
    interfaces: InterfaceHealth,
    store: Option<StoreStatus>,
    failures: [(ResourceKind, u64); ResourceKind::ALL.len()],
    receive_errors: u64,
    traffic: Vec<RouteCounts>,
    streams: Vec<(&'static str, &'static str, u64)>,
    connections: Arc<ConnectionCounts>,
    request_bytes: Arc<RequestBytes>,
    /// The number of problems in the configuration.
    problems: usize,
    spans: Option<SpanCounts>,
    process: Process,
    runtime: RuntimeMetrics,
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = MetricsPage::new(encoder);
        self.datagrams(&mut page)?;
        self.messages(&mut page)?;
        self.resources(&mut page)?;
        limits(&mut page, &self.control)?;
        self.interfaces(&mut page)?;
        self.store(&mut page)?;
        self.requests(&mut page)?;
        connections(&mut page, &self.connections, &self.request_bytes)?;
        self.spans(&mut page)?;
        self.process(&mut page)
    }
}

impl Snapshot {
    fn datagrams(&self, page: &mut MetricsPage<'_>) -> fmt::Result {
        let totals = &self.control.totals;
        let by_kind = [totals.memberships, totals.responders, totals.messages];
        page.counter(
            "rollcall_received_datagrams",
            "Datagrams appended to logs.",
            of_kinds(by_kind.map(|received| received.datagrams)),
        )?;
        page.counter(
            "rollcall_received_bytes",
            "Payload bytes of the datagrams appended to logs.",
            of_kinds(by_kind.map(|received| received.bytes)),
        )?;
        let all = |count: fn(&ReceivedTotals) -> u64| by_kind.iter().map(count).sum::<u64>();
        page.counter(
            "rollcall_drops",
            "Losses by cause: buffers, of one datagram or up to 64, that the kernel dropped (kernel); datagrams that a log \
             evicted for later ones (retention), or that the service dropped from memory before they were on disk, or that were damaged there (store); \
             payloads longer than the service's buffers (truncated).",
            [
                ([("cause", "kernel")], all(|received| received.dropped_buffers)),
                ([("cause", "retention")], all(|received| received.evicted)),
                ([("cause", "store")], all(|received| received.lost)),
                ([("cause", "truncated")], all(|received| received.truncated)),
            ],
        )?;
        let replies = &totals.replies;
        page.counter(
            "rollcall_replies",
            "Replies of responders: sent (replied), not sent because of an error of the kernel (failed), withheld by a rate \
             limit or because the source cannot receive a reply (limited), withheld as copies (suppressed), withheld by the limit \
             in bytes (limited_bytes), not sent because too many waited (limited_delayed), not considered because all responders \
             had searched the datagram for too long (limited_matching).",
            [
                ([("outcome", "replied")], replies.replied),
                ([("outcome", "failed")], replies.failed),
                ([("outcome", "limited")], replies.limited),
                ([("outcome", "suppressed")], replies.suppressed),
                ([("outcome", "limited_bytes")], replies.limited_bytes),
                ([("outcome", "limited_delayed")], replies.limited_delayed),
                ([("outcome", "limited_matching")], replies.limited_matching),
            ],
        )
    }

    fn messages(&self, page: &mut MetricsPage<'_>) -> fmt::Result {
        let totals = &self.control.totals;
        let closed = CloseReason::ALL.into_iter().zip(totals.closed);
        page.counter(
            "rollcall_messages",
            "Closed messages, by the reason why they stopped collecting.",
            closed.map(|(reason, count)| ([("close_reason", reason.name())], count)),
        )?;
        page.counter(
            "rollcall_message_sends",
            "Copies of messages sent: one for each interface and attempt.",
            [(ALONE, totals.sent)],
        )?;
        page.counter(
            "rollcall_message_send_failures",
            "Copies of messages that the kernel could not send.",
            [(ALONE, totals.send_failures)],
        )?;
        page.histogram(
            "rollcall_response_rtt_seconds",
            "Time from the latest send to the arrival of a response after it, by the kernel's timestamps.",
            [(ALONE, &self.control.rtt)],
        )
    }

    fn resources(&self, page: &mut MetricsPage<'_>) -> fmt::Result {
        let current = &self.control.current;
        let help = "Memberships by the worst state among their interfaces.";
        page.gauge("rollcall_memberships", help, of_states(current.memberships))?;
        let help = "Responders by the worst state among their interfaces.";
        page.gauge("rollcall_responders", help, of_states(current.responders))?;
        let [memberships, responders] = current.not_hearing;
        page.gauge(
            "rollcall_not_hearing",
            "Memberships and responders that do not hear on all interfaces on which they should.",
            [([("kind", "membership")], memberships), ([("kind", "responder")], responders)],
        )?;
        page.counter(
            "rollcall_reopened",
            "Memberships on an interface that the service opened again because the kernel had dropped them.",
            [(ALONE, self.control.reopened)],
        )?;
        page.gauge(
            "rollcall_messages_collecting",
            "Messages that collect responses.",
            [(ALONE, current.collecting)],
        )?;
        let [datagrams, bytes] =
            [current.held.map(|held| held.datagrams), current.held.map(|held| held.bytes)];
        page.counter(
            "rollcall_resource_failures",
            "Resources that failed because the service's own code panicked; all others continued.",
            self.failures.map(|(kind, count)| ([("kind", kind.name())], count)),
        )?;
        page.counter(
            "rollcall_receive_errors",
            "Errors of epoll_wait(2), after which the receive thread retried.",
            [(ALONE, self.receive_errors)],
        )?;
        page.gauge("rollcall_log_datagrams", "Datagrams in logs.", of_kinds(datagrams))?;
        page.gauge("rollcall_log_bytes", "Bytes in logs, including headers.", of_kinds(bytes))
    }

    fn interfaces(&self, page: &mut MetricsPage<'_>) -> fmt::Result {
        page.counter(
            "rollcall_netlink_overflows",
            "How often interfaces changed faster than the service read the changes, so that it read all again.",
            [(ALONE, self.interfaces.overflows)],
        )?;
        page.counter(
            "rollcall_interface_reads",
            "How often the service read all interfaces from the kernel.",
            [(ALONE, self.interfaces.reads)],
        )
    }

    /// Writes nothing if the service has no data directory.
    fn store(&self, page: &mut MetricsPage<'_>) -> fmt::Result {
        let of = |value: fn(&StoreStatus) -> f64| self.store.as_ref().map(|store| (ALONE, value(store)));
        page.gauge(
            "rollcall_store_degraded",
            "1 while the service cannot write to the data directory, else 0.",
            of(|store| f64::from(u8::from(store.is_degraded()))),
        )?;
        page.gauge(
            "rollcall_store_confined",
            "1 while the service evicts the oldest datagrams because the disk is nearly full, else 0.",
            of(|store| f64::from(u8::from(store.confined_to.is_some()))),
        )?;
        page.gauge(
            "rollcall_store_lag_seconds",
            "How long the oldest change has been waiting to be written to the data directory.",
            of(|store| store.lag.as_secs_f64()),
        )?;
        let damaged = |value: fn(&StoreStatus) -> u64| self.store.as_ref().map(|store| (ALONE, value(store)));
        page.gauge(
            "rollcall_store_set_aside",
            "Memberships, responders and messages that are damaged in the data directory, and are not restored.",
            damaged(|store| store.set_aside),
        )?;
        page.counter(
            "rollcall_store_lost_blocks",
            "Parts of logs that are damaged in the data directory, so that their datagrams are lost.",
            damaged(|store| store.lost_blocks),
        )?;
        page.gauge(
            "rollcall_store_rebuilt",
            "1 if the start found the database damaged and replaced it by one with all that was good, else 0.",
            damaged(|store| u64::from(store.damaged_copy.is_some())),
        )?;
        #[expect(clippy::cast_precision_loss, reason = "it is far below 2^53")]
        page.gauge(
            "rollcall_store_bytes",
            "Size of the database in the data directory.",
            of(|store| store.file_bytes as f64),
        )
    }

    fn requests(&self, page: &mut MetricsPage<'_>) -> fmt::Result {
        let labels = |counts: &RouteCounts| {
            [("route", Cow::from(counts.route.clone())), ("method", counts.method.into())]
        };
        let responses = self.traffic.iter().flat_map(|counts| {
            let [route, method] = labels(counts);
            // 5xx even if zero, because only an existing row can show an increase.
            let counted = counts.responses.into_iter().filter(|(class, count)| *count > 0 || *class == "5xx");
            counted.map(move |(class, count)| {
                ([route.clone(), method.clone(), ("status", Cow::from(class))], count)
            })
        });
        page.counter("rollcall_http_requests", "Requests that the service responded to.", responses)?;
        page.histogram(
            "rollcall_http_request_duration_seconds",
            "Time until the head of the response, including requested waits.",
            self.traffic.iter().map(|counts| (labels(counts), &counts.durations)),
        )?;
        let open = self.streams.iter();
        page.gauge(
            "rollcall_http_streams",
            "Open streams, by content and format.",
            open.map(|(kind, format, count)| ([("kind", *kind), ("format", *format)], *count)),
        )
    }

    /// Writes nothing if the service does not trace.
    fn spans(&self, page: &mut MetricsPage<'_>) -> fmt::Result {
        let rows = self.spans.into_iter().flat_map(|spans| {
            [([("outcome", "exported")], spans.exported), ([("outcome", "dropped")], spans.dropped)]
        });
        page.counter(
            "rollcall_spans",
            "Spans of traces: accepted by the collector (exported); dropped because the queue was full, the collector refused \
             them, or the service stopped (dropped).",
            rows,
        )
    }

    fn process(&self, page: &mut MetricsPage<'_>) -> fmt::Result {
        page.gauge(
            "rollcall_build_info",
            "The version of the service; always 1.",
            [([("version", env!("CARGO_PKG_VERSION"))], 1_u64)],
        )?;
        page.gauge(
            "rollcall_config_problems",
            "Mistakes in the latest configuration.",
            [(ALONE, self.problems)],
        )?;
        let tasks = self.runtime.num_alive_tasks();
        page.gauge("rollcall_runtime_tasks", "Live tasks of the runtime.", [(ALONE, tasks)])?;
        let workers = self.runtime.num_workers();
        page.gauge("rollcall_runtime_workers", "Worker threads of the runtime.", [(ALONE, workers)])?;
        let process = &self.process;
        let unlabelled = |value| (ALONE, value);
        page.gauge(
            "process_resident_memory_bytes",
            "Resident memory.",
            process.resident_memory_bytes.map(unlabelled),
        )?;
        page.gauge(
            "process_virtual_memory_bytes",
            "Virtual memory.",
            process.virtual_memory_bytes.map(unlabelled),
        )?;
        page.gauge("process_open_fds", "Open file descriptors.", process.open_fds.map(unlabelled))?;
        page.gauge(
            "process_max_fds",
            "The limit on open file descriptors.",
            process.max_fds.map(unlabelled),
        )?;
        page.counter(
            "process_cpu_seconds",
            "User and system time spent.",
            process.cpu_seconds.map(|seconds| (ALONE, seconds)),
        )?;
        page.gauge(
            "process_start_time_seconds",
            "When the process started, in seconds since 1970.",
            process.start_time_seconds.map(|seconds| (ALONE, seconds)),
        )
    }
}

/// In the order of [`crate::control::CurrentState::held`].
fn of_kinds(counts: [u64; 3]) -> [(Labels<&'static str, 1>, u64); 3] {
    let [memberships, responders, messages] = counts;
    [
        ([("kind", "membership")], memberships),
        ([("kind", "responder")], responders),
        ([("kind", "message")], messages),
    ]
}

fn of_states(states: States) -> [(Labels<&'static str, 1>, u64); 4] {
    [
        ([("state", "joined")], states.joined),
        ([("state", "pending")], states.pending),
        ([("state", "lost")], states.lost),
        ([("state", "failed")], states.failed),
    ]
}
