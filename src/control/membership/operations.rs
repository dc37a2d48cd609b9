//! The operations on memberships and responders: join, change, renew, leave.

use std::sync::Arc;
use std::time::Instant;

use super::changing::Unchanged;
use super::charging::bytes_of;
use super::joining::JoinRequest;
use super::state::Membership;
use crate::control::condition::Condition;
use crate::control::error::{ControlError, Done, Purpose};
use crate::control::registry::{ListPage, ListQuery, NotInserted, Outcome};
use crate::control::resource_kind::ResourceKind;
use crate::control::responder::{ActiveRules, Responder};
use crate::control::shared::{Control, Shared};
use crate::control::views::JoinState;
use crate::control::waiting::within;
use crate::model::{Id, InterfaceTable, Interfaces, MembershipSpec, Pattern, can_appear};

impl Control {
    /// Brings the membership to the requested state: creates, keeps or changes it, and renews its lease. Once this
    /// returns, it is on disk too, unless the disk fails.
    pub async fn join_as(
        &self,
        id: Id,
        request: JoinRequest,
        condition: &Condition,
    ) -> Result<(Arc<Membership>, Outcome), ControlError> {
        let shared = &self.0;
        let kind = request.kind();
        let registry = shared.memberships_of(kind);
        loop {
            shared.ensure_running()?;
            let existing = registry.find(&id);
            check_patterns(shared, &request, existing.as_deref())?;
            if let Some(existing) = existing {
                condition.check(kind, &id, Some(existing.revision()))?;
                let spec = self.spec_of(&request, Some(&existing.spec())).await?;
                let bytes = bytes_of(&spec, request.rules.as_ref());
                let added = shared.charge_membership(kind, bytes.saturating_sub(existing.charged()))?;
                let table = table_for(shared, &request).await?;
                let changed = existing.change(&spec, &request, &table, condition);
                match within(Done::Nothing, changed).await? {
                    Err(Unchanged::Refused(error)) => return Err(error),
                    Err(Unchanged::Left) => {
                        // Its lease ran out just now: a new membership replaces it.
                        registry.remove_if(&id, &existing);
                        continue;
                    }
                    Ok(()) => existing.charge(added, bytes),
                }
                existing.persist_change();
                reconcile_if_changed(shared, &existing, &table);
                arm(shared, &existing);
                shared.flushed(Done::Changed).await?;
                return Ok((existing, Outcome::Existed));
            }
            condition.check(kind, &id, None)?;
            let spec = self.spec_of(&request, None).await?;
            let responder = request.rules.clone().map(|rules| {
                let active = ActiveRules::new(&spec.group, rules, &shared.membership_context.sockets);
                Arc::new(Responder::new(active, shared.responder_context.clone()))
            });
            if registry.is_full() {
                return Err(shared.too_many(kind));
            }
            let bytes = bytes_of(&spec, request.rules.as_ref());
            let charge = shared.charge_membership(kind, bytes)?;
            let table = table_for(shared, &request).await?;
            let context = shared.membership_context.clone();
            let new = Membership::prepare(id.clone(), spec, &request, responder, context, table.clone())?;
            match new.publish(registry) {
                Ok(membership) => {
                    membership.charge(charge, bytes);
                    reconcile_if_changed(shared, &membership, &table);
                    arm(shared, &membership);
                    membership.persist(true);
                    shared.flushed(Done::Created).await?;
                    return Ok((membership, Outcome::Created));
                }
                Err(NotInserted::Full) => return Err(shared.too_many(kind)),
                // The id is taken by now: the request concerns that membership.
                Err(NotInserted::Taken) => {}
            }
        }
    }

    /// A page of the memberships or responders.
    pub fn memberships(
        &self,
        kind: ResourceKind,
        query: &ListQuery,
        state: Option<JoinState>,
        hears: Option<bool>,
    ) -> ListPage<Membership> {
        self.0.memberships_of(kind).list(query, |membership| {
            let has_status = || {
                let status = membership.join_status();
                state.is_none_or(|state| status.state == state)
                    && hears.is_none_or(|hears| status.hears == hears)
            };
            query.group.is_none_or(|group| membership.group() == group)
                && query.selector.as_ref().is_none_or(|selector| membership.is_selected_by(selector))
                && (state.is_none() && hears.is_none() || has_status())
        })
    }

