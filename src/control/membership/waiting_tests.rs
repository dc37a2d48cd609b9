//! What waits costs nothing while it waits, and what is gone costs nothing any more.

use std::time::Duration;

use bytes::Bytes;

use crate::control::{
    Condition, Control, InterfaceChoice, JoinRequest, RequestedLease, ResourceKind, fixtures,
};
use crate::model::{HopLimit, Id, InterfaceRef, Interfaces, Labels, MessageSpec, Repeat, Retention};

#[tokio::test]
async fn an_interface_that_is_not_there_needs_no_retry() {
    let control = Control::start(fixtures::settings()).await.expect("it starts");
    control.join_as(Id::generate(), missing(), &Condition::ONLY_CREATE).await.expect("it waits");
    assert_eq!(timers(&control), 0);
    control.shutdown().await.expect("there is no disk");
}

#[tokio::test]
async fn timers_of_deleted_resources_do_not_add_up() {
    const ROUNDS: usize = 200;
    let control = Control::start(fixtures::settings()).await.expect("it starts");
    for _ in 0..ROUNDS {
        let id = Id::generate();
        let leased = JoinRequest { lease: RequestedLease::For(Duration::from_hours(24)), ..missing() };
        control.join_as(id.clone(), leased, &Condition::ONLY_CREATE).await.expect("it waits");
        control.leave(ResourceKind::Membership, &id, &Condition::NONE).await.expect("it is there");
        let message = control.send(message()).await.expect("lo takes it");
        control.delete(message.id(), &Condition::NONE).await.expect("it is there");
    }
    assert!(timers(&control) < ROUNDS / 4, "{}", timers(&control));
    control.shutdown().await.expect("there is no disk");
}

#[tokio::test]
async fn a_lease_that_is_shortened_again_and_again_has_few_timers() {
    const ROUNDS: u64 = 200;
    let control = Control::start(fixtures::settings()).await.expect("it starts");
    let id = Id::generate();
    for nth in 0..ROUNDS {
        let leased =
            JoinRequest { lease: RequestedLease::For(Duration::from_hours(1_000 - nth)), ..missing() };
        control.join_as(id.clone(), leased, &Condition::NONE).await.expect("it waits");
    }
    assert!(timers(&control) < 10, "{}", timers(&control));
    control.shutdown().await.expect("there is no disk");
}

fn timers(control: &Control) -> usize {
    control.0.timers.len()
}

fn missing() -> JoinRequest {
    let named = Some(vec![InterfaceRef::Name("nosuch0".to_owned())]);
    let interfaces = InterfaceChoice { zone: None, named };
    JoinRequest { interfaces, allow_missing: true, ..fixtures::on_lo() }
}

fn message() -> MessageSpec {
    MessageSpec {
        group: fixtures::fresh_group(),
        interfaces: Interfaces::Named(vec!["lo".into()]),
        source: None,
        payload: Bytes::from_static(b"x"),
        hop_limit: HopLimit(1),
        loopback: true,
        source_port: None,
        window: Duration::from_hours(24),
        expect: None,
        stall: None,
        repeat: Repeat::ONCE,
        track_attempts: false,
        linger: Duration::ZERO,
        retention: Retention::default(),
        labels: Labels::default(),
    }
}
