//! Keeps a membership in line with the interfaces and with the kernel's lists of groups.
//!
//! In two steps: the first runs for all memberships before the second runs for any. Closing a socket whose membership
//! the kernel has forgotten ends the membership of another socket in the same group (`ip_mc_dec_group`,
//! `__ipv6_dev_mc_dec`). So all such sockets are closed before any is opened again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::interface_membership::{
    self, InterfaceMembership, Joined, JoinedSocket, NotJoinedReason, SocketId, Status,
};
use super::opening::{JoinTarget, RegisteredInterface};
use super::sink::InterfaceCounters;
use super::state::{Membership, MembershipState, Stage};
use crate::control::reconciler::Orphan;
use crate::model::{Interface, InterfaceTable, Interfaces, MembershipSpec, Pattern, SourceFilter};
use crate::net::Registration;

/// Proof that no other task opens or changes sockets of this membership. Sockets may be closed meanwhile, which the
/// stage and the epoch show.
pub(super) type Updating<'a> = tokio::sync::MutexGuard<'a, ()>;

impl Membership {
    /// The first step: updates the state from the current interfaces, and closes the sockets that the kernel has
    /// forgotten; returns those whose closing may harm others. Blocks on requests that change the membership, so not
    /// for a task of the runtime.
    #[must_use = "their end may harm others"]
    pub(in crate::control) fn follow(
        &self,
        table: &InterfaceTable,
        forgotten: &HashSet<SocketId>,
    ) -> Vec<Orphan> {
        self.follow_with(&self.updating.blocking_lock(), table, forgotten)
    }

    /// The second step: joins where the membership should be joined and is not. `is_retry`: also on failed interfaces.
    pub(in crate::control) fn join_missing(&self, table: &InterfaceTable, is_retry: bool) {
        self.join_missing_with(&self.updating.blocking_lock(), table, is_retry);
    }

    fn follow_with(
        &self,
        _: &Updating<'_>,
        table: &InterfaceTable,
        forgotten: &HashSet<SocketId>,
    ) -> Vec<Orphan> {
        let mut state = self.state();
        if state.stage != Stage::Active {
            return Vec::new();
        }
        let (to_close, orphans) = state.follow(table, forgotten);
        self.emit_interfaces(&mut state);
        drop(state);
        self.close(to_close);
        orphans
    }

    pub(super) fn join_missing_with(&self, _: &Updating<'_>, table: &InterfaceTable, is_retry: bool) {
        let (epoch, spec, sink_target, targets) = {
            let mut state = self.state();
            if is_retry {
                state.retries.is_armed = false;
            }
            if state.stage != Stage::Active {
                return;
            }
            let targets = targets(&state.spec, table, &state.interfaces, &state.counted_before, is_retry);
            if targets.is_empty() && self.responder.is_none() {
                return;
            }
            (state.epoch, state.spec.clone(), self.sink_target(&state), targets)
        };
        let opener = self.context.opener(&spec, table);
        let registered = opener.register_all(opener.open_all(targets), &sink_target);
        let replies = self.prepare_replies(&spec, table);
        let mut state = self.state();
        if state.epoch == epoch {
            state.replies = replies;
        }
        let Adopted { unused, reopened } = state.adopt(epoch, registered, table);
        self.context.reopened.fetch_add(reopened, Ordering::Relaxed);
        self.emit_interfaces(&mut state);
        drop(state);
        self.close(unused);
    }

    /// Closes reply sockets whose addresses the host no longer has, and opens those that `reply_from` asks for.
    fn prepare_replies(&self, spec: &MembershipSpec, table: &InterfaceTable) -> Result<(), NotJoinedReason> {
        let Some(responder) = &self.responder else { return Ok(()) };
        let active = responder.active();
        active.close_stale(table);
        let pattern = active.rules.matches.pattern().map_or(Ok(()), Pattern::check);
        pattern.map_err(|error| NotJoinedReason::PatternRefused(error.clone()))?;
        active
            .prepare(&spec.group, &interface_membership::interfaces_there(spec, table))
            .map_err(NotJoinedReason::of_replies)
    }

