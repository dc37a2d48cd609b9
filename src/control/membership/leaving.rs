//! How a membership ends: by a DELETE, by its lease, or for this run of the service.

use std::time::Instant;

use super::{AtTheEnd, Membership, MembershipState, Stage};
use crate::control::events::EventKind;
use crate::net::Registration;

impl Membership {
    /// Leaves: once this returns, nothing more reaches the log; see [`Self::sockets_closed`].
    pub(in crate::control) fn leave(&self) {
        let mut state = self.state();
        let sockets = if state.stage == Stage::Left {
            Vec::new()
        } else {
            self.leave_with(&mut state, EventKind::Left)
        };
        drop(state);
        self.close(sockets);
        if let Some(answering) = &self.responder {
            answering.close();
        }
    }

    /// Resolves once the sockets that were given up are closed, and their ports free. Cancel-safe.
    pub(in crate::control) async fn sockets_closed(&self) {
        // Whoever opens sockets just now finds it left, and closes them.
        drop(self.changing.lock().await);
        let given_up = self.state().given_up.clone();
        for closed in &given_up {
            closed.wait().await;
        }
    }

    /// Leaves if the lease has run out: nothing more is heard or answered. Gives the sockets, which the caller has
    /// closed by a thread that may wait.
    pub(in crate::control) fn leave_if_expired(&self, now: Instant) -> Option<Vec<Registration>> {
        let mut state = self.state();
        state.lease_armed = None;
        if state.stage == Stage::Left || state.lease.is_none_or(|lease| lease.ends > now) {
            return None;
        }
        let sockets = self.leave_with(&mut state, EventKind::Expired);
        drop(state);
        sockets.iter().for_each(Registration::stop);
        if let Some(answering) = &self.responder {
            answering.close();
        }
        Some(sockets)
    }

    /// Closes the sockets for good, as the service stops; the rest stays as it was.
    pub(in crate::control) fn stop_hearing(&self) {
        let mut state = self.state();
        if state.stage != Stage::Hearing {
            return;
        }
        state.at_the_end = Some(AtTheEnd {
            interfaces: state.interface_views(),
            state: state.join_state(),
            hears: state.hears(),
        });
        state.stage = Stage::Stopped;
        let sockets = state.take_sockets();
        drop(state);
        self.close(sockets);
    }

    /// When a check of the lease is to be armed, unless one is that comes early enough.
    pub(in crate::control) fn lease_check(&self) -> Option<Instant> {
        let mut state = self.state();
        let ends = state.lease.filter(|_| state.stage == Stage::Hearing)?.ends;
        if state.lease_armed.is_some_and(|armed| armed <= ends) {
            return None;
        }
        state.lease_armed = Some(ends);
        Some(ends)
    }

    /// Leaves its counts behind. For one that has not left yet.
    fn leave_with(&self, state: &mut MembershipState, event: EventKind) -> Vec<Registration> {
        state.stage = Stage::Left;
        let sockets = state.take_sockets();
        state.log.close();
        state.replaced.drain(..).for_each(|old| old.close());
        self.context.ledger.enter(self.totals(state.log.counters(), state.dropped_before));
        if state.reported.is_some() {
            self.emit(state, event, None);
        }
        sockets
    }
}
