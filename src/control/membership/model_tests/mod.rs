//! Memberships and responders on a kernel that fails, forgets, and changes between two calls: after every step they are
//! as a simple model says, no socket is left over, and every arriving datagram is in the log.

mod kernel;
mod leases;
mod model;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::changing::Unchanged;
use super::{Membership, MembershipContext, SocketId};
use crate::control::events::Events;
use crate::control::reconciler::{Orphans, lacking};
use crate::control::registry::Registry;
use crate::control::resource_failures::Failable;
use crate::control::responder::{
    ActiveRules, ByteBudget, MatchBudget, ReplyLimits, Responder, ResponderContext,
};
use crate::control::timers::Timers;
use crate::control::totals::TotalsAccumulator;
use crate::control::{Condition, InterfaceChoice, JoinRequest, RequestedLease};
use crate::model::{
    Delay, Group, Id, InterfaceTable, Interfaces, Labels, Match, MembershipSpec, Reply, ReplyBytes,
    ReplyFrom, ResponderRules, Retention, SourceFilter,
};
use crate::net::{InterfaceWatch, SocketBackend};
use crate::store::{Budget, Limits};
use kernel::{LinkChange, NAMES, REPLY_ADDRESS, SimulatedKernel};
use model::{Model, Target, name, reason_of};

#[derive(Debug, Clone, Copy)]
enum Step {
    Change(LinkChange),
    /// During the next open.
    Between(LinkChange),
    FailNextOpen(i32),
    /// The reconciler follows the table.
    Follow,
    Retry,
    Compare,
    Put(usize, Target),
    Panic,
}

#[test]
fn memberships_and_responders_match_the_model() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let interfaces = runtime.block_on(InterfaceWatch::start(&tasks, &stop)).expect("interfaces");
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) };
    proptest!(config, |(steps in proptest::collection::vec(steps(), 0..40))| {
        let mut world = World::new(interfaces.clone(), runtime.handle().clone());
        for step in steps {
            world.apply(step);
            world.check();
        }
        world.recover();
        world.end();
    });
}

struct World {
    kernel: Arc<SimulatedKernel>,
    runtime: tokio::runtime::Handle,
    events: Arc<Events>,
    /// The table that the kernel has announced.
    table: Arc<InterfaceTable>,
    resources: Vec<(Arc<Membership>, Model)>,
    orphans: Orphans,
}

