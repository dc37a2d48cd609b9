use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::model::{Group, HopLimit, Interfaces, Labels, Repeat, Retention};

fn spec() -> MessageSpec {
    MessageSpec {
        group: Group::parse("239.1.1.1:1").unwrap().0,
        interfaces: Interfaces::Default,
        source: None,
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
        labels: Labels::default(),
    }
}

fn result() -> EgressResult {
    EgressResult::new("eth0".into(), false)
}

/// A collection with one interface and one port.
fn collection() -> (Collection, PortKey) {
    collection_with(TableBudget::new(1_000, 1 << 20))
}

fn collection_with(tables: TableBudget) -> (Collection, PortKey) {
    let mut collection = Collection::new(vec![result()], ResponderTable::new(Arc::new(tables)), None);
    let port = collection.add_port(0);
    (collection, port)
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
    let (mut collection, port) = collection();
    let _ = collection.sending(port, 1, 1, start);
    collection.sending_done();
    (collection, start)
}

fn classify(collection: &mut Collection, source: SocketAddr, now: ClockReading) -> ResponseMeta {
    match collection.classify(PortKey(0), source, now.real, 1, &now) {
        Disposition::Keep(response) => response,
        Disposition::Stray => panic!("a stray"),
    }
}

#[test]
fn duplicates_satisfy_neither_expect_nor_stall() {
    let (mut collection, start) = sent_once();
    let spec = MessageSpec { expect: Some(2), stall: Some(Duration::from_millis(300)), ..spec() };
    let first = classify(&mut collection, host(1), at(start, 10));
    assert_eq!(
        first,
        ResponseMeta { rtt_us: Some(10_000), attempt: Some(1), duplicate: Some(false), late: false }
    );
    assert_eq!(classify(&mut collection, host(1), at(start, 200)).duplicate, Some(true));
    assert_eq!(collection.due_close_reason(&spec, at(start, 200).monotonic), None);
    assert_eq!(collection.next_check(&spec), Some(at(start, 310).monotonic));
    assert_eq!(collection.due_close_reason(&spec, at(start, 310).monotonic), Some(CloseReason::Stalled));
    classify(&mut collection, host(2), at(start, 250));
    assert_eq!(collection.due_close_reason(&spec, at(start, 250).monotonic), Some(CloseReason::Expected));
}

#[test]
fn untracked_responses_satisfy_neither_expect_nor_stall() {
    let start = ClockReading::now();
    let (mut collection, port) = collection_with(TableBudget::new(2, 1 << 20));
    let _ = collection.sending(port, 1, 1, start);
    collection.sending_done();
    let spec = MessageSpec { expect: Some(3), stall: Some(Duration::from_millis(300)), ..spec() };
    for last in 1..=2 {
        assert_eq!(classify(&mut collection, host(last), at(start, 10)).duplicate, Some(false));
    }
    for last in [3, 4, 3] {
        let untracked = classify(&mut collection, host(last), at(start, 200));
        assert_eq!((untracked.duplicate, untracked.rtt_us), (None, Some(200_000)));
    }
    assert_eq!(collection.due_close_reason(&spec, at(start, 200).monotonic), None);
    assert_eq!(collection.due_close_reason(&spec, at(start, 310).monotonic), Some(CloseReason::Stalled));
    let counters = ResponseCounters { responses: 5, responders: 2, untracked: 3, ..Default::default() };
    assert_eq!(collection.counters(), counters);

    let responses = [Some(false), Some(false), Some(true), None].map(|duplicate| ResponseMeta {
        rtt_us: None,
        attempt: None,
        duplicate,
        late: false,
    });
    let sources = [host(1), host(2), host(1), host(3)];
    let (mut restored, _) = collection_with(TableBudget::new(2, 1 << 20));
    let logged = sources.into_iter().zip(responses).zip(1..);
    restored.replay(logged.map(|((source, response), number)| (number, source, Some(response))), true);
    let counters =
        ResponseCounters { responses: 4, responders: 2, duplicates: 1, untracked: 1, ..Default::default() };
    assert_eq!(restored.counters(), counters);
    let listed: Vec<_> =
        restored.responders(10).iter().map(|(source, peer)| (source, peer.responses)).collect();
    assert_eq!(listed, [(host(1), 2), (host(2), 1)]);
}

/// Views share what the receive thread changes, so that they hold its lock only to look.
#[test]
fn a_view_shares_the_results_and_the_responders() {
    let (mut collection, start) = sent_once();
    classify(&mut collection, host(1), at(start, 10));
    let (results, responders) = (collection.results().to_vec(), collection.responders(10));
    assert!(Arc::ptr_eq(&results[0], &collection.results()[0]));
    classify(&mut collection, host(1), at(start, 20));
    assert_eq!(responders.iter().map(|(_, peer)| peer.responses).collect::<Vec<_>>(), [2]);
    let _ = collection.sending(PortKey(0), 2, 1, at(start, 30));
    assert_eq!((results[0].sent, collection.results()[0].sent), (1, 2));
}

