//! The verbs of memberships and responders: join, change, renew, leave.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::membership::Unchanged;
use super::messages::{ListQuery, Outcome};
use super::responder::{ActiveRules, Responder};
use super::timers::TimerAction;
use super::views::JoinState;
use super::waiting::{Done, within};
use super::{Control, ControlError, InterfaceChoice, Membership, ResourceKind, Shared};
use crate::model::{
    Group, Id, InterfaceTable, Interfaces, MembershipSpec, ResponderRules, Retention, SourceFilter,
};
use crate::store::DiskError;

/// What a client wants of a membership or, with rules, of a responder.
#[derive(Debug, Clone)]
pub struct JoinRequest {
    pub group: Group,
    pub interfaces: InterfaceChoice,
    pub allow_missing: bool,
    pub sources: SourceFilter,
    pub exact_drops: bool,
    pub retention: Retention,
    pub lease: Option<Duration>,
    /// A configuration file wants it, and not only a client.
    pub declared: bool,
    /// Given exactly for responders.
    pub rules: Option<ResponderRules>,
}

impl Control {
    /// Makes the membership be as requested: creates, keeps or changes it, and renews its lease. Once this returns,
    /// the store knows, too, unless it fails.
    pub async fn join_as(
        &self,
        id: Id,
        request: JoinRequest,
        only_create: bool,
    ) -> Result<(Arc<Membership>, Outcome), ControlError> {
        let shared = &self.0;
        let kind = request.kind();
        let registry = shared.joined(kind);
        loop {
            shared.ensure_running()?;
            if let Some(existing) = registry.find(&id) {
                if only_create {
                    return Err(ControlError::Exists { kind, id });
                }
                let spec = self.spec_of(&request, Some(&existing.spec())).await?;
                let table = shared.table_for(&request).await?;
                let changed = existing.change(&spec, &request, &table);
                match within(Done::Nothing, changed).await? {
                    Err(Unchanged::Refused(refusal)) => return Err(refusal),
                    Err(Unchanged::Left) => {
                        // Its lease ran out just now: a new one takes its place.
                        registry.remove_if(&id, &existing);
                        continue;
                    }
                    Ok(()) => {}
                }
                existing.keep_change();
                shared.reconcile_if_changed(&existing, &table);
                shared.arm(&existing);
                shared.flushed(Done::Changed).await?;
                return Ok((existing, Outcome::Kept));
            }
            let spec = self.spec_of(&request, None).await?;
            let answering = request.rules.clone().map(|rules| {
                let active = ActiveRules::new(&spec.group, rules, &shared.membership_context.sockets);
                Arc::new(Responder::new(active, shared.services.clone()))
            });
            let table = shared.table_for(&request).await?;
            let context = shared.membership_context.clone();
            let new = Membership::prepare(id.clone(), spec, &request, answering, context, table.clone())?;
            if let Some(membership) = new.publish(registry) {
                shared.reconcile_if_changed(&membership, &table);
                shared.arm(&membership);
                membership.keep(true);
                shared.flushed(Done::Created).await?;
                return Ok((membership, Outcome::Created));
            }
        }
    }

    pub fn membership(&self, kind: ResourceKind, id: &Id) -> Result<Arc<Membership>, ControlError> {
        self.0.joined(kind).find(id).ok_or_else(|| ControlError::NotFound { kind, id: id.clone() })
    }

    /// Memberships or responders in the order of their ids, and whether there are more.
    pub fn memberships(
        &self,
        kind: ResourceKind,
        query: &ListQuery,
        state: Option<JoinState>,
        hears: Option<bool>,
    ) -> (Vec<Arc<Membership>>, bool) {
        self.0.joined(kind).page(query.after.as_ref(), query.limit, |membership| {
            query.group.is_none_or(|group| membership.spec().group == group) && {
                let (is, does) = membership.condition();
                state.is_none_or(|state| is == state) && hears.is_none_or(|hears| does == hears)
            }
        })
    }

    /// Leaves; once this returns, the sockets are closed, and the store has forgotten it, unless it fails. If that takes
    /// too long, the same again goes on to wait for it.
    pub async fn leave(&self, kind: ResourceKind, id: &Id) -> Result<(), ControlError> {
        self.0.ensure_running()?;
        let deletion = self.0.joined(kind).begin_deletion(id);
        let (membership, is_new) = deletion.ok_or_else(|| ControlError::NotFound { kind, id: id.clone() })?;
        if is_new {
            membership.leave();
        }
        let gone = async move {
            membership.sockets_closed().await;
            membership
        };
        self.0.finish_deletion(move |shared| shared.joined(kind), gone).await
    }

