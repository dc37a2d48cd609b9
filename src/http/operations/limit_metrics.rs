//! Metrics of what is bounded for all resources or connections together.

use std::fmt;

use super::connection_counts::ConnectionCounts;
use super::exposition::{ALONE, MetricsPage};
use crate::control::{MetricsSnapshot, ResourceKind};
use crate::http::request_bytes::RequestBytes;

pub(super) fn limits(page: &mut MetricsPage<'_>, control: &MetricsSnapshot) -> fmt::Result {
    page.counter(
        "rollcall_untracked_responses",
        "Responses whose responders the service did not tell apart, because the message had too many.",
        [(ALONE, control.totals.untracked)],
    )?;
    page.gauge(
        "rollcall_responder_table_bytes",
        "Memory in which the service tells the responders of messages apart.",
        [(ALONE, control.table_bytes)],
    )?;
    page.gauge(
        "rollcall_membership_bytes",
        "Memory of memberships and responders, besides their logs; an estimate.",
        [(ALONE, control.membership_bytes)],
    )?;
    page.gauge(
        "rollcall_delayed_reply_bytes",
        "Bytes of replies that are sent later.",
        [(ALONE, control.delayed_reply_bytes)],
    )?;
    page.gauge(
        "rollcall_pattern_bytes",
        "Bytes of the compiled patterns of responders.",
        [(ALONE, control.pattern_bytes)],
    )?;
    let refused = ResourceKind::ALL.into_iter().zip(control.refused);
    page.counter(
        "rollcall_refused_resources",
        "Memberships, responders and messages that the service refused because there were too many.",
        refused.map(|(kind, count)| ([("kind", kind.name())], count)),
    )
}

pub(super) fn connections(
    page: &mut MetricsPage<'_>,
    counts: &ConnectionCounts,
    request_bytes: &RequestBytes,
) -> fmt::Result {
    page.gauge("rollcall_http_connections", "Open connections.", [(ALONE, counts.open())])?;
    page.gauge("rollcall_http_connections_limit", "The most connections.", [(ALONE, counts.limit())])?;
    page.counter(
        "rollcall_http_closed_connections",
        "Connections that the service closed to bound them: without a complete head of a request (head) or idle (idle), \
         when others needed the place or after a time; whose client did not read an answer (reader); new ones for which no place could be \
         made (full).",
        counts.closed_by_cause().map(|(cause, count)| ([("cause", cause)], count)),
    )?;
    page.gauge(
        "rollcall_http_request_bytes",
        "Bytes of unfinished requests.",
        [(ALONE, request_bytes.held())],
    )?;
    page.counter(
        "rollcall_http_refused_requests",
        "How often a limit was reached: requests refused because of the number of connections (connections); bodies \
         refused, and heads for which another connection was closed, because of the bytes of unfinished requests \
         (request_bytes).",
        [
            ([("limit", "connections")], counts.refused_requests()),
            ([("limit", "request_bytes")], request_bytes.refused()),
        ],
    )
}
