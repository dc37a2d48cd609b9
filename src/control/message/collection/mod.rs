//! The bookkeeping of a message's sends and responses, and when it is done; no I/O, and the time is a parameter.

mod responders;
mod sends;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tokio::sync::OwnedSemaphorePermit;

use crate::model::{ClockReading, CloseReason, MessageSpec, ResponseMeta, Timestamp};
use sends::Sends;

pub use responders::{ListedResponders, RespondingPeer};
pub(in crate::control) use responders::{ResponderTable, TableBudget};
pub use sends::EgressResult;

pub(in crate::control) struct Collection {
    /// One result for each interface, shared with views.
    results: Vec<Arc<EgressResult>>,
    /// The source ports in use. An interface has several if attempts are tracked, or while responses to its
    /// previous address are under way.
    ports: BTreeMap<PortKey, SourcePort>,
    next_port: PortKey,
    responders: ResponderTable,
    /// Until the message is closed: its permit to collect, as one of a bounded number.
    permit: Option<OwnedSemaphorePermit>,
    counters: ResponseCounters,
    /// When the first send was tried: the window starts there.
    first_send: Option<Instant>,
    last_send: Option<Instant>,
    last_new_responder: Option<Instant>,
    all_sent: bool,
    closed: Option<(CloseReason, Timestamp)>,
}

/// Identifies a source port of a message; never reused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::control) struct PortKey(u64);

struct SourcePort {
    /// The index of its interface in the results.
    result_index: usize,
    sends: Sends,
}

/// A send that was counted just before it happens, so that a failed one can be taken back.
#[must_use = "a send that failed is taken back with it"]
pub(in crate::control) struct CountedSend {
    port: PortKey,
    copies: u32,
    /// The value before this send.
    last_sent_at: Option<Timestamp>,
    last_send: Option<Instant>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResponseCounters {
    pub responses: u64,
    /// Distinct responders whose responses arrived in time; at least so many, if there are untracked responses.
    pub responders: u64,
    pub duplicates: u64,
    /// Responses whose responders are not in the table, which has no room for them.
    #[serde(default)]
    pub untracked: u64,
    pub late: u64,
    /// Datagrams that were under way to the port before the message was sent: they are responses to another sender.
    pub strays: u64,
}

/// The result of classifying a datagram that arrived at a message's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::control) enum Disposition {
    Keep(ResponseMeta),
    Stray,
}

impl Collection {
    /// `permit`: one of the bounded number of permits to collect.
    pub(in crate::control) fn new(
        results: Vec<EgressResult>,
        responders: ResponderTable,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self {
            results: results.into_iter().map(Arc::new).collect(),
            ports: BTreeMap::new(),
            next_port: PortKey::default(),
            responders,
            permit,
            counters: ResponseCounters::default(),
            first_send: None,
            last_send: None,
            last_new_responder: None,
            all_sent: false,
            closed: None,
        }
    }

    /// The saved collection of an earlier run. `responders` are the listed ones, or none before [`Self::replay`].
    pub(in crate::control) fn restored(
        results: Vec<EgressResult>,
        counters: ResponseCounters,
        responders: ResponderTable,
        closed: Option<(CloseReason, Timestamp)>,
    ) -> Self {
        Self { counters, closed, ..Self::new(results, responders, None) }
    }

    /// The index of the result of this interface, which is added if there is none.
    pub(in crate::control) fn add_result(&mut self, result: EgressResult) -> usize {
        /// On some hosts, interfaces come and go under ever new names: the last result is that of all further ones.
        const MAX_RESULTS: usize = 64;
        let known = self.results.iter().position(|known| known.interface == result.interface);
        known.unwrap_or_else(|| {
            if self.results.len() < MAX_RESULTS {
                self.results.push(Arc::new(result));
            } else if let Some(last) = self.results.last_mut().map(Arc::make_mut) {
                last.interface = result.interface;
            }
            self.results.len() - 1
        })
    }

