//! A fault of the service's own in one membership: it is closed, says so, and is opened again after a pause.

use std::sync::Arc;
use std::time::Instant;

use super::interface::{Reason, Status};
use super::{Membership, Stage, State};
use crate::control::totals::{Received, Totals};

impl Membership {
    /// Whether a panic has left it half done: in a sink, or under a lock of its own.
    pub(in crate::control) fn is_broken(&self) -> bool {
        let answering_is_broken = || self.answering.as_ref().is_some_and(|answering| answering.is_broken());
        let joined_failed = || {
            let state = self.state();
            let mut joined = state.interfaces.iter().filter_map(|interface| interface.joined());
            state.log.is_broken() || joined.any(|joined| joined.registration.socket().has_failed())
        };
        self.state.is_poisoned() || answering_is_broken() || joined_failed()
    }

    /// Closes its sockets until the next retry. A log that is half changed is replaced.
    pub(in crate::control) fn fail(self: &Arc<Self>) {
        let mut state = self.state();
        self.state.clear_poison();
        if let Some(answering) = &self.answering {
            answering.repair();
        }
        if state.stage != Stage::Hearing {
            return;
        }
        state.revision += 1;
        state.retries.note_failure(Instant::now());
        let mut sockets = Vec::new();
        for interface in &mut state.interfaces {
            sockets.extend(interface.set(Status::Failed(Reason::Failed)));
        }
        state.count_joined();
        if state.log.is_broken() {
            self.replace_log(&mut state);
        }
        self.emit_interfaces(&mut state);
        drop(state);
        self.close(sockets);
        self.keep_change();
    }

    fn replace_log(&self, state: &mut State) {
        let log = self.context.new_log(&state.spec);
        let old = std::mem::replace(&mut state.log, log);
        let mut ended = Totals::default();
        *ended.received(self.kind()) = Received::of(old.counters(), 0);
        self.context.ledger.enter(ended);
        state.replaced.push(old);
    }
}
