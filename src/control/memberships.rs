//! The operations on memberships and responders: join, change, renew, leave.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::membership::Unchanged;
use super::messages::{ListQuery, Outcome};
use super::responder::{ActiveRules, Responder};
use super::timers::TimerAction;
use super::views::JoinState;
use super::waiting::{Done, within};
use super::{Control, ControlError, InterfaceChoice, Membership, Registry, ResourceKind, Shared};
use crate::model::{
    Group, Id, InterfaceTable, Interfaces, MembershipSpec, ResponderRules, Retention, SourceFilter,
};
use crate::store::{DiskError, Store};

/// A request for a membership or, with rules, for a responder.
#[derive(Debug, Clone)]
pub struct JoinRequest {
    pub group: Group,
    pub interfaces: InterfaceChoice,
    pub allow_missing: bool,
    pub sources: SourceFilter,
    pub exact_drops: bool,
    pub retention: Retention,
    pub lease: Option<Duration>,
    /// The request comes from the configuration file.
    pub declared: bool,
    /// Present exactly for responders.
    pub rules: Option<ResponderRules>,
}

impl Control {
    /// Brings the membership to the requested state: creates, keeps or changes it, and renews its lease. Once this
    /// returns, it is on disk too, unless the disk fails.
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
                        // Its lease ran out just now: a new membership replaces it.
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
            let responder = request.rules.clone().map(|rules| {
                let active = ActiveRules::new(&spec.group, rules, &shared.membership_context.sockets);
                Arc::new(Responder::new(active, shared.services.clone()))
            });
            let table = shared.table_for(&request).await?;
            let context = shared.membership_context.clone();
            let new = Membership::prepare(id.clone(), spec, &request, responder, context, table.clone())?;
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

    /// Memberships or responders, ordered by id, and whether there are more.
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

    /// Leaves; once this returns, the sockets are closed, and the membership is deleted from the disk, unless the disk
    /// fails. If that takes too long, a second call continues the wait.
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

    /// The memberships and responders that the configuration file declares.
    pub fn declared(&self) -> Vec<(ResourceKind, Id)> {
        let declared = self.0.joined_all().filter(|membership| membership.is_declared());
        declared.map(|membership| (membership.kind(), membership.id().clone())).collect()
    }

    async fn spec_of(
        &self,
        request: &JoinRequest,
        existing: Option<&MembershipSpec>,
    ) -> Result<MembershipSpec, ControlError> {
        // A renewal is not refused because one of its interfaces went away in the meantime.
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

/// Waits until the store has written all changes so far. A failed disk is no error here: the service goes on, and the
/// health checks report it. If the service stops meanwhile, the changes may be lost.
async fn written(store: &Store) -> Result<(), ControlError> {
    match store.flushed().await {
        Err(DiskError::Closed) => Err(ControlError::Stopping),
        _ => Ok(()),
    }
}

impl JoinRequest {
    fn kind(&self) -> ResourceKind {
        if self.rules.is_some() { ResourceKind::Responder } else { ResourceKind::Membership }
    }
}

impl Shared {
    pub(super) fn joined(&self, kind: ResourceKind) -> &Registry<Membership> {
        match kind {
            ResourceKind::Responder => &self.responders,
            ResourceKind::Membership | ResourceKind::Message => &self.memberships,
        }
    }

    /// All memberships and responders.
    pub(super) fn joined_all(&self) -> impl Iterator<Item = Arc<Membership>> {
        self.memberships.all().into_iter().chain(self.responders.all())
    }

    /// Refuses changes once the service stops: whether they reached the disk would be left to chance.
    pub(super) fn ensure_running(&self) -> Result<(), ControlError> {
        if self.stop.is_cancelled() { Err(ControlError::Stopping) } else { Ok(()) }
    }

    /// Waits for the store as long as the request has time left. `done`: what the request has done if the disk takes too
    /// long.
    pub(super) async fn flushed(&self, done: Done) -> Result<(), ControlError> {
        match &self.store {
            Some(store) => within(done, written(store)).await?,
            None => Ok(()),
        }
    }

    /// Waits until a deleted entry is gone (`gone` resolves to it) and deleted from the disk. A separate task waits for
    /// that, and ends the deletion even if the client no longer waits.
    pub(super) async fn finish_deletion<T: Send + Sync + 'static>(
        self: &Arc<Self>,
        registry: impl Fn(&Self) -> &Registry<T> + Send + 'static,
        gone: impl Future<Output = Arc<T>> + Send + 'static,
    ) -> Result<(), ControlError> {
        let shared = self.clone();
        let ending = self.tasks.spawn(async move {
            let entry = gone.await;
            let deleted = match &shared.store {
                Some(store) => written(store).await,
                None => Ok(()),
            };
            registry(&shared).end_deletion(&entry);
            deleted
        });
        within(Done::DeletionUnderWay, ending).await?.unwrap_or(Err(ControlError::Stopping))
    }

    /// Reconciles the membership if the interfaces have changed since `seen`: the change was announced before the
    /// membership was in the registry.
    fn reconcile_if_changed(&self, membership: &Arc<Membership>, seen: &Arc<InterfaceTable>) {
        if !Arc::ptr_eq(&self.interfaces.table(), seen) {
            self.reconciler.retry(membership);
        }
    }

    /// The known interfaces; for a request with `reply_from`, whose address may be new, the kernel's current ones.
    async fn table_for(&self, request: &JoinRequest) -> Result<Arc<InterfaceTable>, ControlError> {
        match &request.rules {
            Some(rules) if rules.reply_from.is_some() => self.refreshed().await,
            _ => Ok(self.interfaces.table()),
        }
    }

    /// Arms the membership's next lease check and retry.
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
