//! Bytes that delayed replies hold: bounded for each responder, and for all of them.

use std::sync::Arc;

use bytes::Bytes;

use crate::bounded_counter::BoundedCounter;

/// A budget in bytes, which may be a share of another one.
pub(in crate::control) struct ByteBudget {
    held: BoundedCounter,
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
    /// One responder may use the whole budget divided by this, so that it leaves some to the others.
    const SHARE_DIVISOR: usize = 4;

    pub(in crate::control) fn new(max: usize) -> Self {
        Self { held: BoundedCounter::new(max), part_of: None }
    }

    pub(super) fn share(self: &Arc<Self>) -> Arc<Self> {
        Arc::new(Self { part_of: Some(self.clone()), ..Self::new(self.held.max() / Self::SHARE_DIVISOR) })
    }

    pub(in crate::control) fn held(&self) -> usize {
        self.held.get()
    }

    /// None if the budget does not have them.
    pub(super) fn reserve(self: &Arc<Self>, bytes: usize) -> Option<Reserved> {
        self.take(bytes).then(|| Reserved { budget: self.clone(), bytes })
    }

    pub(super) fn reserve_reply(self: &Arc<Self>, payload: &Bytes) -> Option<FixedReply> {
        Some(FixedReply { payload: payload.clone(), _reserved: self.reserve(payload.len())? })
    }

    /// The share first: if the whole budget is used up, only its own responder finds those bytes taken for a moment.
    fn take(&self, bytes: usize) -> bool {
        if !self.held.try_add(bytes) {
            return false;
        }
        let is_taken = self.part_of.as_ref().is_none_or(|whole| whole.take(bytes));
        if !is_taken {
            self.held.subtract(bytes);
        }
        is_taken
    }

    fn release(&self, bytes: usize) {
        self.held.subtract(bytes);
        if let Some(whole) = &self.part_of {
            whole.release(bytes);
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.budget.release(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responders_take_concurrently_what_fits() {
        let whole = Arc::new(ByteBudget::new(400));
        let shares: Vec<_> = (0..4).map(|_| whole.share()).collect();
        std::thread::scope(|scope| {
            for share in &shares {
                // Refused, whatever the others hold.
                scope.spawn(|| assert!((0..20_000).all(|_| share.reserve(101).is_none())));
                // Fits beside those, and beside what the other responders take.
                scope.spawn(|| assert!((0..20_000).all(|_| share.reserve(100).is_some())));
            }
        });
        assert_eq!((whole.held(), shares[0].held()), (0, 0));
    }

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
