//! The sends of a message: the result on each interface, and which send a response belongs to.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{ClockReading, Timestamp};

/// The sends from one source port: enough to match a response to its send.
#[derive(Default)]
pub(super) struct Sends {
    /// The latest sends, oldest first.
    sends: VecDeque<SendRecord>,
    /// There were earlier sends, which are no longer listed.
    has_dropped_sends: bool,
}

/// Copies that were sent together; `attempt` is that of the last one.
struct SendRecord {
    attempt: u32,
    copies: u32,
    at: ClockReading,
}

impl Sends {
    /// The number of remembered sends: enough to find the latest one before a response that waited in the socket.
    const REMEMBERED: usize = 64;

    pub(super) fn note(&mut self, attempt: u32, copies: u32, now: ClockReading) {
        if self.sends.len() == Self::REMEMBERED {
            self.sends.pop_front();
            self.has_dropped_sends = true;
        }
        self.sends.push_back(SendRecord { attempt, copies, at: now });
    }

    pub(super) fn take_back(&mut self, copies: u32) {
        if let Some(latest) = self.sends.back_mut() {
            latest.copies -= copies.min(latest.copies);
            if latest.copies == 0 {
                self.sends.pop_back();
            }
        }
    }

    /// Whether a datagram that arrived then can be a response. If the clock was stepped since the first send,
    /// timestamps do not tell; a time that is ahead of `now` was read before a step that came before the first send.
    pub(super) fn may_be_response(&self, received_at: Timestamp, now: &ClockReading) -> bool {
        let Some(first) = self.sends.front() else { return false };
        self.stepped(now)
            || ((self.has_dropped_sends || first.at.real <= received_at) && !now.is_before(received_at))
    }

    /// The attempt that a response belongs to, if only one is possible, and the time since the latest send
    /// before it. After a step of the clock, timestamps before and after cannot be compared.
    pub(super) fn match_response(
        &self,
        received_at: Timestamp,
        now: &ClockReading,
    ) -> (Option<u32>, Option<Duration>) {
        let first = self.sends.front().filter(|first| first.copies == 1 && !self.has_dropped_sends);
        let attempt = first.map(|first| first.attempt);
        if self.stepped(now) {
            return (attempt.filter(|_| self.sends.len() == 1), None);
        }
        let before = self.sends.partition_point(|send| send.at.real <= received_at);
        let attempt = attempt.filter(|_| before == 1);
        let latest = before.checked_sub(1).map(|last| self.sends[last].at);
        (attempt, latest.and_then(|send| received_at.since(send.real)))
    }

    fn stepped(&self, now: &ClockReading) -> bool {
        self.sends.front().is_some_and(|first| now.stepped_since(&first.at))
    }
}

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
