//! A membership at work: what it wants, the ports that came of it, its log and its lease. A responder is
//! a membership that also answers.

mod changing;
mod keeping;
mod ports;
mod telling;

pub(super) use keeping::read_progress;
pub(super) use ports::{Port, PortState};

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::answering::{Active, Answering, is_link_local};
use super::events::{Events, Happening};
use super::memberships::JoinRequest;
use super::totals::{Held, Ledger, Received, States, Totals};
use super::views::{JoinState, Lease, MembershipView, PortView, ResponderView};
use super::{Kind, Refusal};
use crate::model::{Id, InterfaceTable, MembershipSpec, Timestamp};
use crate::net::{Closed, SocketBackend};
use crate::store::{Budget, Limits, Log, LogCounters, Store};
use ports::Delivery;

pub struct Membership {
    id: Id,
    created_at: Timestamp,
    answering: Option<Arc<Answering>>,
    environment: Environment,
    /// Std lock: held while sockets are opened or closed, which does not wait for the network. No sink
    /// takes it, so closing a port under it cannot deadlock.
    state: Mutex<State>,
}

/// What every membership gets from the service.
#[derive(Clone)]
pub(super) struct Environment {
    pub(super) sockets: Arc<dyn SocketBackend>,
    pub(super) receive_buffer: usize,
    pub(super) log_limits: Limits,
    pub(super) budget: Arc<Budget>,
    pub(super) store: Option<Store>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) events: Arc<Events>,
}

impl Environment {
    fn new_log(&self, spec: &MembershipSpec) -> Arc<Log> {
        let place = self.store.as_ref().map(Store::place);
        Arc::new(Log::new(self.log_limits.narrowed(&spec.retention), self.budget.clone(), place))
    }
}

struct State {
    spec: MembershipSpec,
    log: Arc<Log>,
    ports: Vec<Port>,
    /// The sockets of ports that were closed as it left.
    given_up: Vec<Closed>,
    joined: Arc<AtomicUsize>,
    lease: Option<Lease>,
    /// A configuration file wants it.
    declared: bool,
    /// The logs of groups before, until the store knows of the new one.
    replaced: Vec<Arc<Log>>,
    stage: Stage,
    /// The interfaces as they were when the service stopped.
    at_the_end: Vec<PortView>,
    /// Buffers dropped at sockets that are closed by now.
    dropped_before: u64,
    retry_pause: Duration,
    /// A retry is due at some time.
    retry_armed: bool,
    /// When the lease is checked next.
    lease_armed: Option<Instant>,
    /// The interfaces as events have told them; none before the membership is registered.
    told: Option<Vec<(Arc<str>, JoinState)>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Hearing,
    /// The service stops: nothing is joined any more, and the log can still be read.
    Stopped,
    Left,
}

impl Membership {
    /// The first and the longest pause before a failed join is tried again.
    const RETRY_PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

    /// Joins; on refusal nothing stays open.
    pub(super) fn join(
        id: Id,
        spec: MembershipSpec,
        request: &JoinRequest,
        answering: Option<Arc<Answering>>,
        environment: Environment,
        table: &InterfaceTable,
    ) -> Result<Self, Refusal> {
        let lease = request.lease.map(Lease::starting_now);
        let state =
            State { declared: request.declared, lease, ..State::new(environment.new_log(&spec), spec) };
        let membership =
            Self { id, created_at: Timestamp::now(), answering, environment, state: Mutex::new(state) };
        {
            let mut state = membership.state();
            if let Some(answering) = &membership.answering {
                prepare_replies(&answering.active(), &state.spec, table)?;
            }
            let delivery = membership.delivery(&state, state.log.clone());
            state.ports = ports::open_missing(&state.spec, table, &[], &delivery)?;
            state.count_joined();
        }
        Ok(membership)
    }

