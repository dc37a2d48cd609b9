use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::Id;

/// The resources of one kind by id, in the order in which lists show them.
pub(super) struct Registry<T> {
    /// Std lock: held for one look-up, insertion or page. Entries' own locks may be taken under it, never the
    /// other way round.
    entries: Mutex<BTreeMap<Id, Arc<T>>>,
}

impl<T> Default for Registry<T> {
    fn default() -> Self {
        Self { entries: Mutex::default() }
    }
}

impl<T> Registry<T> {
    pub(super) fn find(&self, id: &Id) -> Option<Arc<T>> {
        self.entries().get(id).cloned()
    }

    /// Adds the entry unless the id is taken; gives back whoever has it.
    pub(super) fn insert(&self, id: Id, entry: Arc<T>) -> Result<(), Arc<T>> {
        match self.entries().entry(id) {
            std::collections::btree_map::Entry::Occupied(taken) => Err(taken.get().clone()),
            std::collections::btree_map::Entry::Vacant(free) => {
                free.insert(entry);
                Ok(())
            }
        }
    }

    pub(super) fn remove(&self, id: &Id) -> Option<Arc<T>> {
        self.entries().remove(id)
    }

    /// Removes the entry if the id still stands for this very one.
    pub(super) fn remove_if(&self, id: &Id, entry: &Arc<T>) {
        let mut entries = self.entries();
        if entries.get(id).is_some_and(|current| Arc::ptr_eq(current, entry)) {
            entries.remove(id);
        }
    }

    pub(super) fn all(&self) -> Vec<Arc<T>> {
        self.entries().values().cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.entries().len()
    }

    /// Up to `limit` entries with ids after `after` that satisfy `wanted`, and whether there may be more.
    pub(super) fn page(
        &self,
        after: Option<&Id>,
        limit: usize,
        wanted: impl Fn(&T) -> bool,
    ) -> (Vec<Arc<T>>, bool) {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let entries = self.entries();
        let rest = entries.range::<Id, _>((start, Bound::Unbounded)).map(|(_, entry)| entry);
        let mut matching = rest.filter(|entry| wanted(entry));
        let page: Vec<_> = matching.by_ref().take(limit).cloned().collect();
        let more = matching.next().is_some();
        (page, more)
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<Id, Arc<T>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
