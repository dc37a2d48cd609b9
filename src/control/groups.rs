//! The groups that this service is in.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::membership::Membership;
use super::shared::Control;
use super::views::JoinState;
use crate::model::{Group, Id};

/// A multicast group, with the memberships and responders that this service has in it.
#[derive(Debug, Clone, Default)]
pub struct GroupView {
    pub memberships: Vec<Id>,
    pub responders: Vec<Id>,
    /// Interfaces on which at least one of those is joined; sorted.
    pub interfaces: Vec<Arc<str>>,
    /// Datagrams and payload bytes appended to their logs, and buffers that the kernel dropped.
    pub datagrams: u64,
    pub bytes: u64,
    pub dropped_buffers: u64,
}

/// Selects groups, which are in the order of their addresses.
#[derive(Debug, Clone, Copy)]
pub struct GroupQuery {
    pub after: Option<Group>,
    pub group: Option<Group>,
    pub limit: usize,
}

/// The result of a query for groups.
pub struct GroupPage {
    pub groups: Vec<(Group, GroupView)>,
    /// Whether further groups follow.
    pub more: bool,
    /// How many groups the query selects, on all pages.
    pub total: usize,
}

impl Control {
    /// A page of the groups, with their members.
    pub fn groups(&self, query: &GroupQuery) -> GroupPage {
        let mut groups = BTreeMap::<Group, Vec<Arc<Membership>>>::new();
        for membership in self.0.all_memberships() {
            let group = membership.group();
            if query.group.is_none_or(|only| only == group) {
                groups.entry(group).or_default().push(membership);
            }
        }
        let after = query.after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = groups.range((after, Bound::Unbounded));
        let page = rest.by_ref().take(query.limit).map(|(group, members)| (*group, GroupView::of(members)));
        GroupPage { groups: page.collect(), more: rest.next().is_some(), total: groups.len() }
    }

    /// The group with its members; none if it has none.
    pub fn group(&self, group: Group) -> Option<GroupView> {
        let query = GroupQuery { after: None, group: Some(group), limit: 1 };
        self.groups(&query).groups.pop().map(|(_, view)| view)
    }
}

impl GroupView {
    fn of(members: &[Arc<Membership>]) -> Self {
        let mut view = Self::default();
        for member in members {
            view.add(member);
        }
        view
    }

    fn add(&mut self, membership: &Membership) {
        let view = membership.view();
        if view.responder.is_some() { &mut self.responders } else { &mut self.memberships }.push(view.id);
        for interface in view.interfaces.iter().filter(|interface| interface.state == JoinState::Joined) {
            if let Err(at) = self.interfaces.binary_search(&interface.name) {
                self.interfaces.insert(at, interface.name.clone());
            }
        }
        self.datagrams += view.log.appended;
        self.bytes += view.log.payload_bytes;
        self.dropped_buffers += view.dropped_buffers;
    }
}
