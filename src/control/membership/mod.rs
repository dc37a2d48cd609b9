//! A membership at work: its specification, its state on each interface, its log and its lease. A responder is a
//! membership that also answers.
//!
//! Two locks: `changing` serializes the tasks that open and close sockets, which can take a while; `state` is held for
//! bookkeeping alone, so that views, metrics and lists never wait. A task that opens sockets plans under `state`, opens
//! them without it, and adopts them under `state` if nothing has changed meanwhile.

mod changing;
mod events;
mod failing;
mod interface;
mod joining;
mod leaving;
#[cfg(test)]
mod model_tests;
mod opening;
mod persistence;
mod reconciling;
mod sink;

pub(super) use changing::Unchanged;
pub(super) use persistence::read_progress;
pub(super) use reconciling::{JoinedSocket, SocketId};

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use super::ResourceKind;
use super::events::Events;
use super::responder::Responder;
use super::totals::{CurrentState, ReceivedTotals, Totals, TotalsAccumulator};
use super::views::{InterfaceView, JoinState, Lease, MembershipView, ResponderView};
use crate::model::{Id, Interface, InterfaceTable, Interfaces, MembershipSpec, Timestamp};
use crate::net::{Closed, Registration, SocketBackend};
use crate::store::{Budget, Limits, Log, LogCounters, Store};
use crate::sync::Lock;
use events::Reported;
use interface::{InterfaceMembership, NotJoinedReason};
use opening::{Delivery, Opening};
use reconciling::Retries;
use sink::InterfaceCounters;

pub struct Membership {
    id: Id,
    created_at: Timestamp,
    responder: Option<Arc<Responder>>,
    context: MembershipContext,
    /// Held while sockets are opened or closed. Tokio's lock, because requests wait for it; taken before `state`.
    changing: tokio::sync::Mutex<()>,
    /// Std lock: held for bookkeeping, and never while a socket is opened or closed. No sink takes it.
    state: Mutex<MembershipState>,
}

/// The parts of the service that every membership uses.
#[derive(Clone)]
pub(super) struct MembershipContext {
    pub(super) sockets: Arc<dyn SocketBackend>,
    pub(super) receive_buffer: usize,
    pub(super) log_limits: Limits,
    pub(super) budget: Arc<Budget>,
    pub(super) store: Option<Store>,
    pub(super) totals: Arc<TotalsAccumulator>,
    pub(super) events: Arc<Events>,
    /// How many interface memberships were opened again because the kernel had forgotten them.
    pub(super) reopened: Arc<AtomicU64>,
}

impl MembershipContext {
    fn new_log(&self, spec: &MembershipSpec) -> Arc<Log> {
        let place = self.store.as_ref().map(Store::new_handle);
        Arc::new(Log::new(self.log_limits.narrowed(&spec.retention), self.budget.clone(), place))
    }

    fn opening<'a>(&'a self, spec: &'a MembershipSpec, table: &'a InterfaceTable) -> Opening<'a> {
        Opening { sockets: &*self.sockets, receive_buffer: self.receive_buffer, spec, table }
    }
}

struct MembershipState {
    spec: MembershipSpec,
    log: Arc<Log>,
    interfaces: Vec<InterfaceMembership>,
    /// Counters of interfaces that the membership no longer uses, by name; it may use them again.
    counted_before: HashMap<Arc<str>, Arc<InterfaceCounters>>,
    /// The host has no interface but `lo`.
    is_only_loopback: bool,
    /// Why replies cannot leave from the address that `reply_from` names, if they cannot.
    replies: Result<(), NotJoinedReason>,
    /// The number of joined interfaces.
    joined: Arc<AtomicUsize>,
    lease: Option<Lease>,
    /// Declared by the configuration file.
    declared: bool,
    /// The logs of previous groups, until the store knows of the new log.
    replaced: Vec<Arc<Log>>,
    stage: Stage,
    /// Changes whenever sockets that are being opened would no longer fit.
    revision: u64,
    /// The state when the service stopped.
    at_the_end: Option<AtTheEnd>,
    /// Buffers dropped on interfaces that the membership no longer uses.
    dropped_before: u64,
    /// Released sockets, until they are closed.
    given_up: Vec<Closed>,
    retries: Retries,
    /// When the next check of the lease is armed.
    lease_armed: Option<Instant>,
    /// The interfaces as events have reported them; none before the membership is in the registry.
    reported: Option<Vec<Reported>>,
}

struct AtTheEnd {
    interfaces: Vec<InterfaceView>,
    state: JoinState,
    hears: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Hearing,
    /// The service stops: no group is joined any more, and the log can still be read.
    Stopped,
    Left,
}

impl Membership {
    pub fn id(&self) -> &Id {
        &self.id
    }

    pub fn log(&self) -> Arc<Log> {
        self.state().log.clone()
    }

    pub fn spec(&self) -> MembershipSpec {
        self.state().spec.clone()
    }

    pub fn kind(&self) -> ResourceKind {
        if self.responder.is_some() { ResourceKind::Responder } else { ResourceKind::Membership }
    }

    pub(super) fn is_declared(&self) -> bool {
        self.state().declared
    }

    /// The worst state of its interfaces, and whether it hears.
    pub(super) fn condition(&self) -> (JoinState, bool) {
        let state = self.state();
        (state.join_state(), state.hears())
    }

