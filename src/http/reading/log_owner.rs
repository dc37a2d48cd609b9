//! The owner of the log that is read.

use std::sync::Arc;

use crate::control::{Control, ControlError, Membership, Message, ResourceKind};
use crate::model::Id;
use crate::rendering::Items;
use crate::store::Log;

/// A log and its owner, kept alive as long as the request reads.
pub(in crate::http) enum LogOwner {
    /// The log that a membership or responder had when reading began. If its group changes, it gets another log.
    Joined(Arc<Membership>, Arc<Log>),
    Message(Arc<Message>),
}

impl LogOwner {
    pub(in crate::http) fn find(
        control: &Control,
        kind: ResourceKind,
        id: &Id,
    ) -> Result<Self, ControlError> {
        match kind {
            ResourceKind::Membership | ResourceKind::Responder => {
                let membership = control.membership(kind, id)?;
                let log = membership.log();
                Ok(Self::Joined(membership, log))
            }
            ResourceKind::Message => control.message(id).map(Self::Message),
        }
    }

    pub(super) fn id(&self) -> &Id {
        match self {
            Self::Joined(membership, _) => membership.id(),
            Self::Message(message) => message.id(),
        }
    }

    pub(super) fn kind(&self) -> ResourceKind {
        match self {
            Self::Joined(membership, _) => membership.kind(),
            Self::Message(_) => ResourceKind::Message,
        }
    }

    pub(super) fn log(&self) -> &Arc<Log> {
        match self {
            Self::Joined(_, log) => log,
            Self::Message(message) => message.log(),
        }
    }

    pub(super) fn dropped_buffers(&self) -> u64 {
        match self {
            Self::Joined(membership, _) => membership.dropped_buffers(),
            Self::Message(message) => message.dropped_buffers(),
        }
    }

    pub(super) fn items(&self) -> Items {
        Items::of(self.kind())
    }
}
