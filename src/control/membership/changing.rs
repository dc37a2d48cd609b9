//! Changing a membership: sockets that can change in place do, and the others are opened.

use std::collections::HashMap;
use std::sync::Arc;

use super::following::{self, Adopted, Updating};
use super::interface_membership::{self, InterfaceMembership, NotJoinedReason, Status};
use super::joining::JoinRequest;
use super::opening::{self, RegisteredInterface};
use super::state::{Membership, MembershipState, Stage};
use crate::control::condition::Condition;
use crate::control::error::ControlError;
use crate::control::events::EventKind;
use crate::control::responder::{ActiveRules, Responder};
use crate::control::totals::{ReceivedTotals, Totals};
use crate::model::{Interface, InterfaceTable, MembershipSpec};
use crate::net::{GroupSocket, RegisteredSocket, Registration, SocketError, SocketErrorKind};
use crate::store::Log;

/// Why a membership was not changed. It is as before.
pub(in crate::control) enum Unchanged {
    /// The membership was deleted in the meantime.
    Left,
    Refused(ControlError),
}

/// A responder and its new rules.
type NextRules<'a> = (&'a Arc<Responder>, ActiveRules);

impl From<ControlError> for Unchanged {
    fn from(error: ControlError) -> Self {
        Self::Refused(error)
    }
}

/// A socket that may stay open, and its interface.
type ReusableSocket = (Arc<Interface>, Arc<RegisteredSocket>);

/// A change of a membership, besides the new specification.
struct MembershipChange<'a> {
    request: &'a JoinRequest,
    /// Present if the group changes.
    new_log: Option<Arc<Log>>,
    /// The specification or the rules differ from before.
    differs: bool,
    /// Interfaces where the kernel has forgotten the membership.
    forgotten: Vec<Arc<str>>,
    replies: Result<(), NotJoinedReason>,
    registered: Vec<RegisteredInterface>,
}

impl Membership {
    /// Changes the specification, if the condition holds once no other task changes it. The log is kept unless the group
    /// changes. Cancel-safe: nothing has changed at the await.
    pub(in crate::control) async fn change(
        &self,
        spec: &MembershipSpec,
        request: &JoinRequest,
        table: &InterfaceTable,
        condition: &Condition,
    ) -> Result<(), Unchanged> {
        let updating = self.updating.lock().await;
        condition.check(self.kind(), &self.id, Some(self.state().revision))?;
        let mut rules_differ = false;
        // Again if the membership failed while the sockets were opened.
        while !self.change_with(&updating, spec, request, table, &mut rules_differ)? {}
        Ok(())
    }

    /// Returns false if the membership's state changed while the sockets were opened.
    fn change_with(
        &self,
        _: &Updating<'_>,
        spec: &MembershipSpec,
        request: &JoinRequest,
        table: &InterfaceTable,
        rules_differ: &mut bool,
    ) -> Result<bool, Unchanged> {
        let (previous, epoch, reusable, targets, mut sink_target) = {
            let state = self.state();
            match state.stage {
                Stage::Left => return Err(Unchanged::Left),
                Stage::Stopped => return Err(ControlError::Stopping.into()),
                Stage::Active => {}
            }
            let current = if state.spec.group == spec.group { &state.interfaces[..] } else { &[] };
            let reusable: Vec<ReusableSocket> =
                current.iter().filter_map(InterfaceMembership::reusable).collect();
            let no_counters = HashMap::new();
            let counted = if state.spec.group == spec.group { &state.counted_before } else { &no_counters };
            let targets = following::targets(spec, table, current, counted, true);
            (state.spec.clone(), state.epoch, reusable, targets, self.sink_target(&state))
        };
        let (rules, replies) = self.next_rules(&previous, spec, request, table)?;
        *rules_differ |=
            rules.as_ref().is_some_and(|(responder, next)| responder.active().rules != next.rules);

        let forgotten = update_in_place(&reusable, &previous, spec)?;
        let opener = self.context.opener(spec, table);
        let opened = opener.open_or_refuse(targets).inspect_err(|_| {
            let _ = update_in_place(&reusable, spec, &previous);
        })?;
        drop(reusable);
        let new_log = (previous.group != spec.group).then(|| self.context.new_log(spec));
        sink_target.log = new_log.clone().unwrap_or(sink_target.log);
        if let Some((responder, rules)) = rules {
            responder.replace(rules);
        }
        let registered = opener.register_all(opened, &sink_target);

        let mut state = self.state();
        let fits = state.epoch == epoch && state.stage == Stage::Active;
        let to_close = if fits {
            let differs = *rules_differ || previous != *spec;
            let change = MembershipChange { request, new_log, differs, forgotten, replies, registered };
            self.apply(&mut state, change, spec, table)
        } else {
            registered.into_iter().filter_map(RegisteredInterface::into_socket).collect()
        };
        drop(state);
        self.close(to_close);
        Ok(fits)
    }

