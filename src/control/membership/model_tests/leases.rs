//! Model tests of leases, while time passes in leaps and the time of day is set.

use std::time::Duration;

use proptest::prelude::*;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Target, World, group, request, spec};
use crate::control::events::EventKind;
use crate::control::{Condition, JoinRequest, RequestedLease};
use crate::model::Timestamp;
use crate::net::{InterfaceWatch, SocketBackend};

#[derive(Debug, Clone, Copy)]
enum LeaseStep {
    Pass(Duration),
    /// Moves the time of day by this many seconds.
    Set(i64),
    Renew(Duration),
}

#[test]
fn a_lease_ends_on_time_even_if_the_clock_is_set() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let interfaces = runtime.block_on(InterfaceWatch::start(&tasks, &stop)).expect("interfaces");
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) };
    proptest!(config, |(steps in proptest::collection::vec(steps(), 0..20))| {
        live(&World::new(interfaces.clone(), runtime.handle().clone()), steps);
    });
}

/// A responder logs datagrams and replies to them until its lease ends, and not after that.
fn live(world: &World, steps: Vec<LeaseStep>) {
    const TARGET: Target = Target { interfaces: [true, true], group: 0 };
    let (responder, _) = &world.resources[1];
    let sockets_before = world.kernel.open_sockets();
    let mut left: Option<Duration> = None;
    for step in steps {
        match step {
            LeaseStep::Pass(time) => {
                let clock = &mut world.kernel.state().clock;
                clock.monotonic += time;
                clock.real.0 += i64::try_from(time.as_nanos()).expect("hours");
                left = left.map(|left| left.saturating_sub(time));
            }
            LeaseStep::Set(seconds) => world.kernel.state().clock.real.0 += seconds * 1_000_000_000,
            LeaseStep::Renew(lease) => {
                let renewal = JoinRequest { lease: RequestedLease::For(lease), ..request(true) };
                let renewed = world.runtime.block_on(responder.change(
                    &spec(TARGET),
                    &renewal,
                    &world.table,
                    &Condition::NONE,
                ));
                assert!(renewed.is_ok());
                let expires_at = responder.view().lease.expect("it was just renewed").expires_at;
                let nanos = i64::try_from(lease.as_nanos()).expect("hours");
                assert_eq!(expires_at, Timestamp(world.kernel.clock().real.0 + nanos));
                left = Some(lease);
            }
        }
        let logged = responder.view().log.appended;
        world.kernel.deliver(0, group(0));
        assert_eq!(responder.view().log.appended, logged + 1);
        let Some(sockets) = responder.leave_if_expired(world.kernel.clock().monotonic) else {
            assert_ne!(left, Some(Duration::ZERO));
            continue;
        };
        assert_eq!(left, Some(Duration::ZERO));
        // Its sockets are not closed yet, but deliver nothing any more.
        world.kernel.deliver(0, group(0));
        assert_eq!(responder.view().log.appended, logged + 1);
        assert_eq!(responder.view().responder.expect("it is one").reply_addresses, []);
        drop(sockets);
        // Group sockets on two interfaces, and one reply socket.
        assert_eq!(world.kernel.open_sockets(), sockets_before - 3);
        let events = world.events.read(None, usize::MAX, |_| true).events;
        let last = events.iter().rfind(|event| event.id == *responder.id());
        assert!(last.is_some_and(|event| matches!(event.event, EventKind::Expired)));
        return;
    }
    responder.leave();
}

fn steps() -> impl Strategy<Value = LeaseStep> {
    let seconds = || (1_u64..100).prop_map(Duration::from_secs);
    prop_oneof![
        4 => seconds().prop_map(LeaseStep::Pass),
        2 => (-1_000_000_i64..1_000_000).prop_map(LeaseStep::Set),
        2 => seconds().prop_map(LeaseStep::Renew),
    ]
}
