//! What comes back from disk when the service starts.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Control, Membership, Message, StartFault};
use crate::model::Timestamp;
use crate::store::{DiskFault, Saved};

impl Control {
    /// Makes everything be as it was saved: memberships and responders want what they wanted, wherever their
    /// interfaces are by now; messages are closed, those that were collecting as `restarted`.
    pub(super) async fn restore(&self, saved: Vec<Saved>) -> Result<(), StartFault> {
        let mut messages = Vec::new();
        for saved in newest(saved) {
            let name = format!("{} `{}`", saved.kind, saved.id);
            let restored = match saved.kind.as_str() {
                "message" => self.restore_message(saved).map(|message| messages.push(message)),
                _ => self.restore_membership(saved),
            };
            restored.map_err(|error| self.unreadable(&name, &error))?;
        }
        self.resume(messages).await
    }

    fn restore_membership(&self, saved: Saved) -> serde_json::Result<()> {
        let shared = &self.0;
        let table = shared.interfaces.table();
        let Some(membership) = Membership::restore(saved, &shared.environment, &shared.services, &table)?
        else {
            return Ok(());
        };
        let membership = Arc::new(membership);
        membership.begin_counting();
        if shared.joined(membership.kind()).insert(membership.id().clone(), membership.clone()).is_ok() {
            membership.keep(false);
            membership.reconcile(&table);
            membership.registered();
            shared.arm(&membership);
        }
        Ok(())
    }

    fn restore_message(&self, saved: Saved) -> serde_json::Result<Arc<Message>> {
        let shared = &self.0;
        let limits = shared.settings.log_limits;
        let message = Message::restore(saved, limits, &shared.budget, &shared.clockwork)?;
        shared.ledger.begin_with(message.totals());
        Ok(Arc::new(message))
    }

    /// Lets messages be found, and ends those that were collecting.
    async fn resume(&self, mut messages: Vec<Arc<Message>>) -> Result<(), StartFault> {
        let shared = &self.0;
        let closed_at = |message: &Arc<Message>| {
            message.with_collection(|collection| collection.closed()).map_or(Timestamp::now(), |(_, at)| at)
        };
        messages.sort_by_cached_key(closed_at);
        for message in messages {
            if let Some(store) = &shared.store {
                message.keep(store, false);
            }
            if shared.messages.insert(message.id().clone(), message.clone()).is_err() {
                continue;
            }
            if message.is_closed() {
                message.stay_closed();
            } else if let Err(error) = message.recall().await {
                return Err(self.unreadable(&format!("message `{}`", message.id()), &error).into());
            }
        }
        Ok(())
    }

    fn unreadable(&self, name: &str, error: &dyn std::fmt::Display) -> DiskFault {
        let path = self.0.settings.store.as_ref().map(|store| store.directory.clone()).unwrap_or_default();
        DiskFault::Damaged { path, detail: format!("{name}: {error}") }
    }
}

/// Of several under one name, the newest; the others were on their way out.
fn newest(saved: Vec<Saved>) -> Vec<Saved> {
    let mut named: HashMap<(String, String), usize> = HashMap::new();
    let mut all: Vec<Option<Saved>> = Vec::new();
    for saved in saved {
        let before = named.insert((saved.kind.clone(), saved.id.clone()), all.len());
        if let Some(older) = before.and_then(|at| all[at].take()) {
            older.forget();
        }
        all.push(Some(saved));
    }
    all.into_iter().flatten().collect()
}
