//! A membership, and the state that its locks guard.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use tokio::sync::OwnedSemaphorePermit;

use super::interface_membership::{InterfaceMembership, NotJoinedReason};
use super::opening::{SinkTarget, SocketOpener};
use super::retries::Retries;
use super::sink::InterfaceCounters;
use crate::control::events::Events;
use crate::control::registry::{ListEntry, ListPosition};
use crate::control::released_sockets::ReleasedSockets;
use crate::control::resource_kind::ResourceKind;
use crate::control::responder::Responder;
use crate::control::totals::{CurrentState, ReceivedTotals, Totals, TotalsAccumulator};
use crate::control::views::{InterfaceView, JoinState, JoinStatus, Lease, MembershipView, ResponderView};
use crate::model::{Group, Id, InterfaceTable, Interfaces, MembershipSpec, Revision, Selector, Timestamp};
use crate::net::{Registration, SocketBackend};
use crate::store::{Budget, Limits, Log, LogCounters, Store};
use crate::sync::Lock;

pub struct Membership {
    pub(super) id: Id,
    pub(super) created_at: Timestamp,
    pub(super) responder: Option<Arc<Responder>>,
    pub(super) context: MembershipContext,
    /// Held while sockets are opened, changed, or compared with the kernel's lists. It does not keep sockets open: a
    /// DELETE, the lease, a failure and a stop close them at any time. Tokio's lock, because requests wait for it;
    /// taken before `state`.
    pub(super) updating: tokio::sync::Mutex<()>,
    /// Std lock: held for bookkeeping, and never while a socket is opened or closed. No sink takes it.
    pub(super) state: Mutex<MembershipState>,
}

/// The parts of the service that every membership uses.
#[derive(Clone)]
pub(in crate::control) struct MembershipContext {
    pub(in crate::control) sockets: Arc<dyn SocketBackend>,
    pub(in crate::control) receive_buffer: usize,
    pub(in crate::control) log_limits: Limits,
    pub(in crate::control) budget: Arc<Budget>,
    pub(in crate::control) store: Option<Store>,
    pub(in crate::control) totals: Arc<TotalsAccumulator>,
    pub(in crate::control) events: Arc<Events>,
    /// How many interface memberships were opened again because the kernel had forgotten them.
    pub(in crate::control) reopened: Arc<AtomicU64>,
}

impl MembershipContext {
    pub(super) fn new_log(&self, spec: &MembershipSpec) -> Arc<Log> {
        let handle = self.store.as_ref().map(Store::new_handle);
        Arc::new(Log::new(self.log_limits.narrowed(&spec.retention), self.budget.clone(), handle))
    }

    pub(super) fn opener<'a>(
        &'a self,
        spec: &'a MembershipSpec,
        table: &'a InterfaceTable,
    ) -> SocketOpener<'a> {
        SocketOpener { sockets: &*self.sockets, receive_buffer: self.receive_buffer, spec, table }
    }
}

pub(super) struct MembershipState {
    pub(super) spec: MembershipSpec,
    /// Of the specification, the responder's rules and the duration of the lease.
    pub(super) revision: Revision,
    pub(super) log: Arc<Log>,
    pub(super) interfaces: Vec<InterfaceMembership>,
    /// Counters of interfaces that the membership no longer uses, by name; it may use them again.
    pub(super) counted_before: HashMap<Arc<str>, Arc<InterfaceCounters>>,
    /// The host has no interface but `lo`.
    pub(super) is_only_loopback: bool,
    /// Why replies cannot leave from the address that `reply_from` names, if they cannot.
    pub(super) replies: Result<(), NotJoinedReason>,
    /// The number of joined interfaces.
    pub(super) joined: Arc<AtomicUsize>,
    pub(super) lease: Option<Lease>,
    /// Declared by the configuration file.
    pub(super) declared: bool,
    /// The logs of previous groups, until the store knows of the new log.
    pub(super) replaced: Vec<Arc<Log>>,
    pub(super) stage: Stage,
    /// Changes whenever sockets that are being opened would no longer fit.
    pub(super) epoch: u64,
    /// The state when the service stopped.
    pub(super) final_state: Option<FinalState>,
    /// Buffers dropped on interfaces that the membership no longer uses.
    pub(super) dropped_before: u64,
    /// Released sockets, until they are closed.
    pub(super) closing: ReleasedSockets,
    pub(super) retries: Retries,
    /// The bytes that are charged for the membership, until it has left.
    pub(super) charge: Option<OwnedSemaphorePermit>,
    /// The armed check of the lease, which ends with it.
    pub(super) lease_check: Option<Arc<LeaseCheck>>,
    /// The interfaces as events have reported them; none before the membership is in the registry.
    pub(super) reported: Option<Vec<Reported>>,
}

/// An interface's state as the last events reported it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reported {
    pub(super) interface: Arc<str>,
    pub(super) state: JoinState,
    pub(super) hears: bool,
}

/// A check of the lease at this time.
pub(in crate::control) struct LeaseCheck {
    pub(super) at: Instant,
}

