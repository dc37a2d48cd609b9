//! Messages on a kernel that fails, changes and delivers between any two calls: the counts are always right.

mod backend;
mod world;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use crate::control::{Condition, Control, Settings, fixtures};
use crate::model::{CloseReason, Group, HopLimit, Interfaces, Labels, MessageSpec, Repeat, Retention};
use world::{Becomes, World, WorldEvent};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(192) })]

    #[test]
    fn the_counts_match_the_simulated_kernel(spec in specs(), script in scripts(), cancel: bool) {
        check_run(&spec, script, cancel);
    }
}

#[test]
fn a_datagram_before_the_first_send_is_a_stray_at_every_step() {
    for step in 0..16 {
        let mut script = vec![Vec::new(); step];
        script.push(vec![WorldEvent::Arrive { socket: 0, host: 9 }, WorldEvent::Deliver]);
        let spec = MessageSpec { expect: Some(1), ..message() };
        check_run(&spec, script, false);
    }
}

#[test]
fn a_panic_at_any_step_fails_only_the_message() {
    for step in 0..24 {
        let mut script = vec![Vec::new(); step];
        script.push(vec![WorldEvent::Panic]);
        let repeat = Repeat { count: 5, interval: Duration::from_millis(10) };
        for window in [0, 200] {
            let spec = MessageSpec { repeat, window: Duration::from_millis(window), ..message() };
            with_core(script.clone(), async |control, world| {
                let sent =
                    control.send_as(world.id.clone(), spec, &Condition::NONE).await.expect("it is there");
                tokio::time::sleep(Duration::from_secs(1)).await;
                let (reason, _) = sent.0.view().closed.expect("it is closed");
                let all_sent = reason == CloseReason::Window && world.records().sent == 10;
                assert!(reason == CloseReason::Failed || all_sent, "{step}: {reason:?}");
                assert_eq!(world.open_sockets(), 0, "{step}");
                control.delete(&world.id, &Condition::NONE).await.expect("it is there");

                let again = MessageSpec { repeat: Repeat::ONCE, ..message() };
                let (again, _) = control
                    .send_as(world.id.clone(), again, &Condition::NONE)
                    .await
                    .expect("the failure concerned one message");
                assert_eq!(again.view().results.iter().map(|result| result.sent).sum::<u32>(), 2);
            });
        }
    }
}

fn check_run(spec: &MessageSpec, script: Vec<Vec<WorldEvent>>, cancel: bool) {
    with_core(script, async |control, world| {
        let sent = control.send_as(world.id.clone(), spec.clone(), &Condition::NONE).await;
        if let Err(error) = sent {
            let records = world.records();
            assert_eq!((records.sent, records.answers), (0, 0), "{error}");
            assert_eq!(world.open_sockets(), 0, "{error}");
            assert!(control.message(&world.id).is_err(), "{error}");
            return;
        }
        while !world.is_over() {
            tokio::time::sleep(Duration::from_millis(3)).await;
            world.step();
        }
        if cancel {
            control.cancel(&world.id, &Condition::NONE).await.expect("it is there");
        }
        let longest = Duration::from_mins(1) + spec.window + spec.linger;
        tokio::time::sleep(longest).await;
        check(control, world, cancel);

        control.delete(&world.id, &Condition::NONE).await.expect("it is there");
        assert_eq!(world.open_sockets(), 0);
    });
}

/// Runs a test with its own core, in which time passes only while the test sleeps.
fn with_core(script: Vec<Vec<WorldEvent>>, test: impl AsyncFnOnce(&Control, &World)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let world = World::new(script);
        let control = Control::start_with(settings(), |_, _| world.clone()).await.expect("a core");
        let _ = world.control.set(Arc::downgrade(&control.0));
        tokio::time::pause();
        test(&control, &world).await;
    });
}

