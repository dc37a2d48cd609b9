//! The kinds of resources.

use std::fmt;

/// The kinds of resources that clients create.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResourceKind {
    Membership,
    Responder,
    Message,
}

impl ResourceKind {
    pub const ALL: [Self; 3] = [Self::Membership, Self::Responder, Self::Message];

    /// The name in events, logs and the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Membership => "membership",
            Self::Responder => "responder",
            Self::Message => "message",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for ResourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
