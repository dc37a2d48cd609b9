//! The registries of resources, list queries, and outcomes of PUTs.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::model::{Group, Id, Selector};
use crate::sync::Lock;

/// The resources of one kind by id, in the order of lists.
pub(super) struct Registry<T> {
    /// Std lock: held for one look-up, insertion or part of a page, and never while an entry's own lock is taken.
    entries: Mutex<BTreeMap<Id, Arc<T>>>,
    /// Entries whose deletion may still be under way, the oldest first. Std lock: held for a look-up or a push.
    deleted: Mutex<VecDeque<(Id, Arc<T>)>>,
    /// The most entries that clients may create.
    max: usize,
}

/// Why a new entry was not added.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotInserted {
    Taken,
    Full,
}

/// Whether a PUT created the resource or found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Created,
    Existed,
}

/// Selects the resources of a list.
#[derive(Debug, Default, Clone)]
pub struct ListQuery {
    pub after: Option<Id>,
    pub limit: usize,
    pub group: Option<Group>,
    pub selector: Option<Selector>,
}

impl<T> Default for Registry<T> {
    fn default() -> Self {
        Self::new(usize::MAX)
    }
}

impl<T> Registry<T> {
    /// The most deletions under way that can be waited for by id; if there are more, the oldest is dropped from the
    /// list. A deletion takes longer than a moment only if the disk hangs or a receive thread is stuck.
    const DELETIONS: usize = 1_024;
    /// Entries that a page examines before it releases the lock for other tasks.
    const MAX_EXAMINED: usize = 256;

    /// `max`: the most entries that clients may create.
    pub(super) fn new(max: usize) -> Self {
        Self { entries: Mutex::default(), deleted: Mutex::default(), max }
    }

    pub(super) fn find(&self, id: &Id) -> Option<Arc<T>> {
        self.entries().get(id).cloned()
    }

    /// Adds the entry; if the id is taken, returns the entry that has it.
    pub(super) fn insert(&self, id: Id, entry: Arc<T>) -> Result<(), Arc<T>> {
        match self.entries().entry(id) {
            std::collections::btree_map::Entry::Occupied(taken) => Err(taken.get().clone()),
            std::collections::btree_map::Entry::Vacant(free) => {
                free.insert(entry);
                Ok(())
            }
        }
    }

