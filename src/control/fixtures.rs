//! Helpers that the tests of the core share.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use super::{InterfaceChoice, JoinRequest, RequestedLease, Settings};
use crate::model::{Group, InterfaceRef, Labels, ReplyBytes, Retention, SourceFilter};
use crate::store::Limits;

/// One receive thread, and nothing on disk.
pub(super) fn settings() -> Settings {
    Settings {
        receive_threads: 1,
        receive_buffer: 1 << 20,
        log_limits: Limits { entries: 1 << 20, bytes: 1 << 26, age: None },
        total_bytes: 1 << 28,
        store: None,
        message_age: Duration::from_mins(1),
        kept_messages: 10,
        max_memberships: 10_000,
        max_responders: 10_000,
        membership_bytes: 256 << 20,
        max_collecting: 10_000,
        message_responders: 10_000,
        responder_table_bytes: 64 << 20,
        replies_per_source: 0,
        replies_total: 0,
        reply_bytes: ReplyBytes { factor: 0, per_second: 0 },
        delayed_reply_bytes: 1 << 26,
        pattern_bytes: 1 << 26,
        match_time: Duration::from_millis(10),
        longest_repeat: Duration::from_hours(168),
    }
}

/// A request to join a group that no other test uses, on `lo`.
pub(super) fn on_lo() -> JoinRequest {
    JoinRequest {
        group: fresh_group(),
        interfaces: InterfaceChoice { zone: None, named: Some(vec![InterfaceRef::Name("lo".to_owned())]) },
        allow_missing: false,
        sources: SourceFilter::Any,
        exact_drops: false,
        retention: Retention::default(),
        labels: Labels::default(),
        lease: RequestedLease::None,
        declared: false,
        rules: None,
    }
}

pub(super) fn fresh_group() -> Group {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let [_, b, c, d] = std::process::id().to_be_bytes();
    let port = 20_000 + NEXT.fetch_add(1, Ordering::Relaxed);
    Group::new(IpAddr::from([239, 100 + b % 100, c, d]), port).unwrap()
}
