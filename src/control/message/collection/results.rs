use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::Timestamp;

/// What came of sending a message by one interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EgressResult {
    pub interface: Arc<str>,
    /// Address and port that it leaves from, the latest if they changed; the first attempt's when each has a port of
    /// its own.
    pub source: Option<SocketAddr>,
    pub sent: u32,
    pub failed: u32,
    pub first_sent_at: Option<Timestamp>,
    pub last_sent_at: Option<Timestamp>,
    /// Why the latest failed send failed.
    pub error: Option<String>,
    /// `loopback: false` was asked for, and `lo` does not honour it.
    pub loopback_ignored: bool,
}

impl EgressResult {
    pub(in crate::control) fn new(interface: Arc<str>, loopback_ignored: bool) -> Self {
        Self {
            interface,
            source: None,
            sent: 0,
            failed: 0,
            first_sent_at: None,
            last_sent_at: None,
            error: None,
            loopback_ignored,
        }
    }
}