    /// Those that a configuration file wants.
    pub fn declared(&self) -> Vec<(ResourceKind, Id)> {
        let declared = self.0.joined_all().filter(|membership| membership.is_declared());
        declared.map(|membership| (membership.kind(), membership.id().clone())).collect()
    }

    async fn spec_of(
        &self,
        request: &JoinRequest,
        existing: Option<&MembershipSpec>,
    ) -> Result<MembershipSpec, ControlError> {
        // A renewal is not refused because an interface went away in the meantime.
        let known = |name: &str| match existing.map(|spec| &spec.interfaces) {
            Some(Interfaces::Named(names)) => names.iter().any(|known| **known == *name),
            _ => false,
        };
        let interfaces =
            self.resolve(&request.interfaces, |name| request.allow_missing || known(name)).await?;
        Ok(MembershipSpec {
            group: request.group,
            interfaces,
            allow_missing: request.allow_missing,
            sources: request.sources.clone(),
            exact_drops: request.exact_drops,
            retention: request.retention,
        })
    }
}

impl JoinRequest {
    fn kind(&self) -> ResourceKind {
        if self.rules.is_some() { ResourceKind::Responder } else { ResourceKind::Membership }
    }
}

impl Shared {
    pub(super) fn joined(&self, kind: ResourceKind) -> &super::Registry<Membership> {
        match kind {
            ResourceKind::Responder => &self.responders,
            ResourceKind::Membership | ResourceKind::Message => &self.memberships,
        }
    }

    /// Memberships and responders.
    pub(super) fn joined_all(&self) -> impl Iterator<Item = Arc<Membership>> {
        self.memberships.all().into_iter().chain(self.responders.all())
    }

    /// Refuses what would change something, once the service stops: whether it came to disk would be left to chance.
    pub(super) fn ensure_running(&self) -> Result<(), ControlError> {
        if self.stop.is_cancelled() { Err(ControlError::Stopping) } else { Ok(()) }
    }

    /// Waits until the store has done what it was told. If the disk fails, that is said elsewhere: what is kept is not
    /// worth more than what the service does. If the service stops meanwhile, it may not be kept. `done`: what was done
    /// if the disk takes too long.
    pub(super) async fn flushed(&self, done: Done) -> Result<(), ControlError> {
        let Some(store) = &self.store else { return Ok(()) };
        match within(done, store.flushed()).await? {
            Err(DiskError::Closed) => Err(ControlError::Stopping),
            _ => Ok(()),
        }
    }

    /// An interface that came or went between the look at the table and the entry in the registry has
    /// been announced to everybody but this membership.
    fn reconcile_if_changed(&self, membership: &Arc<Membership>, seen: &Arc<InterfaceTable>) {
        if !Arc::ptr_eq(&self.interfaces.table(), seen) {
            self.reconciler.retry(membership);
        }
    }

    /// The interfaces as known or, where an address of the host is asked for that may be new, as they are now.
    async fn table_for(&self, request: &JoinRequest) -> Result<Arc<InterfaceTable>, ControlError> {
        match &request.rules {
            Some(rules) if rules.reply_from.is_some() => self.refreshed().await,
            _ => Ok(self.interfaces.table()),
        }
    }

    /// Sees to the membership's next lease check and retry.
    pub(super) fn arm(&self, membership: &Arc<Membership>) {
        let timers = &self.services.timers;
        if let Some(at) = membership.lease_check() {
            timers.arm(at, TimerAction::CheckLease(Arc::downgrade(membership)));
        }
        if let Some(at) = membership.next_retry(self.now()) {
            timers.arm(at, TimerAction::Retry(Arc::downgrade(membership)));
        }
    }

    fn now(&self) -> Instant {
        self.membership_context.sockets.clock().monotonic
    }

    pub(super) fn check_lease(&self, membership: &Arc<Membership>) {
        if let Some(sockets) = membership.leave_if_expired(self.now()) {
            self.reconciler.close(sockets);
            tracing::info!(id = %membership.id(), "the lease ran out: left");
            self.memberships.remove_if(membership.id(), membership);
            self.responders.remove_if(membership.id(), membership);
        } else {
            self.arm(membership);
        }
    }
}
