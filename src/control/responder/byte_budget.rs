//! Bytes that delayed replies hold: bounded for each responder, and for all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// A budget in bytes, which may be a share of another one.
pub(in crate::control) struct ByteBudget {
    max: usize,
    held: AtomicUsize,
    part_of: Option<Arc<Self>>,
}

/// Bytes of a budget, until it is dropped.
pub(super) struct Reserved {
    budget: Arc<ByteBudget>,
    bytes: usize,
}

/// The fixed payload of delayed replies, which share it; counted once.
pub(super) struct FixedReply {
    pub(super) payload: Bytes,
    _reserved: Reserved,
}

impl ByteBudget {
    /// The part of the whole budget that one responder may use, so that it leaves some to the others.
    const SHARE: usize = 4;

    pub(in crate::control) fn new(max: usize) -> Self {
        Self { max, held: AtomicUsize::new(0), part_of: None }
    }

    pub(super) fn share(self: &Arc<Self>) -> Arc<Self> {
        Arc::new(Self { part_of: Some(self.clone()), ..Self::new(self.max / Self::SHARE) })
    }

    pub(in crate::control) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// None if the budget does not have them.
    pub(super) fn reserve(self: &Arc<Self>, bytes: usize) -> Option<Reserved> {
        self.take(bytes).then(|| Reserved { budget: self.clone(), bytes })
    }

    pub(super) fn reserve_reply(self: &Arc<Self>, payload: &Bytes) -> Option<FixedReply> {
        Some(FixedReply { payload: payload.clone(), _reserved: self.reserve(payload.len())? })
    }

    fn take(&self, bytes: usize) -> bool {
        if self.held.fetch_add(bytes, Ordering::Relaxed) + bytes <= self.max
            && self.part_of.as_ref().is_none_or(|whole| whole.take(bytes))
        {
            return true;
        }
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        false
    }

    fn give_back(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(whole) = &self.part_of {
            whole.give_back(bytes);
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_leaves_some_to_the_others() {
        let whole = Arc::new(ByteBudget::new(400));
        let shares: Vec<_> = (0..5).map(|_| whole.share()).collect();
        assert!(shares[0].reserve(101).is_none());
        let reserved: Vec<_> = shares.iter().map(|share| share.reserve(90)).collect();
        assert_eq!(reserved.iter().flatten().count(), 4, "450 are more than 400");
        assert_eq!((whole.held(), shares[4].held()), (360, 0));
        drop(reserved);
        assert_eq!((whole.held(), shares[0].held()), (0, 0));
    }
}
