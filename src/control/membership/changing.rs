//! A membership that is to be another one: what can change in place does, and the rest is joined anew.

use super::ports::{self, Port};
use super::{Membership, Stage, State, prepare_replies};
use crate::control::Refusal;
use crate::control::answering::Active;
use crate::control::events::Happening;
use crate::control::memberships::JoinRequest;
use crate::control::totals::{Received, Totals};
use crate::control::views::Lease;
use crate::model::{InterfaceTable, MembershipSpec};

/// The membership was deleted in the meantime.
#[derive(Debug, Clone, Copy)]
pub(in crate::control) struct Left;

impl Membership {
    /// Changes what the membership wants; on refusal it stays as it was. The log stays with the group.
    pub(in crate::control) fn change(
        &self,
        spec: &MembershipSpec,
        request: &JoinRequest,
        table: &InterfaceTable,
    ) -> Result<Result<(), Refusal>, Left> {
        let mut state = self.state();
        if state.stage == Stage::Left {
            return Err(Left);
        }
        let rules_differ = self.answering.as_ref().zip(request.rules.as_ref());
        let rules_differ = rules_differ.is_some_and(|(answering, rules)| answering.active().rules != *rules);
        let differs = state.spec != *spec || rules_differ;
        let changed = self.change_locked(&mut state, spec, request, table);
        if changed.is_ok() {
            if differs {
                self.tell(&state, Happening::Changed, None);
            }
            self.tell_interfaces(&mut state);
        }
        Ok(changed)
    }

    fn change_locked(
        &self,
        state: &mut State,
        spec: &MembershipSpec,
        request: &JoinRequest,
        table: &InterfaceTable,
    ) -> Result<(), Refusal> {
        let active = self.answering.as_ref().zip(request.rules.clone()).map(|(answering, rules)| {
            // Sockets that stay as they are must not be opened anew: a fresh reply port would change.
            let current = answering.active();
            let keeps = state.spec.group == spec.group && current.rules.reply_from == rules.reply_from;
            (answering, if keeps { current.with_rules(rules) } else { Active::new(&spec.group, rules) })
        });
        if let Some((_, active)) = &active {
            prepare_replies(active, spec, table)?;
        }
        if spec.group == state.spec.group {
            let previous = state.spec.clone();
            ports::update_in_place(&state.ports, &previous, spec)?;
            let kept = std::mem::take(&mut state.ports);
            let delivery = self.delivery(state, state.log.clone());
            match ports::open_missing(spec, table, &kept, &delivery) {
                Ok(new) => {
                    state.log.set_limits(self.environment.log_limits.narrowed(&spec.retention));
                    state.adopt(spec, table, kept, new);
                }
                Err(refusal) => {
                    state.ports = kept;
                    let _ = ports::update_in_place(&state.ports, spec, &previous);
                    return Err(refusal);
                }
            }
        } else {
            let log = self.environment.new_log(spec);
            let delivery = self.delivery(state, log.clone());
            let new = ports::open_missing(spec, table, &[], &delivery)?;
            let dropped_buffers = state.close_ports();
            (state.ports, state.dropped_before) = (new, 0);
            let old = std::mem::replace(&mut state.log, log);
            let mut ended = Totals::default();
            *ended.received(self.kind()) = Received::of(old.counters(), dropped_buffers);
            self.environment.ledger.enter(ended);
            state.replaced.push(old);
        }
        state.spec = spec.clone();
        state.lease = request.lease.map(Lease::starting_now);
        state.declared |= request.declared;
        state.count_joined();
        if let Some((answering, active)) = active {
            answering.replace(active);
        }
        Ok(())
    }
}

impl State {
    /// Keeps the ports that are still wanted, adds the new ones and closes the rest.
    fn adopt(
        &mut self,
        spec: &MembershipSpec,
        table: &InterfaceTable,
        mut kept: Vec<Port>,
        mut new: Vec<Port>,
    ) {
        for (name, _) in ports::wanted(&spec.interfaces, table, &kept) {
            if let Some(at) = new.iter().position(|port| port.interface == name) {
                self.ports.push(new.swap_remove(at));
            } else if let Some(at) = kept.iter().position(|port| port.interface == name) {
                self.ports.push(kept.swap_remove(at));
            }
        }
        self.dropped_before += kept.iter().map(Port::dropped_buffers).sum::<u64>();
    }
}