    /// Follows the interfaces as they come and go, and tries again what failed.
    pub(super) fn reconcile(&self, table: &InterfaceTable) {
        let mut guard = self.state();
        let state = &mut *guard;
        if state.stage != Stage::Hearing {
            return;
        }
        let wanted = ports::wanted(&state.spec.interfaces, table, &state.ports);
        let delivery = self.delivery(state, state.log.clone());
        let mut before = std::mem::take(&mut state.ports);
        for (name, interface) in wanted {
            let known =
                before.iter().position(|port| port.interface == name).map(|at| before.swap_remove(at));
            let port = ports::follow(
                &state.spec,
                name,
                known,
                interface.as_ref(),
                &delivery,
                &mut state.dropped_before,
            );
            state.ports.push(port);
        }
        state.dropped_before += before.iter().map(Port::dropped_buffers).sum::<u64>();
        state.count_joined();
        if state.told.is_some() {
            self.tell_interfaces(state);
        }
    }

    /// Leaves: once this returns, nothing more reaches the log; see [`Self::sockets_closed`].
    pub(super) fn leave(&self) {
        let mut state = self.state();
        if state.stage != Stage::Left {
            self.leave_locked(&mut state);
            if state.told.is_some() {
                self.tell(&state, Happening::Left, None);
            }
        }
        drop(state);
        if let Some(answering) = &self.answering {
            answering.close();
        }
    }

    /// Resolves once the sockets that were given up are closed, and their ports free. Cancel-safe.
    pub(super) async fn sockets_closed(&self) {
        let given_up = self.state().given_up.clone();
        for closed in given_up {
            closed.wait().await;
        }
    }

    /// Closes the sockets for good, as the service stops; the rest stays as it was.
    pub(super) fn stop_hearing(&self) {
        let mut state = self.state();
        if state.stage == Stage::Hearing {
            state.stage = Stage::Stopped;
            state.at_the_end = state.ports.iter().map(PortView::of).collect();
            state.dropped_before = state.close_ports();
        }
    }

    /// Leaves if the lease has run out; whether it has.
    pub(super) fn leave_if_expired(&self, now: Instant) -> bool {
        let mut state = self.state();
        state.lease_armed = None;
        let expired = state.stage != Stage::Left && state.lease.is_some_and(|lease| lease.ends <= now);
        if expired {
            self.leave_locked(&mut state);
            self.tell(&state, Happening::Expired, None);
        }
        expired
    }

    /// Leaves its counts behind. For one that has not left yet.
    fn leave_locked(&self, state: &mut State) {
        state.stage = Stage::Left;
        let dropped_buffers = state.close_ports();
        state.log.close();
        state.replaced.drain(..).for_each(|old| old.close());
        self.environment.ledger.enter(self.totals(state.log.counters(), dropped_buffers));
    }

    /// Tries again where joining failed.
    pub(super) fn retry(&self, table: &InterfaceTable) {
        self.state().retry_armed = false;
        self.reconcile(table);
    }

    /// When a retry is to be armed, if some interface could not be joined; each pause is longer than the last.
    pub(super) fn next_retry(&self, now: Instant) -> Option<Instant> {
        let mut state = self.state();
        if state.stage != Stage::Hearing || state.ports.iter().all(Port::is_joined) {
            state.retry_pause = Self::RETRY_PAUSES.0;
            return None;
        }
        if std::mem::replace(&mut state.retry_armed, true) {
            return None;
        }
        let pause = state.retry_pause;
        state.retry_pause = (pause * 2).min(Self::RETRY_PAUSES.1);
        Some(now + pause)
    }

    /// When a check of the lease is to be armed, unless one is that comes early enough.
    pub(super) fn lease_check(&self) -> Option<Instant> {
        let mut state = self.state();
        let ends = state.lease.filter(|_| state.stage == Stage::Hearing)?.ends;
        if state.lease_armed.is_some_and(|armed| armed <= ends) {
            return None;
        }
        state.lease_armed = Some(ends);
        Some(ends)
    }

    pub fn id(&self) -> &Id {
        &self.id
    }

    pub fn log(&self) -> Arc<Log> {
        self.state().log.clone()
    }

    pub fn spec(&self) -> MembershipSpec {
        self.state().spec.clone()
    }

    pub(super) fn join_state(&self) -> JoinState {
        self.state().join_state()
    }

    /// Buffers that the kernel has dropped at its sockets, those closed by now included.
    pub fn dropped_buffers(&self) -> u64 {
        self.state().dropped_buffers()
    }

    /// Adds what it has heard and answered until now, its state and what it holds, unless it has left.
    pub(super) fn count_into(&self, totals: &mut Totals, states: &mut States, held: &mut Held) {
        let state = self.state();
        if state.stage != Stage::Left {
            let log = state.log.counters();
            *totals += self.totals(log, state.dropped_buffers());
            states.add(state.join_state());
            held.add(log);
        }
    }

