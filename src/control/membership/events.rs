//! The events that a membership emits.

use std::sync::Arc;

use super::interface_membership::InterfaceMembership;
use super::state::{Membership, MembershipState, Reported, Stage};
use crate::control::events::EventKind;
use crate::control::views::JoinState;

impl Membership {
    /// Starts emitting events; called when the membership has entered the registry.
    pub(super) fn begin_reports(&self, state: &mut MembershipState) {
        if state.stage == Stage::Left || state.reported.is_some() {
            return;
        }
        if state.interfaces.is_empty() {
            self.emit(state, EventKind::Pending(None), None);
        }
        state.reported = Some(Vec::new());
        self.emit_interfaces(state);
    }

    /// Emits the differences between the interfaces' states and the last reported ones.
    pub(super) fn emit_interfaces(&self, state: &mut MembershipState) {
        let Some(before) = state.reported.take() else { return };
        let mut now = Vec::new();
        for interface in &state.interfaces {
            let reported = before.iter().find(|reported| reported.interface == interface.name);
            now.push(self.emit_interface(state, reported, interface));
        }
        for gone in before {
            if now.iter().all(|reported| reported.interface != gone.interface) {
                self.emit(state, EventKind::Left, Some(gone.interface));
            }
        }
        state.reported = Some(now);
    }

    fn emit_interface(
        &self,
        state: &MembershipState,
        before: Option<&Reported>,
        interface: &InterfaceMembership,
    ) -> Reported {
        let now = Reported {
            interface: interface.name.clone(),
            state: interface.state(state.replies()),
            hears: interface.hears(),
        };
        let reason = || Arc::from(interface.reason(state.replies()).unwrap_or_default());
        let emit = |event| self.emit(state, event, Some(interface.name.clone()));
        let hears_before = before.is_some_and(|before| before.hears);
        let mut implied = hears_before;
        if before.is_none_or(|before| before.state != now.state) {
            // `Joined` implies hearing, unless the next event says otherwise; `Lost` implies not hearing.
            implied = match now.state {
                JoinState::Joined => true,
                JoinState::Pending => hears_before && interface.is_joined(),
                JoinState::Lost | JoinState::Failed => false,
            };
            emit(match now.state {
                JoinState::Joined => EventKind::Joined,
                JoinState::Pending => EventKind::Pending(Some(reason())),
                JoinState::Lost => EventKind::Lost(reason()),
                JoinState::Failed => EventKind::Failed(reason()),
            });
        }
        match (implied, now.hears) {
            (true, false) if interface.is_joined() => emit(EventKind::NotHearing(reason())),
            (false, true) => emit(EventKind::Hearing),
            _ => {}
        }
        now
    }

    /// Called under the state's lock, so that the events are in the order of the changes.
    pub(super) fn emit(&self, state: &MembershipState, event: EventKind, interface: Option<Arc<str>>) {
        let spec = &state.spec;
        self.context.events.emit(event, self.kind(), &self.id, spec.group, &spec.labels, interface);
    }
}
