//! Answers to connections whose bytes are no request: they never reach the routes.

use std::time::Duration;

use axum::http::StatusCode;

use super::api::{Api, fresh_request_id};
use super::problem::{Problem, ProblemKind};

/// Why bytes are no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtocolError {
    /// They do not follow the grammar of HTTP/1.1 (RFC 9112).
    Malformed,
    TargetTooLong,
    HeadTooLarge,
    /// They begin with the preface of HTTP/2 (RFC 9113 section 3.4).
    Http2,
    /// They begin with a handshake of TLS (RFC 8446 section 5.1).
    Tls,
}

impl ProtocolError {
    /// The error for which the parser of requests has this status.
    pub fn of_status(status: u16) -> Option<Self> {
        match status {
            400 => Some(Self::Malformed),
            414 => Some(Self::TargetTooLong),
            431 => Some(Self::HeadTooLarge),
            _ => None,
        }
    }

    fn problem(self) -> Problem {
        let (kind, detail) = match self {
            Self::Malformed => (
                ProblemKind::MalformedRequest,
                "this is not a request of HTTP/1.1: send a request line and header fields as in RFC 9112",
            ),
            Self::TargetTooLong => {
                (ProblemKind::TargetTooLong, "the path and the query are too long: shorten them")
            }
            Self::HeadTooLarge => (
                ProblemKind::HeadTooLarge,
                "the request line and the header fields are too large: send at most 16 KiB of them",
            ),
            Self::Http2 => (
                ProblemKind::UnsupportedProtocol,
                "this is HTTP/2, and the service speaks plain HTTP/1.1 only: call it with HTTP/1.1",
            ),
            Self::Tls => (
                ProblemKind::UnsupportedProtocol,
                "this is TLS, and the service speaks plain HTTP/1.1 only: call it by http://, or put a proxy that \
                 speaks TLS before it",
            ),
        };
        Problem::new(kind, detail)
    }
}

impl Api {
    /// A whole response, the last one of its connection, which is counted.
    pub fn protocol_error_response(&self, error: ProtocolError) -> Vec<u8> {
        let mut problem = error.problem();
        let id = fresh_request_id();
        id.to_str().unwrap_or_default().clone_into(&mut problem.request_id);
        self.count_unparsed(problem.status());
        write(problem.status(), &problem)
    }

    fn count_unparsed(&self, status: StatusCode) {
        self.metrics().note_response(self.metrics().unmatched(), status, Duration::ZERO);
    }
}

fn write(status: StatusCode, problem: &Problem) -> Vec<u8> {
    let body = problem.document();
    let date =
        jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&jiff::Timestamp::now());
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/problem+json\r\nconnection: close\r\nx-request-id: {}\r\n\
         date: {}\r\ncontent-length: {}\r\n\r\n",
        problem.request_id,
        date.unwrap_or_default(),
        body.len()
    );
    [head.into_bytes(), body].concat()
}