/// Compares the message's view with the world's records.
fn check(control: &Control, world: &World, cancel: bool) {
    let view = control.message(&world.id).expect("it is there").view();
    let (records, counters, spec) = (world.records(), view.counters, view.spec);
    assert_eq!(records.violations, [""; 0]);
    let (reason, _) = view.closed.expect("it is closed");
    assert!(reason != CloseReason::Failed && (cancel || reason != CloseReason::Cancelled), "{reason:?}");

    let sum =
        |count: fn(&super::EgressResult) -> u32| view.results.iter().map(|result| count(result)).sum::<u32>();
    let (sent, failed) = (sum(|result| result.sent), sum(|result| result.failed));
    let expected = spec.repeat.count * u32::try_from(view.results.len()).expect("few");
    assert_eq!(sent, records.sent);
    assert!(sent + failed <= expected, "{sent} sent and {failed} failed of {expected}");
    if reason == CloseReason::Window && spec.window.is_zero() {
        assert_eq!(sent + failed, expected);
    }

    assert_eq!(counters.responses + counters.strays, records.delivered);
    assert!(counters.strays >= records.early, "{counters:?} {records:?}");
    assert!(counters.responses >= records.answers, "{counters:?} {records:?}");
    if records.unclear == 0 {
        assert_eq!(counters.late, records.late);
        assert_eq!(counters.responders, records.answered_in_time);
        assert_eq!(counters.duplicates, records.answers - records.answered_by.len() as u64);
        let enough = spec.expect.is_some_and(|expected| records.answered_in_time >= expected);
        assert_eq!(reason == CloseReason::Expected, enough, "{reason:?} {records:?}");
    }
}

fn message() -> MessageSpec {
    MessageSpec {
        group: Group::parse("239.1.2.3:10000").expect("a group").0,
        interfaces: Interfaces::Named(vec!["eth0".into(), "eth1".into()]),
        source: None,
        payload: Bytes::from_static(b"who is there?"),
        hop_limit: HopLimit(1),
        loopback: true,
        source_port: None,
        window: Duration::from_millis(200),
        expect: None,
        stall: None,
        repeat: Repeat::ONCE,
        track_attempts: false,
        linger: Duration::from_millis(100),
        retention: Retention::default(),
        labels: Labels::default(),
    }
}

fn specs() -> impl Strategy<Value = MessageSpec> {
    let times = (prop_oneof![Just(0_u64), Just(50), Just(500)], any::<bool>(), any::<bool>());
    let repeat = (1_u32..5, prop_oneof![Just(0_u64), Just(10)], any::<bool>());
    (times, repeat, proptest::option::of(1_u64..3), proptest::option::of(Just(20_000_u16)), 1_usize..3)
        .prop_map(|((window, stalls, lingers), (count, interval, track), expect, source_port, interfaces)| {
            let names = ["eth0".into(), "eth1".into()];
            MessageSpec {
                interfaces: Interfaces::Named(names[..interfaces].to_vec()),
                window: Duration::from_millis(window),
                stall: stalls.then_some(Duration::from_millis(30)),
                linger: Duration::from_millis(if lingers { 100 } else { 0 }),
                repeat: Repeat { count, interval: Duration::from_millis(interval) },
                track_attempts: track && source_port.is_none(),
                expect,
                source_port,
                ..message()
            }
        })
}

fn scripts() -> impl Strategy<Value = Vec<Vec<WorldEvent>>> {
    let becomes = prop_oneof![
        3 => Just(Becomes::Up),
        1 => Just(Becomes::Down),
        1 => Just(Becomes::WithoutCarrier),
        1 => Just(Becomes::Gone),
        1 => Just(Becomes::Renumbered),
        2 => Just(Becomes::MadeAgain),
        1 => Just(Becomes::WithoutAddress),
    ];
    let event = prop_oneof![
        6 => (0_usize..8, 1_u8..5).prop_map(|(socket, host)| WorldEvent::Arrive { socket, host }),
        6 => Just(WorldEvent::Deliver),
        3 => (0_usize..2, becomes).prop_map(|(nth, becomes)| WorldEvent::Interface { nth, becomes }),
        1 => any::<bool>().prop_map(|full| WorldEvent::SendBuffers { full }),
        1 => prop_oneof![Just(libc::EADDRINUSE), Just(libc::EMFILE), Just(libc::EACCES)].prop_map(WorldEvent::FailBind),
        1 => prop_oneof![Just(1_i64), Just(-1)].prop_map(|hours| WorldEvent::SetClock { hours }),
    ];
    proptest::collection::vec(proptest::collection::vec(event, 0..3), 0..80)
}

/// Closed messages stay, however far the clock jumps.
fn settings() -> Settings {
    Settings { message_age: Duration::from_hours(1_000_000), ..fixtures::settings() }
}
