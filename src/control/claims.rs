//! Claims on ids: one request at a time works under an id, and the others wait for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::OwnedMutexGuard;

use crate::model::Id;
use crate::sync::Lock;

/// Ids under which a request is creating or deleting a resource.
#[derive(Default)]
pub(super) struct Claims {
    /// The inner locks are Tokio's, because a request holds one across system calls. The outer std lock is held for a
    /// look-up.
    by_id: Mutex<HashMap<Id, Arc<tokio::sync::Mutex<()>>>>,
}

/// As long as it exists, no other request works under the id.
pub(super) struct Claim<'a> {
    claims: &'a Claims,
    id: &'a Id,
    /// None while another request holds the claim.
    held: Option<OwnedMutexGuard<()>>,
}

impl Claims {
    /// Resolves when no other request works under the id. Cancel-safe.
    pub(super) async fn claim<'a>(&'a self, id: &'a Id) -> Claim<'a> {
        let lock = self.by_id.lock_shared().entry(id.clone()).or_default().clone();
        let mut claim = Claim { claims: self, id, held: None };
        claim.held = Some(lock.lock_owned().await);
        claim
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut by_id = self.claims.by_id.lock_shared();
        self.held = None;
        if by_id.get(self.id).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            by_id.remove(self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn an_id_is_claimed_by_one_request_at_a_time() {
        let claims = Claims::default();
        let (one, other) = (Id::parse("one").unwrap(), Id::parse("other").unwrap());
        let first = claims.claim(&one).await;
        let _other = claims.claim(&other).await;
        let mut second = pin!(claims.claim(&one));
        assert!(poll!(&mut second).is_pending());
        {
            let mut abandoned = pin!(claims.claim(&one));
            assert!(poll!(&mut abandoned).is_pending());
        }
        drop(first);
        drop(second.await);
        assert_eq!(claims.by_id.lock_shared().len(), 1);
    }
}
