//! Datagrams of memberships, or responses to messages.

use serde::Serialize;

use crate::contract::Encoding;
use crate::contract::datagrams::{Datagram, Response};
use crate::control::ResourceKind;
use crate::store::Entry;

/// The kind of entries in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Items {
    Datagrams,
    Responses,
}

/// A datagram as its owner shows it.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Item {
    Datagram(Datagram),
    Response(Response),
}

impl Items {
    pub fn of(kind: ResourceKind) -> Self {
        match kind {
            ResourceKind::Membership | ResourceKind::Responder => Self::Datagrams,
            ResourceKind::Message => Self::Responses,
        }
    }

    /// The name of an entry.
    pub fn name(self) -> &'static str {
        match self {
            Self::Datagrams => "datagram",
            Self::Responses => "response",
        }
    }

    pub fn show(self, entry: &Entry<'_>, encoding: Encoding) -> Item {
        match self {
            Self::Datagrams => Item::Datagram(Datagram::of(entry, encoding)),
            Self::Responses => Item::Response(Response::of(entry, encoding)),
        }
    }
}