pub(super) struct FinalState {
    pub(super) interfaces: Vec<InterfaceView>,
    pub(super) state: JoinState,
    pub(super) hears: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Joined, or to be joined.
    Active,
    /// The service stops: no group is joined any more, and the log can still be read.
    Stopped,
    Left,
}

impl ListEntry for Membership {
    fn position(&self) -> ListPosition {
        ListPosition { created_at: self.created_at, id: self.id.clone() }
    }
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

    pub(in crate::control) fn group(&self) -> Group {
        self.state().spec.group
    }

    pub(in crate::control) fn is_selected_by(&self, selector: &Selector) -> bool {
        selector.matches(&self.state().spec.labels)
    }

    pub(super) fn revision(&self) -> Revision {
        self.state().revision
    }

    pub fn kind(&self) -> ResourceKind {
        if self.responder.is_some() { ResourceKind::Responder } else { ResourceKind::Membership }
    }

    pub(in crate::control) fn is_declared(&self) -> bool {
        self.state().declared
    }

    /// The worst state of its interfaces, and whether it hears.
    pub(in crate::control) fn join_status(&self) -> JoinStatus {
        let state = self.state();
        JoinStatus { state: state.join_state(), hears: state.hears() }
    }

    /// Why the membership does not hear: the reason of one of its interfaces.
    pub(in crate::control) fn why_not_hearing(&self) -> Option<String> {
        let state = self.state();
        let not_hearing = state.interfaces.iter().find(|interface| !interface.hears())?;
        not_hearing.reason(state.replies()).map(|reason| format!("{}: {reason}", not_hearing.name))
    }

    /// Buffers that the kernel has dropped at the membership's sockets, including closed ones.
    pub fn dropped_buffers(&self) -> u64 {
        self.state().dropped_buffers()
    }

    /// Adds its counts, its state and the size of its log, unless it has left.
    pub(in crate::control) fn count_into(&self, totals: &mut Totals, current: &mut CurrentState) {
        let state = self.state();
        if state.stage != Stage::Left {
            let log = state.log.counters();
            *totals += self.totals(log, state.dropped_buffers());
            current.add_membership(self.kind(), state.join_state(), state.hears(), log);
        }
    }

    pub(super) fn totals(&self, log: LogCounters, dropped_buffers: u64) -> Totals {
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
            revision: state.revision,
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

    pub(super) fn sink_target(&self, state: &MembershipState) -> SinkTarget {
        let (log, joined) = (state.log.clone(), state.joined.clone());
        SinkTarget { log, responder: self.responder.clone(), joined }
    }

    /// Closes sockets; call it without holding `state`.
    pub(super) fn close(&self, sockets: Vec<Registration>) {
        if sockets.is_empty() {
            return;
        }
        let released: Vec<_> = sockets.into_iter().map(Registration::release).collect();
        self.state().closing.add(released);
    }

    pub(super) fn state(&self) -> MutexGuard<'_, MembershipState> {
        self.state.lock_own()
    }
}

impl MembershipState {
    pub(super) fn new(log: Arc<Log>, spec: MembershipSpec, revision: Revision) -> Self {
        Self {
            log,
            spec,
            revision,
            interfaces: Vec::new(),
            counted_before: HashMap::new(),
            is_only_loopback: false,
            replies: Ok(()),
            joined: Arc::default(),
            lease: None,
            declared: false,
            replaced: Vec::new(),
            stage: Stage::Active,
            epoch: 0,
            final_state: None,
            dropped_before: 0,
            closing: ReleasedSockets::default(),
            retries: Retries::default(),
            charge: None,
            lease_check: None,
            reported: None,
        }
    }

    pub(super) fn dropped_buffers(&self) -> u64 {
        self.dropped_before + self.interfaces.iter().map(InterfaceMembership::dropped_buffers).sum::<u64>()
    }

    pub(super) fn replies(&self) -> Result<(), &NotJoinedReason> {
        self.replies.as_ref().copied()
    }

    pub(super) fn interface_views(&self) -> Vec<InterfaceView> {
        match &self.final_state {
            Some(end) => end.interfaces.clone(),
            None => self.interfaces.iter().map(|interface| interface.view(self.replies())).collect(),
        }
    }

    /// The worst state of the interfaces; pending if there are none.
    pub(super) fn join_state(&self) -> JoinState {
        if let Some(end) = &self.final_state {
            return end.state;
        }
        let states = self.interfaces.iter().map(|interface| interface.state(self.replies()));
        states.max().unwrap_or(JoinState::Pending)
    }

    /// On all interfaces that the specification names; if it names none, on at least one, where `lo` counts only if the
    /// host has no other.
    pub(super) fn hears(&self) -> bool {
        if let Some(end) = &self.final_state {
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

    pub(super) fn count_joined(&self) {
        let joined = self.interfaces.iter().filter(|interface| interface.is_joined()).count();
        self.joined.store(joined, Ordering::Relaxed);
    }

    /// Releases all sockets, to be closed where no lock is held.
    pub(super) fn take_sockets(&mut self) -> Vec<Registration> {
        self.dropped_before = self.dropped_buffers();
        let sockets = self.interfaces.drain(..).filter_map(InterfaceMembership::into_socket).collect();
        self.count_joined();
        sockets
    }
}
