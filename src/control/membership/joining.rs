//! A request for a membership or a responder, and how one is created: its sockets are opened first, then it enters the
//! registry, and then it hears.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::following::Adopted;
use super::interface_membership::{self, InterfaceMembership, NotJoinedReason, Status};
use super::opening::{JoinTarget, OpenedSocket};
use super::state::{Membership, MembershipContext, MembershipState};
use crate::control::error::ControlError;
use crate::control::interfaces::InterfaceChoice;
use crate::control::registry::{NotInserted, Registry};
use crate::control::resource_kind::ResourceKind;
use crate::control::responder::Responder;
use crate::control::views::Lease;
use crate::model::{
    ClockReading, Group, Id, InterfaceTable, Labels, MembershipSpec, ResponderRules, Retention, Revision,
    SourceFilter,
};

/// A request for a membership or, with rules, for a responder.
#[derive(Debug, Clone)]
pub struct JoinRequest {
    pub group: Group,
    pub interfaces: InterfaceChoice,
    pub allow_missing: bool,
    pub sources: SourceFilter,
    pub exact_drops: bool,
    pub retention: Retention,
    pub labels: Labels,
    pub lease: RequestedLease,
    /// The request comes from the configuration file.
    pub declared: bool,
    /// Present exactly for responders.
    pub rules: Option<ResponderRules>,
}

/// What a request makes of the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestedLease {
    None,
    /// It starts now, and lasts this long.
    For(Duration),
    /// It stays as it is. A new membership has none.
    Unchanged,
}

impl From<Option<Duration>> for RequestedLease {
    fn from(lease: Option<Duration>) -> Self {
        lease.map_or(Self::None, Self::For)
    }
}

impl RequestedLease {
    /// The lease after a request at this time.
    pub(super) fn apply(self, before: Option<Lease>, now: ClockReading) -> Option<Lease> {
        match self {
            Self::None => None,
            Self::For(duration) => Some(Lease::starting(now, duration)),
            Self::Unchanged => before,
        }
    }
}

impl JoinRequest {
    pub(super) fn kind(&self) -> ResourceKind {
        if self.rules.is_some() { ResourceKind::Responder } else { ResourceKind::Membership }
    }
}

/// A membership whose sockets are open, and which is not in the registry and replies to nothing yet.
pub(in crate::control) struct NewMembership {
    membership: Arc<Membership>,
    opened: Vec<OpenedSocket>,
    table: Arc<InterfaceTable>,
}

impl Membership {
    /// Opens the sockets of a new membership; on failure none stays open.
    pub(in crate::control) fn prepare(
        id: Id,
        spec: MembershipSpec,
        request: &JoinRequest,
        responder: Option<Arc<Responder>>,
        context: MembershipContext,
        table: Arc<InterfaceTable>,
    ) -> Result<NewMembership, ControlError> {
        let targets =
            interface_membership::target_interfaces(&spec.interfaces, spec.group.family(), &table, &[]);
        if let Some(responder) = &responder {
            let there: Vec<_> = targets.iter().filter_map(|(_, interface)| interface.clone()).collect();
            responder.active().prepare(&spec.group, &there)?;
        }
        let as_target = |(name, interface)| JoinTarget { name, interface, counters: Arc::default() };
        let targets: Vec<_> = targets.into_iter().map(as_target).collect();
        let interfaces = targets.iter().map(InterfaceMembership::being_joined).collect();
        let opened = context.opener(&spec, &table).open_or_refuse(targets)?;
        let now = context.sockets.clock();
        let state = MembershipState {
            declared: request.declared,
            lease: request.lease.apply(None, now),
            interfaces,
            is_only_loopback: table.is_only_loopback(spec.group.family()),
            ..MembershipState::new(context.new_log(&spec), spec, Revision::first(now.real))
        };
        let membership = Self {
            id,
            created_at: now.real,
            responder,
            context,
            updating: tokio::sync::Mutex::default(),
            state: Mutex::new(state),
        };
        Ok(NewMembership { membership: Arc::new(membership), opened, table })
    }
}

impl NewMembership {
    /// Enters it into the registry, and only then lets it receive and reply.
    pub(in crate::control) fn publish(
        self,
        registry: &Registry<Membership>,
    ) -> Result<Arc<Membership>, NotInserted> {
        let Self { membership, opened, table } = self;
        let updating = membership.updating.try_lock().expect("no other task knows it yet");
        registry.insert_new(membership.clone())?;
        let (epoch, spec, sink_target) = {
            let state = membership.state();
            (state.epoch, state.spec.clone(), membership.sink_target(&state))
        };
        let registered = membership.context.opener(&spec, &table).register_all(opened, &sink_target);
        let mut state = membership.state();
        let Adopted { unused, .. } = state.adopt(epoch, registered, &table);
        membership.begin_reports(&mut state);
        drop(state);
        membership.close(unused);
        drop(updating);
        Ok(membership)
    }
}

impl InterfaceMembership {
    fn being_joined(target: &JoinTarget) -> Self {
        let loopback = target.interface.as_ref().is_some_and(|interface| interface.loopback);
        let status = Status::Pending(NotJoinedReason::BeingJoined);
        Self::new(target.name.clone(), status, target.counters.clone(), loopback)
    }
}