    /// Adds a source port of the interface at this index of the results, before anything can arrive there.
    pub(in crate::control) fn add_port(&mut self, result_index: usize) -> PortKey {
        let port = self.next_port;
        self.next_port = PortKey(port.0 + 1);
        self.ports.insert(port, SourcePort { result_index, sends: Sends::default() });
        port
    }

    /// Removes a source port whose socket is released.
    pub(in crate::control) fn drop_port(&mut self, port: PortKey) {
        self.ports.remove(&port);
    }

    /// Sets the source address and port of the interface at this index of the results.
    pub(in crate::control) fn set_source(&mut self, result_index: usize, source: SocketAddr) {
        if let Some(result) = self.results.get_mut(result_index).map(Arc::make_mut) {
            result.source = Some(source);
        }
    }

    /// Resets the counts before a [replay](Self::replay) that counts again: the saved counts may be slightly older or
    /// newer than the log.
    pub(in crate::control) fn recount(&mut self) {
        self.counters = ResponseCounters { strays: self.counters.strays, ..ResponseCounters::default() };
    }

    /// Adds the responders of the log's responses, in the log's order. `count`: also counts the responses.
    pub(in crate::control) fn replay(
        &mut self,
        responses: impl Iterator<Item = (u64, SocketAddr, Option<ResponseMeta>)>,
        count: bool,
    ) {
        for (sequence, source, response) in responses {
            let Some(response) = response else { continue };
            if let Some(duplicate) = response.duplicate {
                let (first_rtt_us, late) = (response.rtt_us, response.late);
                let first = RespondingPeer { responses: 1, first_sequence: sequence, first_rtt_us, late };
                self.responders.note(source, first);
                self.counters.responders += u64::from(count && !duplicate && !late);
            }
            if count {
                self.count(&response);
            }
        }
    }

    /// Counts sends just before they happen, so that no response can come before its send: `copies` of them, the last
    /// of which is this attempt.
    pub(in crate::control) fn sending(
        &mut self,
        port: PortKey,
        attempt: u32,
        copies: u32,
        now: ClockReading,
    ) -> CountedSend {
        self.first_send.get_or_insert(now.monotonic);
        let mut counted = CountedSend { port, copies, last_sent_at: None, last_send: self.last_send };
        self.last_send = Some(now.monotonic);
        if let Some(source_port) = self.ports.get_mut(&port) {
            source_port.sends.note(attempt, copies, now);
            let result = Arc::make_mut(&mut self.results[source_port.result_index]);
            counted.last_sent_at = result.last_sent_at;
            result.sent += copies;
            result.first_sent_at.get_or_insert(now.real);
            result.last_sent_at = Some(now.real);
        }
        counted
    }

    /// Takes back this many of the copies counted last at a port, because they were not sent.
    pub(in crate::control) fn not_sent(&mut self, counted: &CountedSend, copies: u32) {
        let Some(source_port) = self.ports.get_mut(&counted.port) else { return };
        source_port.sends.take_back(copies);
        let result = Arc::make_mut(&mut self.results[source_port.result_index]);
        result.sent = result.sent.saturating_sub(copies);
        if copies == counted.copies {
            result.last_sent_at = counted.last_sent_at;
            self.last_send = counted.last_send;
        }
        if result.sent == 0 {
            result.first_sent_at = None;
        }
    }

    /// Counts copies that could not be sent by the interface at this index of the results.
    pub(in crate::control) fn send_failed(&mut self, result_index: usize, copies: u32, error: String) {
        if let Some(result) = self.results.get_mut(result_index).map(Arc::make_mut) {
            result.failed = result.failed.saturating_add(copies);
            result.error = Some(error);
        }
    }

    pub(in crate::control) fn sending_done(&mut self) {
        self.all_sent = true;
    }

