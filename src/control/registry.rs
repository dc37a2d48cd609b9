//! The registries of resources, list queries, and outcomes of PUTs.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::ops::{Bound, ControlFlow};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::model::{Group, Id, Selector, Timestamp};
use crate::sync::Lock;

/// The resources of one kind, in the orders of lists.
pub(super) struct Registry<T> {
    /// Std lock: held for one look-up, insertion or part of a page, and never while an entry's own lock is taken.
    entries: Mutex<Entries<T>>,
    /// Entries whose deletion may still be under way, the oldest first. Std lock: held for a look-up or a push.
    deleted: Mutex<VecDeque<(Id, Arc<T>)>>,
    /// The most entries that clients may create.
    max: usize,
}

struct Entries<T> {
    by_id: BTreeMap<Id, Arc<T>>,
    /// The same entries.
    by_age: BTreeMap<ListPosition, Arc<T>>,
}

/// A resource that lists show.
pub trait ListEntry {
    /// Never changes.
    fn position(&self) -> ListPosition;
}

/// The position of a resource in the list of its kind, in every order; by itself, in the order of creation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListPosition {
    pub created_at: Timestamp,
    pub id: Id,
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
    pub order: ListOrder,
    pub after: Option<ListPosition>,
    pub limit: usize,
    pub group: Option<Group>,
    pub selector: Option<Selector>,
}

/// The order of a list. Of resources created at the same time, the ids decide, in the same direction.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum ListOrder {
    #[default]
    Id,
    IdDescending,
    CreatedAt,
    CreatedAtDescending,
}

/// The result of a list query.
pub struct ListPage<T> {
    pub entries: Vec<Arc<T>>,
    /// Whether further entries follow.
    pub more: bool,
    /// How many entries the query selects, on all pages.
    pub total: usize,
}

impl<T: ListEntry> Default for Registry<T> {
    fn default() -> Self {
        Self::new(usize::MAX)
    }
}

impl<T: ListEntry> Registry<T> {
    /// The most deletions under way that can be waited for by id; if there are more, the oldest is dropped from the
    /// list. A deletion takes longer than a moment only if the disk hangs or a receive thread is stuck.
    const DELETIONS: usize = 1_024;
    /// Entries that a page examines before it releases the lock for other tasks.
    const MAX_EXAMINED: usize = 256;

    /// `max`: the most entries that clients may create.
    pub(super) fn new(max: usize) -> Self {
        let entries = Entries { by_id: BTreeMap::new(), by_age: BTreeMap::new() };
        Self { entries: Mutex::new(entries), deleted: Mutex::default(), max }
    }

    pub(super) fn find(&self, id: &Id) -> Option<Arc<T>> {
        self.entries().by_id.get(id).cloned()
    }

    /// Adds the entry; if the id is taken, returns the entry that has it.
    pub(super) fn insert(&self, entry: Arc<T>) -> Result<(), Arc<T>> {
        self.entries().insert(entry)
    }

    /// Adds an entry that a client creates, if there is room.
    pub(super) fn insert_new(&self, entry: Arc<T>) -> Result<(), NotInserted> {
        let mut entries = self.entries();
        if entries.by_id.len() >= self.max && !entries.by_id.contains_key(&entry.position().id) {
            return Err(NotInserted::Full);
        }
        entries.insert(entry).map_err(|_| NotInserted::Taken)
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
            if entries.by_id.get(id).is_some_and(&which) { entries.remove(id) } else { None }
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
        if entries.by_id.get(id).is_some_and(|current| Arc::ptr_eq(current, entry)) {
            entries.remove(id);
        }
    }

    pub(super) fn all(&self) -> Vec<Arc<T>> {
        self.entries().by_id.values().cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.entries().by_id.len()
    }

    /// The page that the query asks for of the entries that satisfy `matches`.
    pub(super) fn list(&self, query: &ListQuery, matches: impl Fn(&T) -> bool) -> ListPage<T> {
        let (mut entries, mut more, mut total) = (Vec::new(), false, 0);
        self.visit(query.order, query.after.clone(), |entry| {
            if !matches(&entry) {
                return ControlFlow::Continue(());
            }
            if entries.len() == query.limit {
                more = true;
                return ControlFlow::Break(());
            }
            entries.push(entry);
            ControlFlow::Continue(())
        });
        self.visit(ListOrder::Id, None, |entry| {
            total += usize::from(matches(&entry));
            ControlFlow::Continue(())
        });
        ListPage { entries, more, total }
    }

