//! Memberships and responders on disk: their specifications and counts, and how they are restored.

use std::sync::{Arc, Mutex, Weak};

use serde::{Deserialize, Serialize};

use super::interface_membership::{InterfaceMembership, NotJoinedReason, Status};
use super::sink::InterfaceCounters;
use super::state::{Membership, MembershipContext, MembershipState};
use crate::control::responder::{ActiveRules, ReplyCounters, Responder, ResponderContext};
use crate::control::saved::{read_status, to_json};
use crate::control::views::{InterfaceView, Lease, ReceivedOn};
use crate::model::{
    Id, InterfaceTable, Match, MembershipSpec, PatternError, ResponderRules, Revision, Timestamp,
};
use crate::store::{Log, Persist, SavedResource};

#[derive(Serialize, Deserialize)]
struct StoredMembership {
    created_at: Timestamp,
    /// None: stored by a version without revisions.
    #[serde(default)]
    revision: Option<Revision>,
    spec: MembershipSpec,
    rules: Option<ResponderRules>,
    lease: Option<Lease>,
    declared: bool,
}

#[derive(Default, Serialize, Deserialize)]
struct MembershipStatus {
    dropped_buffers: u64,
    #[serde(default)]
    interfaces: Vec<StoredInterface>,
    replies: Option<ReplyCounters>,
}

#[derive(Serialize, Deserialize)]
struct StoredInterface {
    name: Arc<str>,
    received: ReceivedOn,
}

impl Persist for Membership {
    fn spec(&self) -> String {
        let state = self.state();
        let stored = StoredMembership {
            created_at: self.created_at,
            revision: Some(state.revision),
            spec: state.spec.clone(),
            rules: self.responder.as_ref().map(|responder| responder.active().rules.clone()),
            lease: state.lease,
            declared: state.declared,
        };
        to_json(&stored)
    }

    fn status(&self) -> String {
        let replies = self.responder.as_ref().map(|responder| responder.counters());
        let state = self.state();
        let before = state
            .counted_before
            .iter()
            .map(|(name, counters)| StoredInterface { name: name.clone(), received: counters.read() });
        let interfaces =
            state.interface_views().into_iter().map(StoredInterface::from).chain(before).collect();
        let status = MembershipStatus { dropped_buffers: state.dropped_buffers(), interfaces, replies };
        drop(state);
        to_json(&status)
    }
}

impl Membership {
    /// A membership as saved, joined nowhere yet. None if its lease has run out.
    pub(in crate::control) fn restore(
        saved: SavedResource,
        context: &MembershipContext,
        responder_context: &ResponderContext,
    ) -> serde_json::Result<Option<Self>> {
        let stored: StoredMembership = serde_json::from_str(&saved.spec)?;
        let status: MembershipStatus = read_status(&saved.status)?;
        let id: Id = serde_json::from_value(saved.id.into())?;
        let limits = context.log_limits.narrowed(&stored.spec.retention);
        let log = Arc::new(Log::restored(limits, context.budget.clone(), saved.handle, &saved.log));
        let lease = stored.lease.map(|lease| lease.resumed(context.sockets.clock()));
        if lease.is_some_and(|lease| lease.is_none()) {
            log.close();
            return Ok(None);
        }
        let responder = stored.rules.map(|mut rules| {
            if let Match::Regex(pattern) = &mut rules.matches {
                pattern.keep_within(responder_context.pattern_bytes);
            }
            let active = ActiveRules::new(&stored.spec.group, rules, &context.sockets);
            Arc::new(Responder::counting_from(
                active,
                responder_context.clone(),
                status.replies.unwrap_or_default(),
            ))
        });
        let revision = stored.revision.unwrap_or_else(|| Revision::first(stored.created_at));
        let state = MembershipState {
            lease: lease.flatten(),
            declared: stored.declared,
            dropped_before: status.dropped_buffers,
            interfaces: status.interfaces.into_iter().map(StoredInterface::resume).collect(),
            ..MembershipState::new(log, stored.spec, revision)
        };
        Ok(Some(Self {
            id,
            created_at: stored.created_at,
            responder,
            context: context.clone(),
            updating: tokio::sync::Mutex::default(),
            state: Mutex::new(state),
        }))
    }

    /// Joins on all interfaces, once the membership is in the registry.
    pub(in crate::control) async fn resume(&self, table: &InterfaceTable) {
        let updating = self.updating.lock().await;
        let _not_open = self.state().drop_excluded(table);
        self.join_missing_with(&updating, table, true);
        self.begin_reports(&mut self.state());
    }

    /// Why the pattern that the responder was saved with is refused, if it is.
    pub(in crate::control) fn check_pattern(&self) -> Result<(), PatternError> {
        let active = self.responder.as_ref().map(|responder| responder.active());
        let pattern = active.as_ref().and_then(|active| active.rules.matches.pattern());
        pattern.map_or(Ok(()), |pattern| pattern.check().map_err(Clone::clone))
    }

    /// Excludes the counts of earlier runs from this run's totals.
    pub(in crate::control) fn begin_counting(&self) {
        let state = self.state();
        let counted = self.totals(state.log.counters(), state.dropped_before);
        self.context.totals.begin_with(&counted);
    }

    /// Has the store keep it on disk from now on. `is_new`: the store does not have it yet.
    pub(in crate::control) fn persist(self: &Arc<Self>, is_new: bool) {
        let owner = Arc::downgrade(self) as Weak<dyn Persist>;
        self.log().persist(self.kind().name(), self.id.as_str(), owner, is_new);
    }

    /// Tells the store that the membership has changed, perhaps its group and with it the log.
    pub(in crate::control) fn persist_change(self: &Arc<Self>) {
        let replaced = std::mem::take(&mut self.state().replaced);
        if !replaced.is_empty() {
            // In this order, so that the store always has one of the logs.
            self.persist(true);
            for old in replaced {
                old.close();
            }
        } else if let Some(handle) = self.log().handle() {
            handle.touch();
        }
    }
}

impl From<InterfaceView> for StoredInterface {
    fn from(InterfaceView { name, received, .. }: InterfaceView) -> Self {
        Self { name, received }
    }
}

impl StoredInterface {
    /// Continues the saved counts in any state of the interface.
    fn resume(self) -> InterfaceMembership {
        let counters = Arc::new(InterfaceCounters::from(self.received));
        InterfaceMembership::new(self.name, Status::Pending(NotJoinedReason::NotThere), counters, false)
    }
}