#[test]
fn the_window_starts_at_the_first_send_and_later_responses_are_late() {
    let (mut collection, start) = sent_once();
    assert_eq!(collection.due_close_reason(&spec(), at(start, 999).monotonic), None);
    assert_eq!(collection.due_close_reason(&spec(), at(start, 1000).monotonic), Some(CloseReason::Window));
    assert!(collection.close(CloseReason::Window, at(start, 1000).real));
    assert!(!collection.close(CloseReason::Cancelled, at(start, 1001).real));
    assert!(classify(&mut collection, host(1), at(start, 1100)).late);
    let counters = collection.counters();
    assert_eq!((counters.responses, counters.responders, counters.late), (1, 0, 1));
}

#[test]
fn an_attempt_is_reported_only_if_it_is_unambiguous() {
    let (mut collection, start) = sent_once();
    let _ = collection.sending(PortKey(0), 2, 1, at(start, 100));
    let between = classify(&mut collection, host(1), at(start, 50));
    assert_eq!((between.attempt, between.rtt_us), (Some(1), Some(50_000)));
    let after = classify(&mut collection, host(2), at(start, 130));
    assert_eq!((after.attempt, after.rtt_us), (None, Some(30_000)));
}

#[test]
fn a_long_burst_remembers_its_latest_sends() {
    let (mut collection, start) = sent_once();
    for attempt in 2..=1000 {
        let _ = collection.sending(PortKey(0), attempt, 1, at(start, u64::from(attempt)));
    }
    let response = classify(&mut collection, host(1), at(start, 1005));
    assert_eq!((response.attempt, response.rtt_us), (None, Some(5_000)));
}

#[test]
fn a_datagram_before_the_send_is_a_stray_even_if_the_clock_steps() {
    let start = ClockReading::now();
    let hour = 3_600_000_000_000;
    for step in [0, hour, -hour] {
        let (mut collection, port) = collection();
        let stepped = |ms| {
            let now = at(start, ms);
            ClockReading { real: Timestamp(now.real.0 + step), ..now }
        };
        let classify = |collection: &mut Collection, received_at: ClockReading, now| {
            collection.classify(port, host(1), received_at.real, 1, &now)
        };
        assert_eq!(classify(&mut collection, start, start), Disposition::Stray);
        assert_eq!(classify(&mut collection, start, stepped(5)), Disposition::Stray);
        let _ = collection.sending(port, 1, 1, stepped(10));
        assert_eq!(classify(&mut collection, start, stepped(11)), Disposition::Stray, "it was in the socket");
        assert!(matches!(classify(&mut collection, stepped(12), stepped(12)), Disposition::Keep(_)));
        let counters = ResponseCounters { responses: 1, responders: 1, strays: 3, ..Default::default() };
        assert_eq!(collection.counters(), counters);
    }
}

#[test]
fn each_port_has_its_own_first_send() {
    let start = ClockReading::now();
    let (mut collection, first) = collection();
    let second = collection.add_port(0);
    let _ = collection.sending(first, 1, 1, start);
    let mut classify = |port| collection.classify(port, host(1), at(start, 1).real, 1, &at(start, 1));
    assert!(matches!(classify(first), Disposition::Keep(_)));
    assert_eq!(classify(second), Disposition::Stray);
    assert_eq!(classify(PortKey(7)), Disposition::Stray);
    collection.drop_port(first);
    assert_eq!(collection.classify(first, host(1), at(start, 2).real, 1, &at(start, 2)), Disposition::Stray);
}

#[test]
fn a_clock_step_gives_no_false_round_trip_time() {
    let (mut collection, start) = sent_once();
    let now = at(start, 20);
    let stepped = ClockReading { real: Timestamp(now.real.0 - 3_600_000_000_000), ..now };
    let response = classify(&mut collection, host(1), stepped);
    assert_eq!((response.attempt, response.rtt_us), (Some(1), None));
}

#[test]
fn a_failed_send_is_taken_back() {
    let start = ClockReading::now();
    let (mut collection, port) = collection();
    let noted = collection.sending(port, 1, 1, start);
    collection.not_sent(&noted, 1);
    collection.send_failed(0, 1, "no".into());
    let failed = EgressResult { failed: 1, error: Some("no".into()), ..result() };
    assert_eq!(*collection.results()[0], failed);

    let noted = collection.sending(port, 100, 100, at(start, 1));
    collection.not_sent(&noted, 40);
    let noted = collection.sending(port, 61, 1, at(start, 2));
    collection.not_sent(&noted, 1);
    collection.send_failed(0, 3, "down".into());
    let time = Some(at(start, 1).real);
    let expected = EgressResult { sent: 60, first_sent_at: time, last_sent_at: time, failed: 4, ..failed };
    assert_eq!(*collection.results()[0], EgressResult { error: Some("down".into()), ..expected });
}

#[test]
fn the_results_are_bounded_however_many_interfaces_there_were() {
    let (mut collection, _) = collection();
    let add = |collection: &mut Collection, name: &str| {
        collection.add_result(EgressResult { interface: name.into(), ..result() })
    };
    assert_eq!([add(&mut collection, "eth0"), add(&mut collection, "eth1")], [0, 1]);
    let last = (0..100).map(|nth| add(&mut collection, &format!("veth{nth}"))).last();
    assert_eq!((last, collection.results().len()), (Some(63), 64));
    assert_eq!(&*collection.results()[63].interface, "veth99");
}
