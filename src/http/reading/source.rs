//! The owner of the log that is read.

use std::sync::Arc;

use serde::Serialize;

use super::datagram::{Datagram, Response};
use crate::control::{Membership, Message, ResourceKind};
use crate::http::fields::Encoding;
use crate::model::Id;
use crate::store::{Entry, Log};

/// A log and its owner, kept alive as long as the request reads.
pub(in crate::http) enum Source {
    /// The log that a membership or responder had when reading began. If its group changes, it gets another log.
    Heard(Arc<Membership>, Arc<Log>),
    Answered(Arc<Message>),
}

/// The kind of entries in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Items {
    Datagrams,
    Responses,
}

/// A datagram as its owner shows it.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Item {
    Datagram(Datagram),
    Response(Response),
}

impl From<Arc<Membership>> for Source {
    fn from(membership: Arc<Membership>) -> Self {
        let log = membership.log();
        Self::Heard(membership, log)
    }
}

impl From<Arc<Message>> for Source {
    fn from(message: Arc<Message>) -> Self {
        Self::Answered(message)
    }
}

impl Source {
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
        match self {
            Self::Heard(..) => Items::Datagrams,
            Self::Answered(_) => Items::Responses,
        }
    }
}

impl Items {
    pub(super) fn of(kind: ResourceKind) -> Self {
        match kind {
            ResourceKind::Membership | ResourceKind::Responder => Self::Datagrams,
            ResourceKind::Message => Self::Responses,
        }
    }

    /// The name of an entry.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Datagrams => "datagram",
            Self::Responses => "response",
        }
    }

    pub(super) fn show(self, entry: &Entry<'_>, encoding: Encoding) -> Item {
        match self {
            Self::Datagrams => Item::Datagram(Datagram::of(entry, encoding)),
            Self::Responses => Item::Response(Response::of(entry, encoding)),
        }
    }
}
