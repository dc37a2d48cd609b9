//! How a message was sent by one of its interfaces.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::Timestamp;

/// The result of sending a message by one interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EgressResult {
    pub interface: Arc<str>,
    /// The source address and port, the latest if they changed; the first attempt's if each attempt has its own port.
    pub source: Option<SocketAddr>,
    pub sent: u32,
    pub failed: u32,
    pub first_sent_at: Option<Timestamp>,
    pub last_sent_at: Option<Timestamp>,
    /// Why the latest failed send failed.
    pub error: Option<String>,
    /// The client requested `loopback: false`, which `lo` does not honour.
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