    /// Leaves; once this returns, the sockets are closed, and the membership is deleted from the disk, unless the disk
    /// fails. If that takes too long, a second call continues the wait.
    pub async fn leave(
        &self,
        kind: ResourceKind,
        id: &Id,
        condition: &Condition,
    ) -> Result<(), ControlError> {
        self.0.ensure_running()?;
        let registry = self.0.memberships_of(kind);
        let not_found = || self.0.not_found(kind, id);
        let known = || registry.find(id).or_else(|| registry.under_deletion(id)).ok_or_else(not_found);
        let conditional = if condition.is_none() { None } else { Some(known()?) };
        // No request changes the membership between the check and its end.
        let unchanging = match &conditional {
            Some(membership) => {
                let updating = within(Done::Nothing, membership.updating.lock()).await?;
                condition.check(kind, id, Some(membership.revision()))?;
                Some(updating)
            }
            None => None,
        };
        let deletion = registry.begin_deletion(id, |found| {
            conditional.as_ref().is_none_or(|checked| Arc::ptr_eq(found, checked))
        });
        let (membership, is_new) = deletion.ok_or_else(not_found)?;
        if is_new {
            membership.leave();
        }
        drop(unchanging);
        let gone = async move {
            membership.sockets_closed().await;
            membership
        };
        self.0.finish_deletion(move |shared| shared.memberships_of(kind), gone).await
    }

    /// The memberships and responders that the configuration file declares.
    pub fn declared(&self) -> Vec<(ResourceKind, Id)> {
        let declared = self.0.all_memberships().filter(|membership| membership.is_declared());
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
        let allowed = |name: &str| known(name) || (request.allow_missing && can_appear(name));
        let interfaces = self.resolve(&request.interfaces, Purpose::Join, allowed).await?;
        Ok(MembershipSpec {
            group: request.group,
            interfaces,
            allow_missing: request.allow_missing,
            sources: request.sources.clone(),
            exact_drops: request.exact_drops,
            retention: request.retention,
            labels: request.labels.clone(),
        })
    }
}

/// Reconciles the membership if the interfaces have changed since `seen`: the change was announced before the
/// membership was in the registry.
fn reconcile_if_changed(shared: &Shared, membership: &Arc<Membership>, seen: &Arc<InterfaceTable>) {
    if !Arc::ptr_eq(&shared.interfaces.table(), seen) {
        shared.reconciler.retry(membership);
    }
}

/// The known interfaces; for a request with `reply_from`, whose address may be new, the kernel's current ones.
async fn table_for(shared: &Shared, request: &JoinRequest) -> Result<Arc<InterfaceTable>, ControlError> {
    match &request.rules {
        Some(rules) if rules.reply_from.is_some() => shared.refreshed().await,
        _ => Ok(shared.interfaces.table()),
    }
}

/// Whether there is memory for the request's pattern. It is compiled, and counted, already; so a request that makes the
/// patterns use too much is refused, and gives its own back. One that a responder has does not grow.
fn check_patterns(
    shared: &Shared,
    request: &JoinRequest,
    existing: Option<&Membership>,
) -> Result<(), ControlError> {
    let Some(rules) = &request.rules else { return Ok(()) };
    let responder = existing.and_then(|existing| existing.responder.as_ref());
    let is_new = rules.matches.pattern().is_some()
        && responder.is_none_or(|responder| responder.active().rules.matches != rules.matches);
    let max = shared.settings.pattern_bytes;
    if is_new && Pattern::bytes_in_use() > max {
        shared.count_refused(request.kind());
        return Err(ControlError::PatternMemory { max });
    }
    Ok(())
}

/// Arms the membership's next lease check and retry.
pub(in crate::control) fn arm(shared: &Arc<Shared>, membership: &Arc<Membership>) {
    let timers = &shared.timers;
    if let Some(check) = membership.lease_check() {
        let (shared, membership) = (Arc::downgrade(shared), Arc::downgrade(membership));
        timers.arm(check.at, Arc::downgrade(&check), move |_| {
            let Some((shared, membership)) = shared.upgrade().zip(membership.upgrade()) else { return };
            if shared.failures.contain(&membership, || check_lease(&shared, &membership)).is_none() {
                arm(&shared, &membership);
            }
        });
    }
    if let Some(at) = membership.next_retry(now(shared)) {
        let shared = Arc::downgrade(shared);
        timers.arm(at, Arc::downgrade(membership), move |membership| {
            if let Some(shared) = shared.upgrade() {
                shared.reconciler.retry(&membership);
            }
        });
    }
}

fn check_lease(shared: &Arc<Shared>, membership: &Arc<Membership>) {
    if let Some(sockets) = membership.leave_if_expired(now(shared)) {
        shared.reconciler.close(sockets);
        tracing::info!(id = %membership.id(), "the lease ran out: left");
        shared.memberships.remove_if(membership.id(), membership);
        shared.responders.remove_if(membership.id(), membership);
    } else {
        arm(shared, membership);
    }
}

fn now(shared: &Shared) -> Instant {
    shared.membership_context.sockets.clock().monotonic
}
