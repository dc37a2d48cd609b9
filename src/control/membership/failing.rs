//! A fault of the service's own in one membership: it is closed, says so, and is opened again after a pause.

use std::time::Instant;

use super::interface::{Reason, Status};
use super::{Membership, Stage};

impl Membership {
    /// Whether a panic has left it half done: in a sink, or under its lock.
    pub(in crate::control) fn is_broken(&self) -> bool {
        let joined_failed = || {
            let state = self.state();
            let mut joined = state.interfaces.iter().filter_map(|interface| interface.joined());
            joined.any(|joined| joined.registration.socket().has_failed())
        };
        self.state.is_poisoned() || joined_failed()
    }

    /// Closes its sockets until the next retry.
    pub(in crate::control) fn fail(&self) {
        let mut state = self.state();
        self.state.clear_poison();
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
        self.emit_interfaces(&mut state);
        drop(state);
        self.close(sockets);
    }
}
