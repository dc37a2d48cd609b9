//! Restoring resources from disk when the service starts.

use std::sync::Arc;

use serde::Deserialize;

use super::membership::{Membership, arm};
use super::message::Message;
use super::resource_kind::ResourceKind;
use super::shared::Control;
use crate::model::{Match, Pattern, Timestamp};
use crate::store::SavedResource;

impl Control {
    /// Restores all resources: memberships and responders with their specifications, also if their interfaces are
    /// missing or down; messages as closed, with the reason `restarted` if they were collecting. What cannot be restored
    /// is set aside: the others must not wait for it.
    pub(super) async fn restore(&self, saved: Vec<SavedResource>) {
        // Kept until the responders have them.
        let _patterns = compile_patterns(&saved).await;
        let mut messages = Vec::new();
        for saved in saved {
            let name = format!("{} `{}`", saved.kind, saved.id);
            let restored = match ResourceKind::named(&saved.kind) {
                Some(ResourceKind::Message) => {
                    self.restore_message(saved).map(|message| messages.push(message))
                }
                Some(ResourceKind::Membership | ResourceKind::Responder) => {
                    self.restore_membership(saved).await
                }
                None => Err(serde::de::Error::custom("there is no such kind of resource")),
            };
            if let (Err(error), Some(store)) = (restored, &self.0.store) {
                store.note_set_aside(&name, &error);
            }
        }
        self.resume(messages).await;
    }

    async fn restore_membership(&self, saved: SavedResource) -> serde_json::Result<()> {
        let shared = &self.0;
        let Some(membership) =
            Membership::restore(saved, &shared.membership_context, &shared.responder_context)?
        else {
            return Ok(());
        };
        let membership = Arc::new(membership);
        membership.begin_counting();
        if shared.memberships_of(membership.kind()).insert(membership.clone()).is_ok() {
            membership.persist(false);
            membership.charge_restored(&shared.membership_bytes);
            membership.resume(&shared.interfaces.table()).await;
            arm(shared, &membership);
            if let Err(error) = membership.check_pattern() {
                tracing::error!(id = %membership.id(), %error, "a responder's pattern is refused: it has failed");
            }
        }
        Ok(())
    }

    fn restore_message(&self, saved: SavedResource) -> serde_json::Result<Arc<Message>> {
        let shared = &self.0;
        let limits = shared.settings.log_limits;
        let message = Message::restore(saved, limits, &shared.budget, &shared.message_context)?;
        shared.totals.begin_with(&message.totals());
        Ok(Arc::new(message))
    }

    /// Enters messages into the registry, and closes those that were collecting.
    async fn resume(&self, mut messages: Vec<Arc<Message>>) {
        let shared = &self.0;
        messages.sort_by_cached_key(|message| message.closed_at().unwrap_or_else(Timestamp::now));
        for message in messages {
            message.persist(false);
            if shared.messages.insert(message.clone()).is_err() {
                continue;
            }
            if message.is_closed() {
                message.restore_closed();
            } else if let Err(error) = message.replay_responses().await {
                let id = message.id();
                tracing::error!(%id, %error, "the service cannot read all responses to a message again");
            }
        }
    }
}

/// Compiles the patterns of all responders where blocking is allowed: each may take 100 ms.
async fn compile_patterns(saved: &[SavedResource]) -> Vec<Pattern> {
    let may_have_one = |saved: &&SavedResource| saved.spec.contains(r#""regex""#);
    let specs: Vec<_> = saved.iter().filter(may_have_one).map(|saved| saved.spec.clone()).collect();
    let compile = move || specs.iter().filter_map(|spec| saved_pattern(spec)).collect();
    tokio::task::spawn_blocking(compile).await.unwrap_or_default()
}

/// The pattern of a responder, from its saved [`Persist::spec`](crate::store::Persist::spec), if it has one.
fn saved_pattern(spec: &str) -> Option<Pattern> {
    #[derive(Deserialize)]
    struct StoredResponder {
        rules: Rules,
    }
    #[derive(Deserialize)]
    struct Rules {
        matches: Match,
    }
    let stored: StoredResponder = serde_json::from_str(spec).ok()?;
    stored.rules.matches.pattern().cloned()
}