    /// The responder's next rules, and why it cannot reply by them, if so. If the rules or the group are new, that
    /// reason refuses the request.
    fn next_rules(
        &self,
        previous: &MembershipSpec,
        spec: &MembershipSpec,
        request: &JoinRequest,
        table: &InterfaceTable,
    ) -> Result<(Option<NextRules<'_>>, Result<(), NotJoinedReason>), ControlError> {
        let Some((responder, rules)) = self.responder.as_ref().zip(request.rules.clone()) else {
            return Ok((None, Ok(())));
        };
        // Unchanged sockets must not be opened again: a reply port that the kernel chose would change.
        let current = responder.active();
        let stays = previous.group == spec.group && current.rules.reply_from == rules.reply_from;
        let next = if stays {
            current.with_rules(rules)
        } else {
            ActiveRules::new(&spec.group, rules, &self.context.sockets)
        };
        let prepared = next.prepare(&spec.group, &interface_membership::interfaces_there(spec, table));
        match prepared {
            Err(error) if !stays => Err(error),
            prepared => Ok((Some((responder, next)), prepared.map_err(NotJoinedReason::of_replies))),
        }
    }

    /// Returns the sockets to close.
    fn apply(
        &self,
        state: &mut MembershipState,
        change: MembershipChange<'_>,
        spec: &MembershipSpec,
        table: &InterfaceTable,
    ) -> Vec<Registration> {
        let MembershipChange { request, new_log, differs, forgotten, replies, registered } = change;
        let mut to_close = Vec::new();
        match new_log {
            None => {
                state.log.set_limits(self.context.log_limits.narrowed(&spec.retention));
                for interface in &mut state.interfaces {
                    if forgotten.contains(&interface.name) {
                        to_close.extend(
                            interface.set(Status::Lost(NotJoinedReason::Forgotten(interface.name.clone()))),
                        );
                    }
                }
            }
            Some(log) => {
                to_close = state.take_sockets();
                let old = std::mem::replace(&mut state.log, log);
                let mut ended = Totals::default();
                *ended.received(self.kind()) = ReceivedTotals::of(old.counters(), state.dropped_before);
                self.context.totals.enter(&ended);
                state.dropped_before = 0;
                state.counted_before.clear();
                state.replaced.push(old);
            }
        }
        let labels_before = std::mem::replace(&mut state.spec, spec.clone()).labels;
        to_close.extend(state.drop_excluded(table));
        state.replies = replies;
        let now = self.context.sockets.clock();
        let lease_before = state.lease.map(|lease| lease.duration);
        state.lease = request.lease.apply(state.lease, now);
        state.declared |= request.declared;
        let Adopted { unused, .. } = state.adopt(state.epoch, registered, table);
        to_close.extend(unused);
        if differs || lease_before != state.lease.map(|lease| lease.duration) {
            state.revision = state.revision.next(now.real);
            self.emit(state, EventKind::Changed(labels_before), None);
        }
        self.emit_interfaces(state);
        to_close
    }
}

impl InterfaceMembership {
    fn reusable(&self) -> Option<ReusableSocket> {
        self.joined().map(|joined| (joined.interface.clone(), joined.registration.socket().clone()))
    }
}

/// Applies the changes that need no new socket; if it fails, all sockets are as before. Returns the interfaces where
/// the kernel has forgotten the membership, which are opened again.
fn update_in_place(
    reusable: &[ReusableSocket],
    previous: &MembershipSpec,
    next: &MembershipSpec,
) -> Result<Vec<Arc<str>>, ControlError> {
    let mut forgotten = Vec::new();
    for (at, (interface, socket)) in reusable.iter().enumerate() {
        let apply = |from: &MembershipSpec, to: &MembershipSpec| {
            if from.sources != to.sources {
                GroupSocket::set_sources(socket, &to.group, interface.index, &to.sources)?;
            }
            if from.exact_drops != to.exact_drops {
                socket.set_coalescing(!to.exact_drops)?;
            }
            Ok::<_, SocketError>(())
        };
        match apply(previous, next) {
            Ok(()) => {}
            Err(error) if error.kind() == SocketErrorKind::NoDevice => forgotten.push(interface.name.clone()),
            Err(error) => {
                let _ = apply(next, previous);
                let _ = update_in_place(&reusable[..at], next, previous);
                return Err(opening::control_error(error, next, interface));
            }
        }
    }
    Ok(forgotten)
}
