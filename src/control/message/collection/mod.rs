//! What a message has sent and heard, and when it is done: bookkeeping without I/O, handed the time.

mod sends;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::model::{Answer, ClockReading, CloseReason, MessageSpec, Timestamp};
use sends::Sends;

pub(in crate::control) struct Collection {
    routes: Vec<Route>,
    /// Sends by source port, of which a route has several when attempts are tracked.
    ports: Vec<Sends>,
    responders: HashMap<SocketAddr, Responder>,
    counters: AnswerCounters,
    first_send: Option<ClockReading>,
    last_progress: Option<Instant>,
    all_sent: bool,
    closed: Option<(CloseReason, Timestamp)>,
}

/// How a message left by one interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    pub interface: Arc<str>,
    /// Address and port that it left with; the first attempt's when each has a port of its own.
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Responder {
    pub responses: u64,
    /// Place of its first response in the log.
    pub first_sequence: u64,
    pub first_rtt_us: Option<u64>,
    /// All of its responses came after the message was closed.
    pub late: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerCounters {
    pub responses: u64,
    /// Distinct responders that answered in time.
    pub responders: u64,
    pub duplicates: u64,
    pub late: u64,
    /// Datagrams that were under way to the port before the message was sent: answers to somebody else.
    pub strays: u64,
}

/// What is to be done with a datagram that came to a message's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::control) enum Verdict {
    Keep(Answer),
    Stray,
}

impl Collection {
    pub(in crate::control) fn new(routes: Vec<Route>, ports: usize) -> Self {
        Self {
            routes,
            ports: (0..ports).map(|_| Sends::default()).collect(),
            responders: HashMap::new(),
            counters: AnswerCounters::default(),
            first_send: None,
            last_progress: None,
            all_sent: false,
            closed: None,
        }
    }

    /// As it was in an earlier run. The responders are the first, or none until they are [recalled](Self::recall).
    pub(in crate::control) fn restored(
        routes: Vec<Route>,
        counters: AnswerCounters,
        responders: Vec<(SocketAddr, Responder)>,
        closed: Option<(CloseReason, Timestamp)>,
    ) -> Self {
        let mut collection = Self::new(routes, 0);
        collection.counters = counters;
        collection.responders = responders.into_iter().collect();
        collection.closed = closed;
        collection
    }

    /// Counts the answers anew as they are [recalled](Self::recall): what was saved of the counts may be a moment older
    /// or younger than the log.
    pub(in crate::control) fn recount(&mut self) {
        self.counters = AnswerCounters { strays: self.counters.strays, ..AnswerCounters::default() };
    }

    /// Notes who has answered, as the log has it, in its order. `count`: and how often.
    pub(in crate::control) fn recall(
        &mut self,
        answers: impl Iterator<Item = (u64, SocketAddr, Option<Answer>)>,
        count: bool,
    ) {
        for (sequence, source, answer) in answers {
            let Some(answer) = answer else { continue };
            let responder = self.responders.entry(source).or_insert(Responder {
                responses: 0,
                first_sequence: sequence,
                first_rtt_us: answer.rtt_us,
                late: true,
            });
            responder.responses += 1;
            responder.late &= answer.late;
            if count {
                self.counters.responses += 1;
                self.counters.responders += u64::from(!answer.duplicate && !answer.late);
                self.counters.duplicates += u64::from(answer.duplicate);
                self.counters.late += u64::from(answer.late);
            }
        }
    }

    /// Notes sends just before they happen, so that no answer can precede them: `copies` of them, the last of
    /// which is this attempt.
    pub(in crate::control) fn sending(
        &mut self,
        route: usize,
        port: usize,
        attempt: u32,
        copies: u32,
        now: ClockReading,
    ) {
        self.first_send.get_or_insert(now);
        self.last_progress = Some(now.monotonic);
        self.ports[port].note(attempt, copies, now);
        let route = &mut self.routes[route];
        route.sent += copies;
        route.first_sent_at.get_or_insert(now.real);
        route.last_sent_at = Some(now.real);
    }