    /// Classifies a datagram that arrived at a port; `sequence` is its future number in the log. A datagram that
    /// arrived before the first send from that port is a response to another sender.
    pub(in crate::control) fn classify(
        &mut self,
        port: PortKey,
        source: SocketAddr,
        received_at: Timestamp,
        sequence: u64,
        now: &ClockReading,
    ) -> Disposition {
        let sends = self.ports.get(&port).map(|source_port| &source_port.sends);
        let Some(sends) = sends.filter(|sends| sends.may_be_response(received_at, now)) else {
            self.counters.strays += 1;
            return Disposition::Stray;
        };
        let (attempt, rtt) = sends.match_response(received_at, now);
        let rtt_us = rtt.map(|rtt| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX));
        let late = self.closed.is_some();
        let first = RespondingPeer { responses: 1, first_sequence: sequence, first_rtt_us: rtt_us, late };
        let duplicate = self.responders.note(source, first);
        if duplicate == Some(false) && !late {
            self.counters.responders += 1;
            self.last_new_responder = self.last_new_responder.max(Some(now.monotonic));
        }
        let response = ResponseMeta { rtt_us, attempt, duplicate, late };
        self.count(&response);
        Disposition::Keep(response)
    }

    /// Why the message should stop collecting now, if it should.
    pub(in crate::control) fn due_close_reason(
        &self,
        spec: &MessageSpec,
        now: Instant,
    ) -> Option<CloseReason> {
        if self.closed.is_some() {
            return None;
        }
        if spec.expect.is_some_and(|expected| self.counters.responders >= expected) {
            return Some(CloseReason::Expected);
        }
        if spec.window.is_zero() {
            return self.all_sent.then_some(CloseReason::Window);
        }
        if self.window_end(spec).is_some_and(|end| now >= end) {
            return Some(CloseReason::Window);
        }
        if self.stall_end(spec).is_some_and(|end| now >= end) {
            return Some(CloseReason::Stalled);
        }
        None
    }

    /// When to call [`Self::due_close_reason`] again if nothing arrives.
    pub(in crate::control) fn next_check(&self, spec: &MessageSpec) -> Option<Instant> {
        if self.closed.is_some() {
            return None;
        }
        let window = self.window_end(spec);
        self.stall_end(spec).map_or(window, |stall| Some(window.map_or(stall, |window| window.min(stall))))
    }

    pub(in crate::control) fn close(&mut self, reason: CloseReason, at: Timestamp) -> bool {
        let was_open = self.closed.is_none();
        self.closed.get_or_insert((reason, at));
        self.permit = None;
        was_open
    }

    pub(in crate::control) fn closed(&self) -> Option<(CloseReason, Timestamp)> {
        self.closed
    }

    pub(in crate::control) fn counters(&self) -> ResponseCounters {
        self.counters
    }

    /// Shared: a copy would hold up the receive threads.
    pub(in crate::control) fn results(&self) -> &[Arc<EgressResult>] {
        &self.results
    }

    /// Copies that were sent, by all interfaces.
    pub(in crate::control) fn copies_sent(&self) -> u32 {
        self.results.iter().fold(0, |sent, result| sent.saturating_add(result.sent))
    }

    /// The responders in the order of their first responses, up to `limit`.
    pub(in crate::control) fn responders(&self, limit: usize) -> ListedResponders {
        self.responders.first(limit)
    }

    /// Keeps only the first responders, now that no response can come any more.
    pub(in crate::control) fn freeze_responders(&mut self, listed: usize) {
        self.responders.freeze(listed);
    }

    /// Drops the list of responders, if no response can come any more.
    pub(in crate::control) fn drop_responders(&mut self) {
        self.responders.drop_rows();
    }

    fn count(&mut self, response: &ResponseMeta) {
        self.counters.responses += 1;
        self.counters.duplicates += u64::from(response.duplicate == Some(true));
        self.counters.untracked += u64::from(response.duplicate.is_none());
        self.counters.late += u64::from(response.late);
    }

    /// The window starts at the first send, even if that send failed.
    fn window_end(&self, spec: &MessageSpec) -> Option<Instant> {
        self.first_send.filter(|_| !spec.window.is_zero()).map(|first| first + spec.window)
    }

    /// A stall is counted from the last send or the last new responder, whichever was later.
    fn stall_end(&self, spec: &MessageSpec) -> Option<Instant> {
        let stall = spec.stall.filter(|_| self.all_sent)?;
        self.last_send.max(self.last_new_responder).map(|progress| progress + stall)
    }
}