    /// When to arm a retry, if a join or the replies failed; each pause is longer than the last. An interface that is not
    /// there, or cannot join, needs none: the reconciler joins when the table shows that this has changed.
    pub(in crate::control) fn next_retry(&self, now: Instant) -> Option<Instant> {
        let mut state = self.state();
        let replies_settled = state.replies().err().is_none_or(NotJoinedReason::is_permanent);
        let is_well = replies_settled && !state.interfaces.iter().any(InterfaceMembership::needs_retry);
        if state.stage != Stage::Active || is_well {
            state.retries.reset(now);
            return None;
        }
        state.retries.next(now)
    }

    /// Calls `each` with the joined sockets; not while a request changes the membership, because the kernel may then
    /// have other sources than the specification.
    pub(in crate::control) fn for_each_joined(&self, mut each: impl FnMut(JoinedSocket<'_>)) {
        let Ok(_updating) = self.updating.try_lock() else { return };
        let state = self.state();
        for joined in state.interfaces.iter().filter_map(InterfaceMembership::joined) {
            each(JoinedSocket {
                id: joined.id,
                interface_index: joined.interface.index,
                is_up: joined.interface.up,
                group: state.spec.group.ip(),
                sources: &state.spec.sources,
            });
        }
    }

    /// Whether a change of the interfaces with these names can concern the membership.
    pub(in crate::control) fn is_concerned(&self, changed: &HashSet<Arc<str>>) -> bool {
        let may_reply_from_others =
            self.responder.as_ref().is_some_and(|responder| responder.active().uses_reply_sockets());
        may_reply_from_others
            || match &self.state().spec.interfaces {
                Interfaces::Default => !changed.is_empty(),
                Interfaces::Named(names) => names.iter().any(|name| changed.contains(name)),
            }
    }
}

/// The result of adopting opened sockets.
pub(super) struct Adopted {
    /// Sockets that no longer fit, to be closed where no lock is held.
    pub(super) unused: Vec<Registration>,
    /// The number of lost interfaces on which the membership is joined again.
    pub(super) reopened: u64,
}

impl MembershipState {
    /// Returns the sockets to close, and those whose closing may harm other sockets.
    fn follow(
        &mut self,
        table: &InterfaceTable,
        forgotten: &HashSet<SocketId>,
    ) -> (Vec<Registration>, Vec<Orphan>) {
        let (family, group) = (self.spec.group.family(), self.spec.group.ip());
        let includes = matches!(self.spec.sources, SourceFilter::Include(_));
        let (mut to_close, mut orphans) = (self.drop_excluded(table), Vec::new());
        for interface in &mut self.interfaces {
            let current = table.by_name(&interface.name);
            // As the kernel brings an interface up, it loses the sources of INCLUDE filters: all those of IPv6, and in
            // IPv4 those of groups that were joined while it was down (`mld_del_delrec`, `igmpv3_del_delrec`).
            let came_up = |joined: &Joined| {
                current.is_some_and(|current| current.up && current.ups != joined.interface.ups)
            };
            let is_forgotten = interface
                .joined()
                .is_some_and(|joined| forgotten.contains(&joined.id) || (includes && came_up(joined)));
            // The interface still exists, but its list of groups is a new one.
            let list_is_new = interface.joined().is_some_and(|joined| {
                let current = current.filter(|current| {
                    current.takes_part_in(family) && current.index == joined.interface.index
                });
                current.is_some_and(|current| {
                    current.list_generation(family) != joined.interface.list_generation(family)
                })
            });
            let index = current.map(|current| current.index).filter(|_| list_is_new);
            match (interface.follow(current, table, family, is_forgotten), index) {
                (Some(registration), Some(interface_index)) => {
                    orphans.push(Orphan { registration, interface_index, group });
                }
                (registration, _) => to_close.extend(registration),
            }
        }
        self.count_joined();
        (to_close, orphans)
    }