impl World {
    /// A world with a membership and a responder.
    fn new(interfaces: InterfaceWatch, runtime: tokio::runtime::Handle) -> Self {
        let (kernel, events, totals) =
            (SimulatedKernel::new(), Arc::new(Events::new(1_000)), Arc::<TotalsAccumulator>::default());
        let sockets: Arc<dyn SocketBackend> = Arc::new(kernel.clone());
        let context = MembershipContext {
            sockets: sockets.clone(),
            receive_buffer: 4096,
            log_limits: Limits { entries: 10_000, bytes: 1 << 20, age: None },
            budget: Arc::new(Budget::new(1 << 24, None)),
            store: None,
            totals,
            events: events.clone(),
            reopened: Arc::default(),
        };
        let limits = Arc::new(ReplyLimits::new(0, 0, ReplyBytes { factor: 0, per_second: 0 }));
        let responder_context = ResponderContext {
            limits,
            matching: Arc::new(MatchBudget::new(Duration::ZERO)),
            pattern_bytes: usize::MAX,
            delayed: Arc::new(ByteBudget::new(0)),
            timers: Arc::new(Timers::default()),
            interfaces,
        };
        let (table, registry) = (kernel.table(), Registry::default());
        let target = Target { interfaces: [true, true], group: 0 };
        let resources = [false, true].map(|answers| {
            let responder = request(answers).rules.map(|rules| {
                let active = ActiveRules::new(&group(0), rules, &sockets);
                Arc::new(Responder::new(active, responder_context.clone()))
            });
            let id = Id::parse(if answers { "responder" } else { "membership" }).expect("an id");
            let (request, context) = (request(answers), context.clone());
            let new = Membership::prepare(id, spec(target), &request, responder, context, table.clone());
            let Ok(membership) = new.expect("it works").publish(&registry) else {
                panic!("the id is free");
            };
            (membership, Model::new(target, answers, &table, kernel.take_opens()))
        });
        Self { kernel, runtime, events, table, resources: resources.into(), orphans: Orphans::default() }
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Change(change) => self.kernel.state().apply(change),
            Step::Between(change) => self.kernel.state().between = Some(change),
            Step::FailNextOpen(error) => self.kernel.state().open_errors.push_back(error),
            Step::Follow => {
                self.table = self.kernel.table();
                self.reconcile(&HashSet::new(), [[false; 2]; 2], false);
            }
            Step::Retry => self.reconcile(&HashSet::new(), [[false; 2]; 2], true),
            Step::Compare => self.compare(),
            Step::Put(nth, target) => self.put(nth, target),
            Step::Panic => self.kernel.panics.store(true, Ordering::Relaxed),
        }
    }

    fn reconcile(&mut self, lacking: &HashSet<SocketId>, forgotten: [[bool; 2]; 2], is_retry: bool) {
        let mut orphans = Vec::new();
        for ((membership, model), forgotten) in self.resources.iter_mut().zip(forgotten) {
            orphans.extend(membership.follow(&self.table, lacking));
            model.follow(&self.table, forgotten);
        }
        self.orphans.take_in(orphans, &self.table, &self.kernel);
        for (membership, model) in &mut self.resources {
            membership.join_missing(&self.table, is_retry);
            let opens = self.kernel.take_opens();
            model.join(&self.table, opens, is_retry, &self.kernel.state());
        }
    }

    /// In groups where the kernel counts fewer sockets than exist, all sockets are opened again.
    fn compare(&mut self) {
        let all: Vec<_> = self.resources.iter().map(|(membership, _)| membership.clone()).collect();
        let lacking = lacking(&self.kernel, &all).expect("lists");
        let joined =
            |model: &Model, nth| model.joined_on(nth).map(|index| (index, group(model.target.group).ip()));
        let is_short = |model: &Model, nth| {
            let Some(key) = joined(model, nth) else { return false };
            let ours = self.resources.iter().flat_map(|(_, other)| [0, 1].map(|nth| joined(other, nth)));
            let ours = ours.filter(|other| *other == Some(key)).count();
            ours > self.kernel.state().users.get(&key).map_or(0, |users| *users as usize)
        };
        let forgotten = [0, 1].map(|at| [0, 1].map(|nth| is_short(&self.resources[at].1, nth)));
        assert_eq!(lacking.len(), forgotten.as_flattened().iter().filter(|short| **short).count());
        let lacking = lacking.into_iter().map(|missing| missing.id).collect();
        self.reconcile(&lacking, forgotten, false);
    }

    fn put(&mut self, nth: usize, target: Target) {
        let (membership, model) = &mut self.resources[nth];
        let could_reply = self.kernel.state().has_address();
        let (spec, request) = (spec(target), request(nth == 1));
        let changed =
            self.runtime.block_on(membership.change(&spec, &request, &self.table, &Condition::NONE));
        let changed = match changed {
            Ok(()) => true,
            Err(Unchanged::Refused(_)) => false,
            Err(Unchanged::Left) => panic!("no membership has left"),
        };
        assert_eq!(changed, model.put(target, &self.table, self.kernel.take_opens(), could_reply));
    }

    /// Delivers a datagram to each group on each interface, and compares everything with the model.
    fn check(&mut self) {
        for (nth, at) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let arrives = self.kernel.would_deliver(nth, group(at));
            self.kernel.deliver(nth, group(at));
            for (membership, model) in &mut self.resources {
                let is_member =
                    arrives.is_some() && model.joined_on(nth) == arrives && model.target.group == at;
                if membership.is_broken() {
                    assert!(is_member);
                    membership.fail();
                    model.fail();
                } else if is_member {
                    model.logged += 1;
                    model.received[nth] += 1;
                }
            }
        }
        let mut open = self.orphans.len();
        for (membership, model) in &self.resources {
            open += usize::from(model.replies_from);
            let view = membership.view();
            let targets = [0, 1].into_iter().filter(|nth| model.target.interfaces[*nth]);
            assert_eq!(view.interfaces.len(), targets.clone().count());
            for (interface, nth) in view.interfaces.iter().zip(targets) {
                assert_eq!(&*interface.name, NAMES[nth]);
                let shown = (interface.state, interface.hears, interface.reason.as_deref().map(reason_of));
                assert_eq!(Some(shown), model.shown(nth), "{} {:?}", membership.id(), interface.reason);
                assert_eq!(interface.received.datagrams, model.received[nth]);
                open += usize::from(model.joined_on(nth).is_some());
            }
            let shown = || view.interfaces.iter();
            assert_eq!(Some(view.state), shown().map(|interface| interface.state).max());
            assert_eq!(view.hears, shown().all(|interface| interface.hears));
            assert_eq!(view.log.appended, model.logged);
            self.check_events(membership, model);
        }
        assert_eq!(self.kernel.open_sockets(), open);
    }

    fn check_events(&self, membership: &Membership, model: &Model) {
        let events = self.events.read(None, usize::MAX, |_| true).events;
        let own = events.iter().filter(|event| event.id == *membership.id());
        let at = |interface: &str| NAMES.iter().position(|name| *name == interface);
        let emitted = own.map(|event| (name(&event.event), event.interface.as_deref().and_then(at)));
        assert_eq!(emitted.collect::<Vec<_>>(), model.events, "{}", membership.id());
    }

    /// Once the kernel no longer fails, everything is joined where it can be, and the kernel knows all of it.
    fn recover(&mut self) {
        {
            let mut state = self.kernel.state();
            state.between = None;
            state.open_errors.clear();
            state.apply(LinkChange::AddressReturns);
        }
        self.kernel.panics.store(false, Ordering::Relaxed);
        for step in [Step::Follow, Step::Retry, Step::Compare, Step::Compare] {
            self.apply(step);
            self.check();
        }
        for (_, model) in &self.resources {
            for nth in [0, 1] {
                let link = self
                    .table
                    .by_name(NAMES[nth])
                    .filter(|link| link.takes_part_in(crate::model::Family::V6));
                if let Some(link) = link.filter(|_| model.target.interfaces[nth]) {
                    assert_eq!(model.joined_on(nth), Some(link.index));
                }
            }
        }
        let all: Vec<_> = self.resources.iter().map(|(membership, _)| membership.clone()).collect();
        assert!(lacking(&self.kernel, &all).expect("lists").is_empty());
    }

    fn end(self) {
        drop(self.orphans);
        for (membership, mut model) in self.resources {
            membership.leave();
            self.runtime.block_on(membership.sockets_closed());
            model.events.push(("left", None));
            let events = self.events.read(None, usize::MAX, |_| true).events;
            let last = events.iter().rfind(|event| event.id == *membership.id());
            assert_eq!(last.map(|event| (name(&event.event), &event.interface)), Some(("left", &None)));
        }
        assert_eq!(self.kernel.open_sockets(), 0);
    }
}

