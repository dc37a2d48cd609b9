//! The groups that this service is in.

use std::collections::BTreeMap;
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

impl Control {
    /// All groups with their members.
    pub fn groups(&self) -> BTreeMap<Group, GroupView> {
        let mut groups = BTreeMap::<Group, GroupView>::new();
        for membership in self.0.memberships.all() {
            groups.entry(membership.group()).or_default().add(&membership);
        }
        for responder in self.0.responders.all() {
            groups.entry(responder.group()).or_default().add(&responder);
        }
        groups
    }
}

impl GroupView {
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