    /// Takes back the latest sends of a route that did not happen after all.
    pub(in crate::control) fn not_sent(&mut self, route: usize, port: usize, copies: u32) {
        self.ports[port].take_back(copies);
        let of_route = self.ports.len() / self.routes.len();
        let ports = &self.ports[route * of_route..(route + 1) * of_route];
        let latest = ports.iter().filter_map(Sends::latest).max();
        let route = &mut self.routes[route];
        route.sent -= copies;
        route.last_sent_at = latest.filter(|_| route.sent > 0);
        if route.sent == 0 {
            route.first_sent_at = None;
        }
    }

    /// Takes back the latest send of a route: it failed.
    pub(in crate::control) fn send_failed(&mut self, route: usize, port: usize, error: String) {
        self.not_sent(route, port, 1);
        self.routes[route].failed += 1;
        self.routes[route].error = Some(error);
    }

    pub(in crate::control) fn sending_done(&mut self) {
        self.all_sent = true;
    }

    /// Judges a datagram that arrived at a port; `sequence` is the number it will have in the log.
    pub(in crate::control) fn hear(
        &mut self,
        port: usize,
        source: SocketAddr,
        received_at: Timestamp,
        sequence: u64,
        now: &ClockReading,
    ) -> Verdict {
        let stepped = self.first_send.is_none_or(|first| now.stepped_since(&first));
        if !stepped && !self.ports[port].sent_before(received_at) {
            self.counters.strays += 1;
            return Verdict::Stray;
        }
        let (attempt, rtt) = self.ports[port].answered(received_at, stepped);
        let rtt_us = rtt.map(|rtt| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX));
        let late = self.closed.is_some();
        let known = self.responders.get_mut(&source);
        let duplicate = known.is_some();
        if let Some(responder) = known {
            responder.responses += 1;
            responder.late &= late;
        } else {
            let responder = Responder { responses: 1, first_sequence: sequence, first_rtt_us: rtt_us, late };
            self.responders.insert(source, responder);
            if !late {
                self.counters.responders += 1;
                self.last_progress = self.last_progress.max(Some(now.monotonic));
            }
        }
        self.counters.responses += 1;
        self.counters.duplicates += u64::from(duplicate);
        self.counters.late += u64::from(late);
        Verdict::Keep(Answer { rtt_us, attempt, duplicate, late })
    }

    /// Why the message should stop collecting now, if it should.
    pub(in crate::control) fn is_done(&self, spec: &MessageSpec, now: Instant) -> Option<CloseReason> {
        if self.closed.is_some() {
            return None;
        }
        if spec.expect.is_some_and(|expected| self.counters.responders >= expected) {
            return Some(CloseReason::Expected);
        }
        if self.window_end(spec).is_some_and(|end| now >= end) {
            return Some(CloseReason::Window);
        }
        if self.stall_end(spec).is_some_and(|end| now >= end) {
            return Some(CloseReason::Stalled);
        }
        None
    }

    /// When to ask [`Self::is_done`] again if nothing arrives.
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
        was_open
    }

    pub(in crate::control) fn closed(&self) -> Option<(CloseReason, Timestamp)> {
        self.closed
    }

    pub(in crate::control) fn counters(&self) -> AnswerCounters {
        self.counters
    }

    pub(in crate::control) fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The responders in the order of their first responses, up to `limit`.
    pub(in crate::control) fn responders(&self, limit: usize) -> Vec<(SocketAddr, Responder)> {
        let mut all: Vec<_> =
            self.responders.iter().map(|(source, responder)| (*source, *responder)).collect();
        all.sort_unstable_by_key(|(_, responder)| responder.first_sequence);
        all.truncate(limit);
        all
    }

    /// The window starts at the first send; without a window, a message is done once it is sent.
    fn window_end(&self, spec: &MessageSpec) -> Option<Instant> {
        if spec.window.is_zero() {
            return self.last_progress.filter(|_| self.all_sent);
        }
        self.first_send.map(|first| first.monotonic + spec.window)
    }

    /// A stall is counted from the last send or the last new responder, whichever was later.
    fn stall_end(&self, spec: &MessageSpec) -> Option<Instant> {
        let stall = spec.stall.filter(|_| self.all_sent)?;
        self.last_progress.map(|progress| progress + stall)
    }
}
