//! A membership in which the service's own code has panicked: it is closed, and opened again by the next retry.

use std::sync::Arc;

use super::ports::Port;
use super::{Membership, Stage};

impl Membership {
    /// Whether a panic has left it half changed, or without one of its sockets.
    pub(in crate::control) fn is_broken(&self) -> bool {
        let answering_is_broken = || self.answering.as_ref().is_some_and(|answering| answering.is_broken());
        self.state.is_poisoned() || answering_is_broken() || {
            let state = self.state();
            state.log.is_broken() || state.ports.iter().any(Port::has_failed)
        }
    }

    /// Closes what it has open, so that it is legal again.
    pub(in crate::control) fn fail(self: &Arc<Self>) {
        self.state.clear_poison();
        if let Some(answering) = &self.answering {
            answering.repair();
        }
        let mut state = self.state();
        if state.stage != Stage::Hearing {
            return;
        }
        state.dropped_before = state.dropped_buffers();
        let ports = std::mem::take(&mut state.ports);
        let failed = ports.iter().map(|port| Port::failed(port.interface.clone())).collect();
        state.given_up.extend(ports.into_iter().filter_map(Port::close));
        state.ports = failed;
        state.count_joined();
        if state.log.is_broken() {
            let log = self.environment.new_log(&state.spec);
            let old = std::mem::replace(&mut state.log, log);
            old.abandon();
            state.replaced.push(old);
        }
        if state.told.is_some() {
            self.tell_interfaces(&mut state);
        }
        drop(state);
        self.keep_change();
    }
}
