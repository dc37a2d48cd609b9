//! What a membership tells of itself as events.

use std::sync::Arc;

use super::{Membership, Stage, State};
use crate::control::events::Happening;
use crate::control::views::JoinState;

impl Membership {
    /// Begins to tell what happens to it: it can be found from now on.
    pub(in crate::control) fn registered(&self) {
        let mut state = self.state();
        if state.stage != Stage::Left {
            if state.ports.is_empty() && state.told.is_none() {
                self.tell(&state, Happening::Pending, None);
            }
            self.tell_interfaces(&mut state);
        }
    }

    /// Tells how its interfaces differ from what was told last.
    pub(super) fn tell_interfaces(&self, state: &mut State) {
        let told = state.told.take().unwrap_or_default();
        let now: Vec<_> =
            state.ports.iter().map(|port| (port.interface.clone(), port.state.join_state())).collect();
        for (interface, join_state) in now.iter().filter(|now| !told.contains(now)) {
            let happening = match join_state {
                JoinState::Joined => Happening::Joined,
                JoinState::Pending => Happening::Pending,
                JoinState::Lost => Happening::Lost,
            };
            self.tell(state, happening, Some(interface.clone()));
        }
        for (interface, _) in told.into_iter().filter(|(told, _)| now.iter().all(|(name, _)| name != told)) {
            self.tell(state, Happening::Left, Some(interface));
        }
        state.told = Some(now);
    }

    /// Under the state's lock, so that events come in the order of what they tell.
    pub(super) fn tell(&self, state: &State, happening: Happening, interface: Option<Arc<str>>) {
        self.environment.events.emit(happening, self.kind(), &self.id, state.spec.group, interface);
    }
}
