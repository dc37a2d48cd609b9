//! Memberships as clients see them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::fields::{RetentionBody, millis, rfc3339};
use super::labels::LabelsBody;
use super::sources::Sources;
use crate::control::{InterfaceView, JoinState, MembershipView};
use crate::model::Interfaces;

/// A membership: its spec and its status.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "id": "monitor", "group": "239.1.2.3:10000", "revision": 1, "state": "joined", "hears": true,
    "interfaces": [{"name": "lo", "named": true, "state": "joined", "hears": true, "datagrams": 2, "bytes": 38,
        "last_received_at": "2026-01-02T03:04:31.415926535Z", "receive_buffer": {"requested": 4_194_304, "granted": 4_194_304}, "dropped_buffers": 0}],
    "allow_missing": false, "exact_drops": false,
    "created_at": "2026-01-02T03:04:05.678901234Z", "expires_in_ms": 60000, "expires_at": "2026-01-02T03:05:05.678901234Z",
    "counters": {"datagrams": 2, "bytes": 38, "dropped_buffers": 0, "truncated": 0, "evicted": 0, "lost": 0}
})))]
pub struct Membership {
    /// The id, chosen by the client or by the service.
    id: String,
    /// The group that the service has joined.
    group: String,
    /// The revision of the specification, from 1: it grows with each change of a member that requests have. To renew the
    /// lease for the same time is no change.
    revision: u64,
    /// The worst state among the interfaces.
    state: State,
    /// Whether datagrams can arrive: on all interfaces if the membership names them, else on at least one (which may be
    /// `lo` only if there is no other).
    hears: bool,
    /// The state on each interface; absent if the membership names none, and there is none to join on, and in brief lists.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    interfaces: Vec<InterfaceState>,
    /// The source filter; absent if the membership receives from all sources, and in brief lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    sources: Option<Sources>,
    /// Whether the membership also waits for interfaces that did not exist when it was requested.
    allow_missing: bool,
    /// Whether dropped datagrams are counted exactly, instead of dropped buffers.
    exact_drops: bool,
    /// The limits of the log; absent if only the service's limits apply.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    retention: Option<RetentionBody>,
    #[serde(skip_serializing_if = "LabelsBody::is_empty")]
    #[schema(required = false)]
    labels: LabelsBody,
    /// When the membership was created.
    #[schema(format = DateTime)]
    created_at: String,
    /// The duration of the lease in milliseconds; absent without a lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    expires_in_ms: Option<u64>,
    /// When the lease ends unless the client renews it; absent without a lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime)]
    expires_at: Option<String>,
    /// Counts of datagrams.
    counters: Counters,
}

/// `joined`: the kernel lists the membership; `hears` says whether datagrams can arrive. `pending`: the service could
/// not join yet and retries, or a responder cannot reply from its `reply_from` yet. `lost`: the interface went away or
/// the kernel dropped the membership, and the service joins again. `failed`: the service closed the sockets after an
/// internal error, and opens them again after a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = MembershipState)]
pub enum State {
    Joined,
    Pending,
    Lost,
    Failed,
}

/// A membership on one interface.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MembershipInterface)]
struct InterfaceState {
    /// The name of the interface.
    name: String,
    /// Whether the membership names the interface; else it has joined here because it names none.
    named: bool,
    /// The state on this interface.
    state: State,
    /// Whether datagrams can arrive on this interface.
    hears: bool,
    /// Why the interface is not joined or does not hear, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    detail: Option<String>,
    /// Use `detail`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, deprecated)]
    reason: Option<String>,
    /// Datagrams that the membership has received on this interface since its creation, including before restarts if the
    /// service has a data directory.
    datagrams: u64,
    /// Payload bytes of these datagrams.
    bytes: u64,
    /// When the last datagram arrived; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime)]
    last_received_at: Option<String>,
    /// The receive buffer of the socket; absent while there is no socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    receive_buffer: Option<ReceiveBuffer>,
    /// Buffers that the kernel dropped on this interface before the service could read them.
    dropped_buffers: u64,
}

/// The socket's receive buffer, in bytes as the kernel counts them.
#[derive(Debug, Serialize, ToSchema)]
struct ReceiveBuffer {
    /// The size that the service requests (`--receive-buffer`).
    requested: u64,
    /// The size that the kernel granted.
    granted: u64,
    /// The kernel setting that limits the size; present if the kernel granted less than requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    raise: Option<&'static str>,
}

/// Counts of datagrams.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MembershipCounters)]
struct Counters {
    /// Datagrams appended to the log.
    datagrams: u64,
    /// Payload bytes of these datagrams.
    bytes: u64,
    /// Buffers that the kernel dropped before the service could read them. A buffer holds one datagram or, unless
    /// `exact_drops` is set, up to 64 coalesced ones.
    dropped_buffers: u64,
    /// Datagrams that were longer than the service's buffers and are cut off.
    truncated: u64,
    /// Datagrams that the log evicted for later ones.
    evicted: u64,
    /// Datagrams that the service dropped from memory before they were on disk, or that were damaged there.
    lost: u64,
}

impl From<&MembershipView> for Membership {
    fn from(view: &MembershipView) -> Self {
        let interfaces = view.interfaces.iter();
        Self {
            interfaces: interfaces
                .map(|interface| InterfaceState::new(interface, &view.spec.interfaces))
                .collect(),
            sources: Sources::of(&view.spec.sources),
            ..Self::brief(view)
        }
    }
}

impl Membership {
    /// Without the members that can be large.
    pub fn brief(view: &MembershipView) -> Self {
        Self {
            id: view.id.to_string(),
            group: view.spec.group.to_string(),
            revision: view.revision.number(),
            state: view.state.into(),
            hears: view.hears,
            interfaces: Vec::new(),
            sources: None,
            allow_missing: view.spec.allow_missing,
            exact_drops: view.spec.exact_drops,
            retention: RetentionBody::of(&view.spec.retention),
            labels: LabelsBody::of(&view.spec.labels),
            created_at: rfc3339(view.created_at),
            expires_in_ms: view.lease.map(|lease| millis(lease.duration)),
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

impl InterfaceState {
    fn new(interface: &InterfaceView, requested: &Interfaces) -> Self {
        let receive_buffer = interface.buffer.map(|size| ReceiveBuffer {
            requested: size.requested as u64,
            granted: size.granted as u64,
            raise: (size.granted < size.requested).then_some("net.core.rmem_max"),
        });
        Self {
            name: interface.name.to_string(),
            named: matches!(requested, Interfaces::Named(names) if names.contains(&interface.name)),
            state: interface.state.into(),
            hears: interface.hears,
            detail: interface.reason.clone(),
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
