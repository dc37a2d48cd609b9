//! Snapshots of resources, copied under the resource's lock.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::responder::ReplyCounters;
use crate::model::{ClockReading, Id, MembershipSpec, ResponderRules, Revision, Timestamp};
use crate::net::BufferSize;
use crate::store::LogCounters;

pub struct MembershipView {
    pub id: Id,
    pub created_at: Timestamp,
    /// Of the specification, the rules and the duration of the lease.
    pub revision: Revision,
    pub spec: MembershipSpec,
    pub state: JoinState,
    pub hears: bool,
    pub interfaces: Vec<InterfaceView>,
    pub lease: Option<Lease>,
    pub log: LogCounters,
    /// Buffers that the kernel dropped because the service was too slow.
    pub dropped_buffers: u64,
    pub responder: Option<ResponderView>,
}

pub struct ResponderView {
    pub rules: ResponderRules,
    /// The source addresses of replies; they show the port that the kernel chose.
    pub reply_addresses: Vec<SocketAddr>,
    pub counters: ReplyCounters,
}

#[derive(Clone)]
pub struct InterfaceView {
    pub name: Arc<str>,
    pub state: JoinState,
    pub hears: bool,
    /// Why the interface is not joined, or does not hear, if so.
    pub reason: Option<String>,
    pub received: ReceivedOn,
    pub buffer: Option<BufferSize>,
    pub dropped_buffers: u64,
}

/// Datagrams received on one interface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceivedOn {
    pub datagrams: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    pub last_received_at: Option<Timestamp>,
}

/// The state of one interface, or of a membership: then the worst state of its interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum JoinState {
    Joined,
    Pending,
    Lost,
    Failed,
}

/// The worst state of a membership's interfaces, and whether it hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct JoinStatus {
    pub(super) state: JoinState,
    pub(super) hears: bool,
}

/// A lease: the membership leaves unless it is renewed.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Lease {
    pub duration: Duration,
    #[serde(skip, default = "Instant::now")]
    pub ends: Instant,
    pub expires_at: Timestamp,
}

impl Lease {
    pub(super) fn starting(now: ClockReading, duration: Duration) -> Self {
        let nanos = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        let expires_at = Timestamp(now.real.0.saturating_add(nanos));
        Self { duration, ends: now.monotonic + duration, expires_at }
    }

    /// The lease of an earlier run, if it has not run out.
    pub(super) fn resumed(self, now: ClockReading) -> Option<Self> {
        let left = self.expires_at.since(now.real)?;
        Some(Self { ends: now.monotonic + left, ..self })
    }
}
