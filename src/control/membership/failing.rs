//! A membership in which the service's own code failed: it is closed, reports that, and is opened again after a pause.

use std::sync::Arc;

use super::interface_membership::{InterfaceMembership, NotJoinedReason, Status};
use super::state::{Membership, Stage};
use crate::control::resource_failures::Failable;
use crate::control::resource_kind::ResourceKind;
use crate::model::Id;

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
        state.revision += 1;
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
