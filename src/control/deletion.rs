//! Deleting all resources of a kind that a selector matches, each as a DELETE of its id does.
//!
//! Tasks: one for each such request, which goes on if the client no longer waits; owned by the tracker of [`Shared`].

use std::sync::Arc;

use super::error::{ControlError, Done};
use super::registry::{ListEntry, Registry};
use super::resource_kind::ResourceKind;
use super::shared::{Control, Shared};
use super::waiting::within;
use crate::model::Selector;

/// How many are deleted before the task waits for their sockets and the disk: as many as a registry remembers.
const PART: usize = 1_024;

impl Control {
    /// Deletes those that match when their turn comes, of those that match now. Returns how many: their sockets are
    /// closed, and they are deleted from the disk, unless the disk fails. If that takes too long, a second call deletes
    /// the rest, and continues the wait.
    pub async fn delete_selected(
        &self,
        kind: ResourceKind,
        selector: Selector,
    ) -> Result<usize, ControlError> {
        self.0.ensure_running()?;
        let shared = self.0.clone();
        let deleting = self.0.tasks.spawn(async move {
            match kind {
                ResourceKind::Message => shared.delete_messages(&selector).await,
                kind => shared.leave_memberships(kind, &selector).await,
            }
        });
        within(Done::DeletionUnderWay, deleting).await?.unwrap_or(Err(ControlError::Stopping))
    }
}

impl Shared {
    async fn leave_memberships(
        &self,
        kind: ResourceKind,
        selector: &Selector,
    ) -> Result<usize, ControlError> {
        let registry = self.memberships_of(kind);
        for earlier in registry.all_under_deletion() {
            if earlier.is_selected_by(selector) {
                earlier.sockets_closed().await;
            }
        }
        let mut selected = registry.all();
        selected.retain(|membership| membership.is_selected_by(selector));
        let mut count = 0;
        for part in selected.chunks(PART) {
            self.ensure_running()?;
            let mut left = Vec::new();
            for (nth, membership) in part.iter().enumerate() {
                if membership.leave_if(|labels| selector.matches(labels)) {
                    registry.begin_deletion(membership.id(), |found| Arc::ptr_eq(found, membership));
                    left.push(membership.clone());
                }
                yield_every(nth).await;
            }
            for membership in &left {
                membership.sockets_closed().await;
            }
            count += left.len();
            self.end_deletions(registry, &left).await?;
        }
        Ok(count)
    }

    async fn delete_messages(&self, selector: &Selector) -> Result<usize, ControlError> {
        let registry = &self.messages;
        for earlier in registry.all_under_deletion() {
            if earlier.is_selected_by(selector) {
                earlier.sockets_closed().await;
            }
        }
        let mut selected = registry.all();
        selected.retain(|message| message.is_selected_by(selector));
        let mut count = 0;
        for part in selected.chunks(PART) {
            self.ensure_running()?;
            let mut deleted = Vec::new();
            for (nth, message) in part.iter().enumerate() {
                // A request that is creating the message ends first.
                let claim = self.claims.claim(message.id()).await;
                let deletion = registry.begin_deletion(message.id(), |found| Arc::ptr_eq(found, message));
                if let Some((_, true)) = deletion {
                    message.discard();
                    deleted.push(message.clone());
                }
                drop(claim);
                yield_every(nth).await;
            }
            for message in &deleted {
                message.sockets_closed().await;
            }
            count += deleted.len();
            self.end_deletions(registry, &deleted).await?;
        }
        Ok(count)
    }

    async fn end_deletions<T: ListEntry>(
        &self,
        registry: &Registry<T>,
        deleted: &[Arc<T>],
    ) -> Result<(), ControlError> {
        let written = self.written().await;
        registry.end_deletions(deleted);
        written
    }
}

/// Lets other tasks run after every `STEPS` steps: to close a socket takes a while.
async fn yield_every(step: usize) {
    const STEPS: usize = 32;
    if step % STEPS == STEPS - 1 {
        tokio::task::yield_now().await;
    }
}
