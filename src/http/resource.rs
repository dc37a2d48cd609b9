//! The kinds of resources, each by the view that clients get of it.

use axum::http::{HeaderName, header};

use super::paths;
use crate::contract::memberships::Membership;
use crate::contract::messages::Message;
use crate::contract::responders::Responder;
use crate::control::ResourceKind;
use crate::model::Id;

pub(super) trait Resource {
    const KIND: ResourceKind;
    /// An id in the examples of the API document.
    const EXAMPLE_ID: &'static str;
}

impl Resource for Membership {
    const KIND: ResourceKind = ResourceKind::Membership;
    const EXAMPLE_ID: &'static str = "monitor";
}

impl Resource for Responder {
    const KIND: ResourceKind = ResourceKind::Responder;
    const EXAMPLE_ID: &'static str = "lamp";
}

impl Resource for Message {
    const KIND: ResourceKind = ResourceKind::Message;
    const EXAMPLE_ID: &'static str = "roll-1";
}

/// The header with the path of a resource.
pub(super) fn location(kind: ResourceKind, id: &Id) -> [(HeaderName, String); 1] {
    [(header::LOCATION, format!("{}/{id}", paths::of(kind)))]
}
