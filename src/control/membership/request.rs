//! Requests for memberships and responders, from clients and from the configuration file.

use std::time::Duration;

use crate::control::interfaces::InterfaceChoice;
use crate::control::resource_kind::ResourceKind;
use crate::model::{Group, ResponderRules, Retention, SourceFilter};

/// A request for a membership or, with rules, for a responder.
#[derive(Debug, Clone)]
pub struct JoinRequest {
    pub group: Group,
    pub interfaces: InterfaceChoice,
    pub allow_missing: bool,
    pub sources: SourceFilter,
    pub exact_drops: bool,
    pub retention: Retention,
    pub lease: Option<Duration>,
    /// The request comes from the configuration file.
    pub declared: bool,
    /// Present exactly for responders.
    pub rules: Option<ResponderRules>,
}

impl JoinRequest {
    pub(super) fn kind(&self) -> ResourceKind {
        if self.rules.is_some() { ResourceKind::Responder } else { ResourceKind::Membership }
    }
}
