//! How a membership ends: by a DELETE, by its lease, or because the service stops.

use std::sync::Arc;
use std::time::Instant;

use super::state::{FinalState, LeaseCheck, Membership, MembershipState, Stage};
use crate::control::events::EventKind;
use crate::net::Registration;

impl Membership {
    /// Leaves the group: once this returns, nothing more reaches the log; see [`Self::sockets_closed`].
    pub(in crate::control) fn leave(&self) {
        let mut state = self.state();
        let sockets = if state.stage == Stage::Left {
            Vec::new()
        } else {
            self.leave_with(&mut state, EventKind::Left)
        };
        drop(state);
        self.close(sockets);
        if let Some(responder) = &self.responder {
            responder.close();
        }
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