    /// Visits the entries after the position, until `visit` breaks off. Entries that are there throughout are visited
    /// once, whatever others come and go meanwhile.
    fn visit(
        &self,
        order: ListOrder,
        mut after: Option<ListPosition>,
        mut visit: impl FnMut(Arc<T>) -> ControlFlow<()>,
    ) {
        loop {
            let part = self.entries().part(order, after.as_ref(), Self::MAX_EXAMINED);
            let Some(last) = part.last() else { return };
            after = Some(last.position());
            if part.into_iter().try_for_each(&mut visit).is_break() {
                return;
            }
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries<T>> {
        self.entries.lock_shared()
    }
}

impl<T: ListEntry> Entries<T> {
    fn insert(&mut self, entry: Arc<T>) -> Result<(), Arc<T>> {
        let position = entry.position();
        match self.by_id.entry(position.id.clone()) {
            std::collections::btree_map::Entry::Occupied(taken) => Err(taken.get().clone()),
            std::collections::btree_map::Entry::Vacant(free) => {
                free.insert(entry.clone());
                self.by_age.insert(position, entry);
                Ok(())
            }
        }
    }

    fn remove(&mut self, id: &Id) -> Option<Arc<T>> {
        let entry = self.by_id.remove(id)?;
        self.by_age.remove(&entry.position());
        Some(entry)
    }

    /// The next entries after the position.
    fn part(&self, order: ListOrder, after: Option<&ListPosition>, most: usize) -> Vec<Arc<T>> {
        fn some<'a, K: 'a, T: 'a>(
            range: impl Iterator<Item = (&'a K, &'a Arc<T>)>,
            most: usize,
        ) -> Vec<Arc<T>> {
            range.take(most).map(|(_, entry)| entry.clone()).collect()
        }
        let id = after.map_or(Bound::Unbounded, |after| Bound::Excluded(&after.id));
        let position = after.map_or(Bound::Unbounded, Bound::Excluded);
        match order {
            ListOrder::Id => some(self.by_id.range::<Id, _>((id, Bound::Unbounded)), most),
            ListOrder::IdDescending => some(self.by_id.range::<Id, _>((Bound::Unbounded, id)).rev(), most),
            ListOrder::CreatedAt => {
                some(self.by_age.range::<ListPosition, _>((position, Bound::Unbounded)), most)
            }
            ListOrder::CreatedAtDescending => {
                some(self.by_age.range::<ListPosition, _>((Bound::Unbounded, position)).rev(), most)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl ListEntry for ListPosition {
        fn position(&self) -> ListPosition {
            self.clone()
        }
    }

    fn entry(id: &str, created_at: i64) -> Arc<ListPosition> {
        Arc::new(ListPosition { created_at: Timestamp(created_at), id: Id::parse(id).unwrap() })
    }

    #[test]
    fn a_second_delete_finds_the_entry_until_the_deletion_is_over() {
        let (registry, id) = (Registry::default(), Id::parse("a").unwrap());
        registry.insert(entry("a", 1)).unwrap();
        let (deleted, is_new) = registry.begin_deletion(&id, |_| true).unwrap();
        assert!(is_new && registry.find(&id).is_none());
        let (again, is_new) = registry.begin_deletion(&id, |_| true).unwrap();
        assert!(!is_new && Arc::ptr_eq(&deleted, &again));
        registry.insert(entry("a", 2)).unwrap();
        let (newer, is_new) = registry.begin_deletion(&id, |_| true).unwrap();
        assert!(is_new && newer.created_at == Timestamp(2), "the one that is there goes first");
        registry.end_deletion(&newer);
        registry.end_deletion(&deleted);
        assert!(registry.begin_deletion(&id, |_| true).is_none());
    }

    #[test]
    fn a_full_registry_takes_no_new_entry() {
        let registry = Registry::new(1);
        assert_eq!(registry.insert_new(entry("a", 1)), Ok(()));
        assert_eq!(registry.insert_new(entry("a", 2)), Err(NotInserted::Taken));
        assert_eq!(registry.insert_new(entry("b", 2)), Err(NotInserted::Full));
        registry.begin_deletion(&Id::parse("a").unwrap(), |_| true);
        assert_eq!(registry.insert_new(entry("b", 2)), Ok(()));
    }

    #[test]
    fn pages_skip_entries_that_do_not_match() {
        let registry = Registry::default();
        for number in 0..1_000 {
            registry.insert(entry(&format!("{number:04}"), number)).unwrap();
        }
        let page = |after, limit| {
            let query = ListQuery { after, limit, ..ListQuery::default() };
            let page = registry.list(&query, |entry| entry.created_at.0 % 100 == 0);
            assert_eq!(page.total, 10);
            (page.entries.iter().map(|entry| entry.created_at.0).collect::<Vec<_>>(), page.more)
        };
        assert_eq!(page(None, 4), (vec![0, 100, 200, 300], true));
        let after = ListPosition { created_at: Timestamp(0), id: Id::parse("0300").unwrap() };
        assert_eq!(page(Some(after), 6), (vec![400, 500, 600, 700, 800, 900], false));
    }

    #[test]
    fn each_order_pages_through_entries_of_the_same_time_too() {
        let registry = Registry::default();
        for number in 0..1_000_i64 {
            registry.insert(entry(&format!("{:04}", number * 7 % 1_000), number / 10)).unwrap();
        }
        let mut expected: Vec<_> = registry.all().iter().map(|entry| entry.position()).collect();
        for (order, by_age, is_reversed) in [
            (ListOrder::Id, false, false),
            (ListOrder::IdDescending, false, true),
            (ListOrder::CreatedAt, true, false),
            (ListOrder::CreatedAtDescending, true, true),
        ] {
            let key = |position: &ListPosition| (by_age.then_some(position.created_at), position.id.clone());
            expected.sort_by_key(key);
            if is_reversed {
                expected.reverse();
            }
            let (mut found, mut after) = (Vec::<ListPosition>::new(), None);
            loop {
                let page =
                    registry.list(&ListQuery { order, after, limit: 33, ..ListQuery::default() }, |_| true);
                found.extend(page.entries.iter().map(|entry| entry.position()));
                assert_eq!((page.more, page.total), (found.len() < 1_000, 1_000), "{order:?}");
                if !page.more {
                    break;
                }
                after = found.last().cloned();
            }
            assert!(found == expected, "{order:?}");
        }
    }
}
