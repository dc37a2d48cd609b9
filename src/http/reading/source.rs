//! The owner of the log that is read.

use std::sync::Arc;

use crate::control::{Control, ControlError, Membership, Message, ResourceKind};
use crate::model::Id;
use crate::rendering::Items;
use crate::store::Log;

/// A log and its owner, kept alive as long as the request reads.
pub(in crate::http) enum Source {
    /// The log that a membership or responder had when reading began. If its group changes, it gets another log.
    Heard(Arc<Membership>, Arc<Log>),
    Answered(Arc<Message>),
}

impl Source {
    pub(in crate::http) fn find(
        control: &Control,
        kind: ResourceKind,
        id: &Id,
    ) -> Result<Self, ControlError> {
        match kind {
            ResourceKind::Membership | ResourceKind::Responder => {
                let membership = control.membership(kind, id)?;
                let log = membership.log();
                Ok(Self::Heard(membership, log))
            }
            ResourceKind::Message => control.message(id).map(Self::Answered),
        }
    }

    pub(super) fn id(&self) -> &Id {
        match self {
            Self::Heard(membership, _) => membership.id(),
            Self::Answered(message) => message.id(),
        }
    }

    pub(super) fn kind(&self) -> ResourceKind {
        match self {
            Self::Heard(membership, _) => membership.kind(),
            Self::Answered(_) => ResourceKind::Message,
        }
    }

    pub(super) fn log(&self) -> &Arc<Log> {
        match self {
            Self::Heard(_, log) => log,
            Self::Answered(message) => message.log(),
        }
    }

    pub(super) fn dropped_buffers(&self) -> u64 {
        match self {
            Self::Heard(membership, _) => membership.dropped_buffers(),
            Self::Answered(message) => message.dropped_buffers(),
        }
    }

    pub(super) fn items(&self) -> Items {
        Items::of(self.kind())
    }
}