    /// On some hosts, interfaces come and go under ever new names; the counters of this many are remembered.
    const MAX_COUNTED_BEFORE: usize = 1_024;

    /// Drops the interfaces that the specification no longer includes, and returns their sockets, to be closed.
    pub(super) fn drop_excluded(&mut self, table: &InterfaceTable) -> Vec<Registration> {
        let family = self.spec.group.family();
        let targets =
            interface_membership::target_interfaces(&self.spec.interfaces, family, table, &self.interfaces);
        let targets: HashSet<_> = targets.into_iter().map(|(name, _)| name).collect();
        let is_target = |known: &InterfaceMembership| targets.contains(&known.name);
        let (kept, dropped): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.interfaces).into_iter().partition(is_target);
        self.interfaces = kept;
        self.dropped_before += dropped.iter().map(InterfaceMembership::dropped_buffers).sum::<u64>();
        self.is_only_loopback = table.is_only_loopback(family);
        for interface in &dropped {
            if self.counted_before.len() < Self::MAX_COUNTED_BEFORE {
                self.counted_before.insert(interface.name.clone(), interface.counters.clone());
            }
        }
        dropped.into_iter().filter_map(InterfaceMembership::into_socket).collect()
    }

    /// Adopts sockets that were opened for the state of this epoch.
    pub(super) fn adopt(
        &mut self,
        epoch: u64,
        registered: Vec<RegisteredInterface>,
        table: &InterfaceTable,
    ) -> Adopted {
        let mut adopted = Adopted { unused: Vec::new(), reopened: 0 };
        if self.stage != Stage::Active || self.epoch != epoch {
            adopted.unused = registered.into_iter().filter_map(RegisteredInterface::into_socket).collect();
            return adopted;
        }
        let known = self.interfaces.len();
        for opened in registered {
            if let Some(interface) =
                self.interfaces.iter_mut().find(|interface| interface.name == opened.name)
            {
                let was_lost = matches!(interface.status, Status::Lost(_));
                adopted.unused.extend(interface.adopt(opened.joined));
                adopted.reopened += u64::from(was_lost && interface.is_joined());
            } else {
                self.counted_before.remove(&opened.name);
                self.interfaces.push(opened.into_membership());
            }
        }
        if self.interfaces.len() > known {
            let spec = &self.spec.interfaces;
            self.interfaces.sort_by_cached_key(|known| match spec {
                Interfaces::Named(names) => names.iter().position(|name| *name == known.name),
                Interfaces::Default => table.interfaces.iter().position(|now| now.name == known.name),
            });
        }
        self.count_joined();
        adopted
    }
}

/// The interfaces on which the membership should be joined and is not. `is_retry`: also those where it has failed.
pub(super) fn targets(
    spec: &MembershipSpec,
    table: &InterfaceTable,
    current: &[InterfaceMembership],
    counted_before: &HashMap<Arc<str>, Arc<InterfaceCounters>>,
    is_retry: bool,
) -> Vec<JoinTarget> {
    let targets =
        interface_membership::target_interfaces(&spec.interfaces, spec.group.family(), table, current);
    let current: HashMap<_, _> = current.iter().map(|known| (&known.name, known)).collect();
    let as_target = |(name, interface): (Arc<str>, Option<Arc<Interface>>)| {
        let counters = match current.get(&name) {
            None => counted_before.get(&name).cloned().unwrap_or_default(),
            Some(known) => match known.status {
                Status::Joined(_) => return None,
                Status::Failed(_) if !is_retry => return None,
                _ if interface.is_none() => return None,
                _ => known.counters.clone(),
            },
        };
        Some(JoinTarget { name, interface, counters })
    };
    targets.into_iter().filter_map(as_target).collect()
}
