//! HTTP code that memberships and responders share.

use std::sync::Arc;
use std::time::Duration;

use axum::Json as JsonAnswer;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::fields::{self, InterfaceName, RetentionBody, Sources, rfc3339};
use super::lists::{default_limit, list_query};
use super::problem::{FieldErrors, Problem, ProblemKind};
use crate::control;
use crate::control::{
    Control, ControlError, Done, InterfaceView, JoinRequest, JoinState, MembershipView, Outcome, ResourceKind,
};
use crate::model::{Id, limits};

/// The common fields of requests for memberships and responders.
pub(super) struct JoinFields {
    pub(super) group: String,
    pub(super) interfaces: Option<Vec<InterfaceName>>,
    pub(super) allow_missing: bool,
    pub(super) sources: Option<Sources>,
    pub(super) exact_drops: bool,
    pub(super) retention: Option<RetentionBody>,
    pub(super) expires_in_ms: Option<u64>,
}

impl JoinFields {
    pub(super) fn read(self, errors: &mut FieldErrors) -> Option<JoinRequest> {
        let lease = self.expires_in_ms.map(|ms| errors.bounded("/expires_in_ms", ms, 1..=limits::LEASE_MS));
        let retention = self.retention.map(|retention| retention.read(errors)).unwrap_or_default();
        let (group, zone) = fields::read_group(errors, &self.group)?;
        Some(JoinRequest {
            group,
            interfaces: fields::read_interfaces(errors, zone, self.interfaces),
            allow_missing: self.allow_missing,
            sources: fields::read_sources(errors, &group, self.sources),
            exact_drops: self.exact_drops,
            retention,
            lease: lease.map(Duration::from_millis),
            declared: false,
            rules: None,
        })
    }
}

/// A membership: what was asked for, and what has come of it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "id": "monitor", "group": "239.1.2.3:10000", "state": "joined", "hears": true,
    "interfaces": [{"name": "lo", "state": "joined", "hears": true, "datagrams": 2, "bytes": 38,
        "last_received_at": "2026-01-02T03:04:31.415926535Z", "receive_buffer": {"requested": 4_194_304, "granted": 4_194_304}, "dropped_buffers": 0}],
    "allow_missing": false, "exact_drops": false,
    "created_at": "2026-01-02T03:04:05.678901234Z", "expires_at": "2026-01-02T03:05:05.678901234Z",
    "counters": {"datagrams": 2, "bytes": 38, "dropped_buffers": 0, "truncated": 0, "evicted": 0, "lost": 0}
})))]
pub(super) struct Membership {
    id: String,
    group: String,
    /// The worst of its interfaces.
    state: State,
    /// Whether anything can arrive: on all interfaces if it names them, else on one at least (on `lo` alone only if
    /// there is no other).
    hears: bool,
    /// State on each interface.
    interfaces: Vec<InterfaceState>,
    /// Present where not every source is heard.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    sources: Option<Sources>,
    allow_missing: bool,
    exact_drops: bool,
    /// Present where the log keeps less than the service keeps of any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    retention: Option<RetentionBody>,
    #[schema(format = DateTime)]
    created_at: String,
    /// When it leaves by itself unless it is renewed; absent without a lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime)]
    expires_at: Option<String>,
    counters: Counters,
}

/// `joined`: the kernel's list of groups has it; whether anything can arrive is said by `hears`. `pending`: it could not
/// join yet and tries again, or a responder cannot reply from where it should. `lost`: it was joined until the interface
/// went away or the kernel forgot it, and is joined again. `failed`: a fault of the service's own has closed it; it is
/// opened again after a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = MembershipState)]
pub(super) enum State {
    Joined,
    Pending,
    Lost,
    Failed,
}

#[derive(Debug, Serialize, ToSchema)]
struct InterfaceState {
    /// The interface.
    name: String,
    state: State,
    /// Whether anything can arrive here.
    hears: bool,
    /// Why it is not joined, or does not hear.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<String>,
    /// Datagrams that this membership has received here since it was created; a store keeps the number over restarts.
    datagrams: u64,
    /// Their payload bytes.
    bytes: u64,
    /// When the last of them came; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime)]
    last_received_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    receive_buffer: Option<ReceiveBuffer>,
    /// Buffers that the kernel dropped here before they could be read.
    dropped_buffers: u64,
}

