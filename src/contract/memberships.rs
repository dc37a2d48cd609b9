//! Memberships as clients see them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::retention::RetentionBody;
use super::sources::Sources;
use super::time::rfc3339;
use crate::control::{InterfaceView, JoinState, MembershipView};

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
pub struct Membership {
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
/// went away or the kernel forgot it, and is joined again. `failed`: an internal error has closed it; it is
/// opened again after a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = MembershipState)]
pub enum State {
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