    fn totals(&self, log: LogCounters, dropped_buffers: u64) -> Totals {
        let replies = self.answering.as_ref().map(|answering| answering.counters());
        let mut totals = Totals { replies: replies.unwrap_or_default(), ..Totals::default() };
        *totals.received(self.kind()) = Received::of(log, dropped_buffers);
        totals
    }

    pub(super) fn is_declared(&self) -> bool {
        self.state().declared
    }

    pub fn kind(&self) -> Kind {
        if self.answering.is_some() { Kind::Responder } else { Kind::Membership }
    }

    pub fn view(&self) -> MembershipView {
        let state = self.state();
        let ports = state.port_views();
        let dropped_now: u64 = if state.stage == Stage::Hearing {
            ports.iter().map(|port| port.dropped_buffers).sum()
        } else {
            0
        };
        MembershipView {
            id: self.id.clone(),
            created_at: self.created_at,
            spec: state.spec.clone(),
            state: state.join_state(),
            lease: state.lease,
            log: state.log.counters(),
            dropped_buffers: state.dropped_before + dropped_now,
            responder: self.answering.as_ref().map(|answering| {
                let active = answering.active();
                ResponderView {
                    rules: active.rules.clone(),
                    reply_addresses: active.reply_addresses(),
                    counters: answering.counters(),
                }
            }),
            ports,
        }
    }

    fn delivery(&self, state: &State, log: Arc<Log>) -> Delivery {
        Delivery {
            sockets: self.environment.sockets.clone(),
            receive_buffer: self.environment.receive_buffer,
            log,
            answering: self.answering.clone(),
            joined: state.joined.clone(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new(log: Arc<Log>, spec: MembershipSpec) -> Self {
        Self {
            log,
            spec,
            ports: Vec::new(),
            given_up: Vec::new(),
            joined: Arc::default(),
            lease: None,
            declared: false,
            replaced: Vec::new(),
            stage: Stage::Hearing,
            at_the_end: Vec::new(),
            dropped_before: 0,
            retry_pause: Membership::RETRY_PAUSES.0,
            retry_armed: false,
            lease_armed: None,
            told: None,
        }
    }

    fn dropped_buffers(&self) -> u64 {
        self.dropped_before + self.ports.iter().map(Port::dropped_buffers).sum::<u64>()
    }

    fn port_views(&self) -> Vec<PortView> {
        if self.stage == Stage::Stopped {
            return self.at_the_end.clone();
        }
        self.ports.iter().map(PortView::of).collect()
    }

    /// Closes the sockets and gives the buffers that were dropped there.
    fn close_ports(&mut self) -> u64 {
        let dropped = self.dropped_buffers();
        self.given_up.retain(|closed| !closed.is_done());
        self.given_up.extend(self.ports.drain(..).filter_map(Port::close));
        dropped
    }

    /// The worst of the interfaces; with none at all, pending.
    fn join_state(&self) -> JoinState {
        let at_the_end = self.at_the_end.iter().map(|port| port.state);
        let now = self.ports.iter().map(|port| port.state.join_state());
        now.chain(at_the_end).max().unwrap_or(JoinState::Pending)
    }

    fn count_joined(&self) {
        self.joined.store(self.ports.iter().filter(|port| port.is_joined()).count(), Ordering::Relaxed);
    }
}

/// Opens what `reply_from` asks for on every interface that is there.
fn prepare_replies(active: &Active, spec: &MembershipSpec, table: &InterfaceTable) -> Result<(), Refusal> {
    let address = active.rules.reply_from.and_then(|from| from.address);
    let wanted = ports::wanted(&spec.interfaces, table, &[]);
    let there: Vec<_> = wanted.into_iter().filter_map(|(_, interface)| interface).collect();
    if let Some(address) = address.filter(|address| !there.is_empty() && is_link_local(*address)) {
        // It is one of its interface only: that one must be wanted.
        if !there.iter().any(|interface| interface.has(address)) {
            return Err(Refusal::AddressNotLocal { address });
        }
    }
    there.iter().try_for_each(|interface| active.prepare(&spec.group, interface))
}