    /// Adds an entry that a client creates, if there is room.
    pub(super) fn insert_new(&self, id: Id, entry: Arc<T>) -> Result<(), NotInserted> {
        let mut entries = self.entries();
        let is_full = entries.len() >= self.max;
        match entries.entry(id) {
            std::collections::btree_map::Entry::Occupied(_) => Err(NotInserted::Taken),
            std::collections::btree_map::Entry::Vacant(_) if is_full => Err(NotInserted::Full),
            std::collections::btree_map::Entry::Vacant(free) => {
                free.insert(entry);
                Ok(())
            }
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() >= self.max
    }

    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// Takes the entry out, to be deleted, or returns one whose deletion is not over. `true`: it was taken out now.
    /// `which`: whether an entry is the one to delete.
    pub(super) fn begin_deletion(&self, id: &Id, which: impl Fn(&Arc<T>) -> bool) -> Option<(Arc<T>, bool)> {
        let removed = {
            let mut entries = self.entries();
            if entries.get(id).is_some_and(&which) { entries.remove(id) } else { None }
        };
        let Some(entry) = removed else {
            return self.under_deletion(id).filter(which).map(|entry| (entry, false));
        };
        let mut deleted = self.deleted.lock_shared();
        if deleted.len() >= Self::DELETIONS {
            deleted.pop_front();
        }
        deleted.push_back((id.clone(), entry.clone()));
        Some((entry, true))
    }

    /// The latest entry with this id whose deletion is not over.
    pub(super) fn under_deletion(&self, id: &Id) -> Option<Arc<T>> {
        let deleted = self.deleted.lock_shared();
        let mut latest = deleted.iter().rev().filter(|(known, _)| known == id);
        latest.next().map(|(_, entry)| entry.clone())
    }

    /// The entries whose deletion is not over.
    pub(super) fn all_under_deletion(&self) -> Vec<Arc<T>> {
        self.deleted.lock_shared().iter().map(|(_, entry)| entry.clone()).collect()
    }

    /// Notes that the deletion is over.
    pub(super) fn end_deletion(&self, entry: &Arc<T>) {
        self.end_deletions(std::slice::from_ref(entry));
    }

    /// Notes that these deletions are over.
    pub(super) fn end_deletions(&self, entries: &[Arc<T>]) {
        let ended: HashSet<_> = entries.iter().map(Arc::as_ptr).collect();
        self.deleted.lock_shared().retain(|(_, deleted)| !ended.contains(&Arc::as_ptr(deleted)));
    }

    /// Removes the entry if the id still belongs to this very entry.
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

    /// Up to `limit` entries with ids after `after` that satisfy `matches`, and whether there may be more.
    pub(super) fn page(
        &self,
        after: Option<&Id>,
        limit: usize,
        matches: impl Fn(&T) -> bool,
    ) -> (Vec<Arc<T>>, bool) {
        let mut page = Vec::new();
        let mut after = after.cloned();
        loop {
            let start = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
            let entries = self.entries();
            let rest = entries.range::<Id, _>((start, Bound::Unbounded)).take(Self::MAX_EXAMINED);
            let part: Vec<_> = rest.map(|(id, entry)| (id.clone(), entry.clone())).collect();
            drop(entries);
            let Some((last, _)) = part.last() else { return (page, false) };
            after = Some(last.clone());
            for (_, entry) in part {
                if matches(&entry) {
                    if page.len() == limit {
                        return (page, true);
                    }
                    page.push(entry);
                }
            }
        }
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<Id, Arc<T>>> {
        self.entries.lock_shared()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_delete_finds_the_entry_until_the_deletion_is_over() {
        let (registry, id) = (Registry::default(), Id::parse("a").unwrap());
        registry.insert(id.clone(), Arc::new(1)).unwrap();
        let (deleted, is_new) = registry.begin_deletion(&id, |_| true).unwrap();
        assert!(is_new && registry.find(&id).is_none());
        let (again, is_new) = registry.begin_deletion(&id, |_| true).unwrap();
        assert!(!is_new && Arc::ptr_eq(&deleted, &again));
        registry.insert(id.clone(), Arc::new(2)).unwrap();
        let (newer, is_new) = registry.begin_deletion(&id, |_| true).unwrap();
        assert!(is_new && *newer == 2, "the one that is there goes first");
        registry.end_deletion(&newer);
        registry.end_deletion(&deleted);
        assert!(registry.begin_deletion(&id, |_| true).is_none());
    }

    #[test]
    fn a_full_registry_takes_no_new_entry() {
        let (registry, id) = (Registry::new(1), |name| Id::parse(name).unwrap());
        assert_eq!(registry.insert_new(id("a"), Arc::new(1)), Ok(()));
        assert_eq!(registry.insert_new(id("a"), Arc::new(2)), Err(NotInserted::Taken));
        assert_eq!(registry.insert_new(id("b"), Arc::new(2)), Err(NotInserted::Full));
        registry.begin_deletion(&id("a"), |_| true);
        assert_eq!(registry.insert_new(id("b"), Arc::new(2)), Ok(()));
    }

    #[test]
    fn pages_skip_entries_that_do_not_match() {
        let registry = Registry::default();
        for number in 0..1_000 {
            registry.insert(Id::parse(&format!("{number:04}")).unwrap(), Arc::new(number)).unwrap();
        }
        let page = |after: Option<&Id>, limit| registry.page(after, limit, |number| number % 100 == 0);
        let (first, more) = page(None, 4);
        assert_eq!(
            (first.iter().map(|number| **number).collect::<Vec<_>>(), more),
            (vec![0, 100, 200, 300], true)
        );
        let (rest, more) = page(Some(&Id::parse("0300").unwrap()), 6);
        assert_eq!((rest.len(), *rest[5], more), (6, 900, false));
    }
}