fn group(nth: usize) -> Group {
    let text = ["[ff15::1]:10000", "[ff15::2]:10000"][nth];
    Group::parse(text).expect("a group").0
}

fn spec(target: Target) -> MembershipSpec {
    let names = [0, 1].into_iter().filter(|nth| target.interfaces[*nth]);
    MembershipSpec {
        group: group(target.group),
        interfaces: Interfaces::Named(names.map(|nth| NAMES[nth].into()).collect()),
        allow_missing: true,
        sources: SourceFilter::Any,
        exact_drops: false,
        retention: Retention::default(),
        labels: Labels::default(),
    }
}

fn request(answers: bool) -> JoinRequest {
    let rules = ResponderRules {
        reply: Reply::Fixed(Bytes::from_static(b"ack")),
        matches: Match::All,
        delay: Delay::NONE,
        reply_from: Some(ReplyFrom { address: Some(REPLY_ADDRESS), port: None }),
        dedupe: true,
        reply_bytes: None,
    };
    JoinRequest {
        group: group(0),
        interfaces: InterfaceChoice::default(),
        allow_missing: true,
        sources: SourceFilter::Any,
        exact_drops: false,
        retention: Retention::default(),
        labels: Labels::default(),
        lease: RequestedLease::None,
        declared: false,
        rules: answers.then_some(rules),
    }
}

fn steps() -> impl Strategy<Value = Step> {
    let change = (0_usize..2, 0_usize..9).prop_map(|(nth, which)| match which {
        0 => LinkChange::Up(nth),
        1 => LinkChange::Down(nth),
        2 => LinkChange::Gone(nth),
        3 => LinkChange::MadeAgain(nth),
        4 => LinkChange::SmallMtu(nth),
        5 => LinkChange::LargeMtu(nth),
        6 => LinkChange::Forget(nth),
        7 => LinkChange::AddressLeaves,
        _ => LinkChange::AddressReturns,
    });
    let targets = prop_oneof![Just([true, true]), Just([true, false]), Just([false, true])];
    let put = (0_usize..2, targets, 0_usize..2);
    prop_oneof![
        6 => change.clone().prop_map(Step::Change),
        1 => change.prop_map(Step::Between),
        1 => prop_oneof![Just(libc::EADDRINUSE), Just(libc::EMFILE)].prop_map(Step::FailNextOpen),
        6 => Just(Step::Follow),
        2 => Just(Step::Retry),
        2 => Just(Step::Compare),
        3 => put.prop_map(|(nth, interfaces, group)| Step::Put(nth, Target { interfaces, group })),
        1 => Just(Step::Panic),
    ]
}
