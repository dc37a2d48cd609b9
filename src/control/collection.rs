//! What a message has sent and heard, and when it is done: bookkeeping without I/O, handed the time.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::sends::Sends;
use crate::model::{Answer, ClockReading, CloseReason, MessageSpec, Timestamp};

pub(super) struct Collection {
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
pub(super) enum Verdict {
    Keep(Answer),
    Stray,
}

impl Collection {
    pub(super) fn new(routes: Vec<Route>, ports: usize) -> Self {
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
    pub(super) fn restored(
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
    pub(super) fn recount(&mut self) {
        self.counters = AnswerCounters { strays: self.counters.strays, ..AnswerCounters::default() };
    }

    /// Notes who has answered, as the log has it, in its order. `count`: and how often.
    pub(super) fn recall(
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
    pub(super) fn sending(
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
    pub(super) fn not_sent(&mut self, route: usize, port: usize, copies: u32) {
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
    pub(super) fn send_failed(&mut self, route: usize, port: usize, error: String) {
        self.not_sent(route, port, 1);
        self.routes[route].failed += 1;
        self.routes[route].error = Some(error);
    }

    pub(super) fn sending_done(&mut self) {
        self.all_sent = true;
    }

    /// Judges a datagram that arrived at a port; `sequence` is the number it will have in the log.
    pub(super) fn hear(
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
    pub(super) fn is_done(&self, spec: &MessageSpec, now: Instant) -> Option<CloseReason> {
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
    pub(super) fn next_check(&self, spec: &MessageSpec) -> Option<Instant> {
        if self.closed.is_some() {
            return None;
        }
        let window = self.window_end(spec);
        self.stall_end(spec).map_or(window, |stall| Some(window.map_or(stall, |window| window.min(stall))))
    }

    pub(super) fn close(&mut self, reason: CloseReason, at: Timestamp) -> bool {
        let was_open = self.closed.is_none();
        self.closed.get_or_insert((reason, at));
        was_open
    }

    pub(super) fn closed(&self) -> Option<(CloseReason, Timestamp)> {
        self.closed
    }

    pub(super) fn counters(&self) -> AnswerCounters {
        self.counters
    }

    pub(super) fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The responders in the order of their first responses, up to `limit`.
    pub(super) fn responders(&self, limit: usize) -> Vec<(SocketAddr, Responder)> {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::model::{Group, HopLimit, Interfaces, Repeat, Retention};

    fn spec() -> MessageSpec {
        MessageSpec {
            group: Group::parse("239.1.1.1:1").unwrap().0,
            interfaces: Interfaces::Default,
            payload: Bytes::new(),
            hop_limit: HopLimit(1),
            loopback: true,
            source_port: None,
            window: Duration::from_secs(1),
            expect: None,
            stall: None,
            repeat: Repeat::ONCE,
            track_attempts: false,
            linger: Duration::ZERO,
            retention: Retention::default(),
        }
    }

    fn route() -> Route {
        Route {
            interface: "eth0".into(),
            source: None,
            sent: 0,
            failed: 0,
            first_sent_at: None,
            last_sent_at: None,
            error: None,
            loopback_ignored: false,
        }
    }

    fn host(last: u8) -> SocketAddr {
        ([192, 0, 2, last], 10000).into()
    }

    /// A moment `ms` after `start` on both clocks.
    fn at(start: ClockReading, ms: u64) -> ClockReading {
        let later = Duration::from_millis(ms);
        ClockReading {
            real: Timestamp(start.real.0 + i64::try_from(later.as_nanos()).unwrap()),
            monotonic: start.monotonic + later,
        }
    }

    fn sent_once() -> (Collection, ClockReading) {
        let start = ClockReading::now();
        let mut collection = Collection::new(vec![route()], 1);
        collection.sending(0, 0, 1, 1, start);
        collection.sending_done();
        (collection, start)
    }

    fn hear(collection: &mut Collection, source: SocketAddr, now: ClockReading) -> Answer {
        match collection.hear(0, source, now.real, 1, &now) {
            Verdict::Keep(answer) => answer,
            Verdict::Stray => panic!("a stray"),
        }
    }

    #[test]
    fn duplicates_satisfy_neither_expect_nor_stall() {
        let (mut collection, start) = sent_once();
        let spec = MessageSpec { expect: Some(2), stall: Some(Duration::from_millis(300)), ..spec() };
        let first = hear(&mut collection, host(1), at(start, 10));
        assert_eq!(first, Answer { rtt_us: Some(10_000), attempt: Some(1), duplicate: false, late: false });
        assert!(hear(&mut collection, host(1), at(start, 200)).duplicate);
        assert_eq!(collection.is_done(&spec, at(start, 200).monotonic), None);
        assert_eq!(collection.next_check(&spec), Some(at(start, 310).monotonic));
        assert_eq!(collection.is_done(&spec, at(start, 310).monotonic), Some(CloseReason::Stalled));
        hear(&mut collection, host(2), at(start, 250));
        assert_eq!(collection.is_done(&spec, at(start, 250).monotonic), Some(CloseReason::Expected));
    }

    #[test]
    fn the_window_starts_at_the_first_send_and_what_comes_later_is_late() {
        let (mut collection, start) = sent_once();
        assert_eq!(collection.is_done(&spec(), at(start, 999).monotonic), None);
        assert_eq!(collection.is_done(&spec(), at(start, 1000).monotonic), Some(CloseReason::Window));
        assert!(collection.close(CloseReason::Window, at(start, 1000).real));
        assert!(!collection.close(CloseReason::Cancelled, at(start, 1001).real));
        assert!(hear(&mut collection, host(1), at(start, 1100)).late);
        let counters = collection.counters();
        assert_eq!((counters.responses, counters.responders, counters.late), (1, 0, 1));
    }

    #[test]
    fn attempts_are_told_only_where_one_is_possible() {
        let (mut collection, start) = sent_once();
        collection.sending(0, 0, 2, 1, at(start, 100));
        let between = hear(&mut collection, host(1), at(start, 50));
        assert_eq!((between.attempt, between.rtt_us), (Some(1), Some(50_000)));
        let after = hear(&mut collection, host(2), at(start, 130));
        assert_eq!((after.attempt, after.rtt_us), (None, Some(30_000)));
    }

    #[test]
    fn a_long_burst_keeps_its_latest_sends() {
        let (mut collection, start) = sent_once();
        for attempt in 2..=1000 {
            collection.sending(0, 0, attempt, 1, at(start, u64::from(attempt)));
        }
        let answer = hear(&mut collection, host(1), at(start, 1005));
        assert_eq!((answer.attempt, answer.rtt_us), (None, Some(5_000)));
    }

    #[test]
    fn what_was_under_way_before_the_send_is_a_stray() {
        let start = ClockReading::now();
        let mut collection = Collection::new(vec![route()], 1);
        collection.sending(0, 0, 1, 1, at(start, 10));
        assert_eq!(collection.hear(0, host(1), start.real, 1, &at(start, 10)), Verdict::Stray);
        assert_eq!(collection.counters(), AnswerCounters { strays: 1, ..Default::default() });
    }

    #[test]
    fn a_step_of_the_clock_leaves_no_false_round_trip_time() {
        let (mut collection, start) = sent_once();
        let now = at(start, 20);
        let stepped = ClockReading { real: Timestamp(now.real.0 - 3_600_000_000_000), ..now };
        let answer = hear(&mut collection, host(1), stepped);
        assert_eq!((answer.attempt, answer.rtt_us), (Some(1), None));
    }

    #[test]
    fn a_failed_send_is_taken_back() {
        let start = ClockReading::now();
        let mut collection = Collection::new(vec![route()], 1);
        collection.sending(0, 0, 1, 1, start);
        collection.send_failed(0, 0, "no".into());
        assert_eq!(collection.routes()[0], Route { failed: 1, error: Some("no".into()), ..route() });
    }
}