/// The socket's receive buffer, in bytes as the kernel counts them.
#[derive(Debug, Serialize, ToSchema)]
struct ReceiveBuffer {
    /// What `--receive-buffer` says.
    requested: u64,
    /// What the kernel gave.
    granted: u64,
    /// What to raise to get more; present if less than requested was granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    raise: Option<&'static str>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MembershipCounters)]
struct Counters {
    /// Datagrams that the log has taken.
    datagrams: u64,
    /// Their payload bytes.
    bytes: u64,
    /// Buffers that the kernel dropped before they could be read. A buffer holds one datagram, or up to 64
    /// coalesced ones unless `exact_drops` is set.
    dropped_buffers: u64,
    /// Datagrams that were longer than any buffer.
    truncated: u64,
    /// Datagrams that made room in the log for later ones.
    evicted: u64,
    /// Datagrams that had to leave memory before they were on disk.
    lost: u64,
}

impl From<&MembershipView> for Membership {
    fn from(view: &MembershipView) -> Self {
        Self {
            id: view.id.to_string(),
            group: view.spec.group.to_string(),
            state: view.state.into(),
            hears: view.hears,
            interfaces: view.interfaces.iter().map(InterfaceState::from).collect(),
            sources: Sources::of(&view.spec.sources),
            allow_missing: view.spec.allow_missing,
            exact_drops: view.spec.exact_drops,
            retention: RetentionBody::of(&view.spec.retention),
            created_at: rfc3339(view.created_at),
            expires_at: view.lease.map(|lease| rfc3339(lease.expires_at)),
            counters: Counters {
                datagrams: view.log.appended,
                bytes: view.log.payload_bytes,
                dropped_buffers: view.dropped_buffers,
                truncated: view.log.truncated,
                evicted: view.log.evicted,
                lost: view.log.lost,
            },
        }
    }
}

impl From<&InterfaceView> for InterfaceState {
    fn from(interface: &InterfaceView) -> Self {
        let receive_buffer = interface.buffer.map(|size| ReceiveBuffer {
            requested: size.requested as u64,
            granted: size.granted as u64,
            raise: (size.granted < size.requested).then_some("net.core.rmem_max"),
        });
        Self {
            name: interface.name.to_string(),
            state: interface.state.into(),
            hears: interface.hears,
            reason: interface.reason.clone(),
            datagrams: interface.received.datagrams,
            bytes: interface.received.bytes,
            last_received_at: interface.received.last_received_at.map(rfc3339),
            receive_buffer,
            dropped_buffers: interface.dropped_buffers,
        }
    }
}

impl From<JoinState> for State {
    fn from(state: JoinState) -> Self {
        match state {
            JoinState::Joined => Self::Joined,
            JoinState::Pending => Self::Pending,
            JoinState::Lost => Self::Lost,
            JoinState::Failed => Self::Failed,
        }
    }
}

impl From<State> for JoinState {
    fn from(state: State) -> Self {
        match state {
            State::Joined => Self::Joined,
            State::Pending => Self::Pending,
            State::Lost => Self::Lost,
            State::Failed => Self::Failed,
        }
    }
}

/// Which part of the memberships or responders to show.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct JoinListParams {
    /// The list's `next_cursor`: show what comes after it.
    #[param(nullable = false)]
    after: Option<String>,
    /// How many at most.
    #[serde(default = "default_limit")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: u64,
    /// Only those of this group.
    #[param(nullable = false, example = "239.1.2.3:10000")]
    group: Option<String>,
    /// Only those in this state.
    #[param(inline, nullable = false)]
    state: Option<State>,
    /// Only those that hear, or that do not.
    #[param(nullable = false)]
    hears: Option<bool>,
}

/// The requested memberships or responders, and whether there are more.
pub(super) fn list(
    control: &Control,
    kind: ResourceKind,
    params: &JoinListParams,
) -> Result<(Vec<Arc<control::Membership>>, bool), Problem> {
    let query = list_query(params.after.as_deref(), params.limit, params.group.as_deref())?;
    Ok(control.memberships(kind, &query, params.state.map(Into::into), params.hears))
}

/// Creates under a new id: 201 with its location.
pub(super) async fn create<T: Serialize>(
    control: &Control,
    request: JoinRequest,
    show: impl Fn(&MembershipView) -> T,
) -> Result<Response, Problem> {
    let (kind, id) = (kind_of(&request), Id::generate());
    let joined = control.join_as(id.clone(), request, true).await;
    if let Err(refusal @ ControlError::TimedOut { done: Done::Created }) = joined {
        // The resource exists, so the client has to learn its id.
        return Ok((location(kind, &id), Problem::from(refusal)).into_response());
    }
    let view = joined?.0.view();
    Ok((StatusCode::CREATED, location(kind, &view.id), JsonAnswer(show(&view))).into_response())
}

/// Creates, keeps or changes the resource under the client's id: 201 or 200.
pub(super) async fn put<T: Serialize>(
    control: &Control,
    id: Id,
    headers: &HeaderMap,
    request: JoinRequest,
    show: impl Fn(&MembershipView) -> T,
) -> Result<Response, Problem> {
    let kind = kind_of(&request);
    let (membership, outcome) = control.join_as(id, request, only_creates(headers)?).await?;
    let view = membership.view();
    let status = if outcome == Outcome::Created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, location(kind, &view.id), JsonAnswer(show(&view))).into_response())
}

fn kind_of(request: &JoinRequest) -> ResourceKind {
    if request.rules.is_some() { ResourceKind::Responder } else { ResourceKind::Membership }
}

pub(super) fn location(kind: ResourceKind, id: &Id) -> [(HeaderName, String); 1] {
    [(header::LOCATION, format!("{}/{id}", kind.path()))]
}

/// Only create (RFC 9110 section 13.1.2).
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is read from the headers; this is its schema")]
pub(super) enum OnlyCreate {
    #[schema(rename = "*")]
    Any,
}

/// `If-None-Match: *` (RFC 9110 section 13.1.2): only create. Resources have no entity tags to compare.
fn only_creates(headers: &HeaderMap) -> Result<bool, Problem> {
    match headers.get(header::IF_NONE_MATCH).map(|value| value.as_bytes().trim_ascii()) {
        None => Ok(false),
        Some(b"*") => Ok(true),
        Some(_) => {
            let detail = "If-None-Match takes only `*` here, to create and never change";
            Err(Problem::new(ProblemKind::InvalidParameter, detail))
        }
    }
}