    /// Why the membership does not hear: the reason of one of its interfaces.
    pub(super) fn why_not_hearing(&self) -> Option<String> {
        let state = self.state();
        let deaf = state.interfaces.iter().find(|interface| !interface.hears())?;
        deaf.reason(state.replies()).map(|reason| format!("{}: {reason}", deaf.name))
    }

    /// Buffers that the kernel has dropped at the membership's sockets, including closed ones.
    pub fn dropped_buffers(&self) -> u64 {
        self.state().dropped_buffers()
    }

    /// Adds its counts, its state and the size of its log, unless it has left.
    pub(super) fn count_into(&self, totals: &mut Totals, current: &mut CurrentState) {
        let state = self.state();
        if state.stage != Stage::Left {
            let log = state.log.counters();
            *totals += self.totals(log, state.dropped_buffers());
            current.add_membership(self.kind(), state.join_state(), state.hears(), log);
        }
    }

    fn totals(&self, log: LogCounters, dropped_buffers: u64) -> Totals {
        let replies = self.responder.as_ref().map(|responder| responder.counters());
        let mut totals = Totals { replies: replies.unwrap_or_default(), ..Totals::default() };
        *totals.received(self.kind()) = ReceivedTotals::of(log, dropped_buffers);
        totals
    }

    pub fn view(&self) -> MembershipView {
        let state = self.state();
        MembershipView {
            id: self.id.clone(),
            created_at: self.created_at,
            spec: state.spec.clone(),
            state: state.join_state(),
            hears: state.hears(),
            interfaces: state.interface_views(),
            lease: state.lease,
            log: state.log.counters(),
            dropped_buffers: state.dropped_buffers(),
            responder: self.responder.as_ref().map(|responder| {
                let active = responder.active();
                ResponderView {
                    rules: active.rules.clone(),
                    reply_addresses: active.reply_addresses(),
                    counters: responder.counters(),
                }
            }),
        }
    }

    fn delivery(&self, state: &MembershipState) -> Delivery {
        let (log, joined) = (state.log.clone(), state.joined.clone());
        Delivery { log, responder: self.responder.clone(), joined }
    }

    /// Closes sockets; call it without holding `state`.
    fn close(&self, sockets: Vec<Registration>) {
        if sockets.is_empty() {
            return;
        }
        let closed: Vec<_> = sockets.into_iter().map(Registration::close).collect();
        let mut state = self.state();
        state.given_up.retain(|closed| !closed.is_done());
        state.given_up.extend(closed);
    }

    fn state(&self) -> MutexGuard<'_, MembershipState> {
        self.state.lock_own()
    }
}

impl MembershipState {
    fn new(log: Arc<Log>, spec: MembershipSpec) -> Self {
        Self {
            log,
            spec,
            interfaces: Vec::new(),
            counted_before: HashMap::new(),
            is_only_loopback: false,
            replies: Ok(()),
            joined: Arc::default(),
            lease: None,
            declared: false,
            replaced: Vec::new(),
            stage: Stage::Hearing,
            revision: 0,
            at_the_end: None,
            dropped_before: 0,
            given_up: Vec::new(),
            retries: Retries::default(),
            lease_armed: None,
            reported: None,
        }
    }

    fn dropped_buffers(&self) -> u64 {
        self.dropped_before + self.interfaces.iter().map(InterfaceMembership::dropped_buffers).sum::<u64>()
    }

    fn replies(&self) -> Result<(), &NotJoinedReason> {
        self.replies.as_ref().copied()
    }

    fn interface_views(&self) -> Vec<InterfaceView> {
        match &self.at_the_end {
            Some(end) => end.interfaces.clone(),
            None => self.interfaces.iter().map(|interface| interface.view(self.replies())).collect(),
        }
    }

    /// The worst state of the interfaces; pending if there are none.
    fn join_state(&self) -> JoinState {
        if let Some(end) = &self.at_the_end {
            return end.state;
        }
        let states = self.interfaces.iter().map(|interface| interface.state(self.replies()));
        states.max().unwrap_or(JoinState::Pending)
    }

    /// On all interfaces that the specification names; if it names none, on at least one, where `lo` counts only if the
    /// host has no other.
    fn hears(&self) -> bool {
        if let Some(end) = &self.at_the_end {
            return end.hears;
        }
        let mut all = self.interfaces.iter();
        match self.spec.interfaces {
            Interfaces::Named(_) => all.len() > 0 && all.all(InterfaceMembership::hears),
            Interfaces::Default => {
                all.any(|interface| interface.hears() && (self.is_only_loopback || !interface.loopback))
            }
        }
    }

    fn count_joined(&self) {
        let joined = self.interfaces.iter().filter(|interface| interface.is_joined()).count();
        self.joined.store(joined, Ordering::Relaxed);
    }

    /// Releases all sockets, to be closed where no lock is held.
    fn take_sockets(&mut self) -> Vec<Registration> {
        self.dropped_before = self.dropped_buffers();
        let sockets = self.interfaces.drain(..).filter_map(InterfaceMembership::into_socket).collect();
        self.count_joined();
        sockets
    }
}

/// The interfaces of the specification that exist.
fn interfaces_there(spec: &MembershipSpec, table: &InterfaceTable) -> Vec<Arc<Interface>> {
    let wanted = interface::wanted_interfaces(&spec.interfaces, spec.group.family(), table, &[]);
    wanted.into_iter().filter_map(|(_, interface)| interface).collect()
}
