//! Renewing the lease of a membership.

use std::sync::Arc;
use std::time::Duration;

use super::operations::arm;
use super::state::{Membership, Stage};
use crate::control::condition::Condition;
use crate::control::error::{ControlError, Done};
use crate::control::events::EventKind;
use crate::control::resource_kind::ResourceKind;
use crate::control::shared::Control;
use crate::control::views::Lease;
use crate::control::waiting::within;
use crate::model::Id;

impl Control {
    /// Starts the lease again; without a duration, with the one it had. Once this returns, that is on disk too, unless
    /// the disk fails.
    pub async fn renew(
        &self,
        kind: ResourceKind,
        id: &Id,
        duration: Option<Duration>,
        condition: &Condition,
    ) -> Result<Arc<Membership>, ControlError> {
        let shared = &self.0;
        shared.ensure_running()?;
        let membership = self.membership(kind, id)?;
        within(Done::Nothing, membership.renew(duration, condition)).await??;
        membership.persist_change();
        arm(shared, &membership);
        shared.flushed(Done::Changed).await?;
        Ok(membership)
    }
}

impl Membership {
    /// A new duration is a change of the specification, which waits for other changes; the same one is none, and does
    /// not wait. Cancel-safe: nothing has changed at the await.
    async fn renew(&self, duration: Option<Duration>, condition: &Condition) -> Result<(), ControlError> {
        let mut updating = None;
        while !self.renew_with(duration, condition, updating.is_some())? {
            updating = Some(self.updating.lock().await);
        }
        Ok(())
    }

    /// Returns false if the specification would change, and may not.
    fn renew_with(
        &self,
        duration: Option<Duration>,
        condition: &Condition,
        may_change: bool,
    ) -> Result<bool, ControlError> {
        let (kind, id) = (self.kind(), || self.id.clone());
        let now = self.context.sockets.clock();
        let mut state = self.state();
        match state.stage {
            Stage::Left => return Err(ControlError::NotFound { kind, id: id(), elsewhere: None }),
            Stage::Stopped => return Err(ControlError::Stopping),
            Stage::Active => {}
        }
        condition.check(kind, &self.id, Some(state.revision))?;
        let before = state.lease.map(|lease| lease.duration);
        let duration = duration.or(before).ok_or_else(|| ControlError::NoLease { kind, id: id() })?;
        let changes = before != Some(duration);
        if changes && !may_change {
            return Ok(false);
        }
        state.lease = Some(Lease::starting(now, duration));
        if changes {
            state.revision = state.revision.next(now.real);
            self.emit(&state, EventKind::Changed(state.spec.labels.clone()), None);
        }
        Ok(true)
    }
}
