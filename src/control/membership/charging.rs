//! The memory that memberships and responders take besides their logs: it is charged to a budget for all of them.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::state::{Membership, Stage};
use crate::control::error::ControlError;
use crate::control::resource_kind::ResourceKind;
use crate::control::shared::Shared;
use crate::model::{Interfaces, Match, MembershipSpec, Reply, ResponderRules, SourceFilter};

/// Approximate bytes of a membership, and of each interface and source that it names.
const MEMBERSHIP_BYTES: usize = 2_048;
const INTERFACE_BYTES: usize = 384;
const SOURCE_BYTES: usize = 64;

/// The bytes to charge for a membership.
pub(super) fn bytes_of(spec: &MembershipSpec, rules: Option<&ResponderRules>) -> usize {
    let interfaces = match &spec.interfaces {
        Interfaces::Default => 0,
        Interfaces::Named(names) => names.len(),
    };
    let sources = match &spec.sources {
        SourceFilter::Any => 0,
        SourceFilter::Include(sources) | SourceFilter::Exclude(sources) => sources.len(),
    };
    let rules = rules.map_or(0, |rules| {
        let reply = match &rules.reply {
            Reply::Fixed(payload) => payload.len(),
            Reply::Echo => 0,
        };
        let matches = match &rules.matches {
            Match::Exact(bytes) | Match::Prefix(bytes) => bytes.len(),
            Match::All | Match::Regex(_) => 0,
        };
        reply + matches
    });
    let labels = spec.labels.bytes();
    MEMBERSHIP_BYTES + interfaces * INTERFACE_BYTES + sources * SOURCE_BYTES + labels + rules
}

impl Shared {
    /// Charges the bytes of a new membership or responder, or those that a change adds.
    pub(super) fn charge_membership(
        &self,
        kind: ResourceKind,
        bytes: usize,
    ) -> Result<OwnedSemaphorePermit, ControlError> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.membership_bytes.clone().try_acquire_many_owned(bytes).map_err(|_full| {
            self.count_refused(kind);
            ControlError::TooLarge { kind, max: self.settings.membership_bytes }
        })
    }
}

impl Membership {
    /// The bytes that are charged for it.
    pub(super) fn charged(&self) -> usize {
        self.state().charge.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    /// Charges a membership of an earlier run, which stays in any case.
    pub(in crate::control) fn charge_restored(&self, budget: &Arc<Semaphore>) {
        let active = self.responder.as_ref().map(|responder| responder.active());
        let bytes = bytes_of(&self.spec(), active.as_ref().map(|active| &active.rules));
        let charge = u32::try_from(bytes).map(|bytes| budget.clone().try_acquire_many_owned(bytes));
        if let Ok(Ok(charge)) = charge {
            self.charge(charge, bytes);
        }
    }

    /// Adds to its charge, and releases what exceeds `needed`.
    pub(super) fn charge(&self, added: OwnedSemaphorePermit, needed: usize) {
        let mut state = self.state();
        if state.stage == Stage::Left {
            return;
        }
        let mut charge = match state.charge.take() {
            Some(mut before) => {
                before.merge(added);
                before
            }
            None => added,
        };
        let excess = charge.num_permits().saturating_sub(needed);
        drop(charge.split(excess));
        state.charge = Some(charge);
    }
}
