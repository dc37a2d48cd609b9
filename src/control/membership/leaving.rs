//! How a membership's sockets are closed: by a DELETE, by its lease, because the service stops, or because the service's
//! own code failed: then the membership reports that, and is opened again after a pause.

use std::sync::Arc;
use std::time::Instant;

use super::interface_membership::{InterfaceMembership, NotJoinedReason, Status};
use super::state::{FinalState, LeaseCheck, Membership, MembershipState, Stage};
use crate::control::events::EventKind;
use crate::control::resource_failures::Failable;
use crate::control::resource_kind::ResourceKind;
use crate::model::{Id, Labels};
use crate::net::Registration;

impl Membership {
    /// Leaves the group: once this returns, nothing more reaches the log; see [`Self::sockets_closed`].
    pub(in crate::control) fn leave(&self) {
        self.leave_if(|_| true);
    }

    /// The same, if its labels are still so. Returns whether it left now.
    pub(in crate::control) fn leave_if(&self, which: impl FnOnce(&Labels) -> bool) -> bool {
        let mut state = self.state();
        if state.stage == Stage::Left || !which(&state.spec.labels) {
            return false;
        }
        let sockets = self.leave_with(&mut state, EventKind::Left);
        drop(state);
        self.close(sockets);
        if let Some(responder) = &self.responder {
            responder.close();
        }
        true
    }

    /// Resolves once the released sockets are closed, and their ports free. Cancel-safe.
    pub(in crate::control) async fn sockets_closed(&self) {
        // A task that is opening sockets now finds the membership left, and closes them.
        drop(self.updating.lock().await);
        let closing = self.state().closing.clone();
        closing.wait().await;
    }

    /// Leaves if the lease has run out: it receives and sends nothing more. Returns the sockets; the caller passes them
    /// to a thread that may block, which closes them.
    pub(in crate::control) fn leave_if_expired(&self, now: Instant) -> Option<Vec<Registration>> {
        let mut state = self.state();
        state.lease_check = None;
        if state.stage == Stage::Left || state.lease.is_none_or(|lease| lease.ends > now) {
            return None;
        }
        let sockets = self.leave_with(&mut state, EventKind::Expired);
        drop(state);
        sockets.iter().for_each(Registration::stop);
        if let Some(responder) = &self.responder {
            responder.close();
        }
        Some(sockets)
    }

    /// Closes the sockets for good, as the service stops; log and views stay as they were.
    pub(in crate::control) fn stop_hearing(&self) {
        let mut state = self.state();
        if state.stage != Stage::Active {
            return;
        }
        state.final_state = Some(FinalState {
            interfaces: state.interface_views(),
            state: state.join_state(),
            hears: state.hears(),
        });
        state.stage = Stage::Stopped;
        let sockets = state.take_sockets();
        drop(state);
        self.close(sockets);
    }

    /// A check of the lease to arm; none if an armed check comes early enough. It replaces a later one.
    pub(in crate::control) fn lease_check(&self) -> Option<Arc<LeaseCheck>> {
        let mut state = self.state();
        let at = state.lease.filter(|_| state.stage == Stage::Active)?.ends;
        if state.lease_check.as_ref().is_some_and(|armed| armed.at <= at) {
            return None;
        }
        let check = Arc::new(LeaseCheck { at });
        state.lease_check = Some(check.clone());
        Some(check)
    }

    /// Enters the counts into the totals. Called once, by a membership that has not left yet.
    fn leave_with(&self, state: &mut MembershipState, event: EventKind) -> Vec<Registration> {
        state.stage = Stage::Left;
        state.charge = None;
        let sockets = state.take_sockets();
        state.log.close();
        state.replaced.drain(..).for_each(|old| old.close());
        self.context.totals.enter(&self.totals(state.log.counters(), state.dropped_before));
        if state.reported.is_some() {
            self.emit(state, event, None);
        }
        sockets
    }
}

impl Failable for Membership {
    fn name(&self) -> (ResourceKind, &Id) {
        (self.kind(), self.id())
    }

    fn is_broken(&self) -> bool {
        let responder_is_broken = || self.responder.as_ref().is_some_and(|responder| responder.is_broken());
        self.state.is_poisoned() || responder_is_broken() || {
            let state = self.state();
            let mut joined = state.interfaces.iter().filter_map(InterfaceMembership::joined);
            state.log.is_broken() || joined.any(|joined| joined.registration.socket().has_failed())
        }
    }

    /// A log that is half changed is replaced.
    fn fail(self: &Arc<Self>) {
        self.state.clear_poison();
        if let Some(responder) = &self.responder {
            responder.repair();
        }
        let mut state = self.state();
        if state.stage != Stage::Active {
            return;
        }
        state.epoch += 1;
        state.retries.note_failure(self.context.sockets.clock().monotonic);
        let failed = state
            .interfaces
            .iter_mut()
            .filter_map(|known| known.set(Status::Failed(NotJoinedReason::Failed)));
        let sockets = failed.collect();
        state.count_joined();
        if state.log.is_broken() {
            let log = self.context.new_log(&state.spec);
            let old = std::mem::replace(&mut state.log, log);
            old.abandon();
            state.replaced.push(old);
        }
        self.emit_interfaces(&mut state);
        drop(state);
        self.close(sockets);
        self.persist_change();
    }
}
