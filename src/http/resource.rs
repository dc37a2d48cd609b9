//! The kinds of resources, each by the view that clients get of it.

use axum::http::{HeaderName, header};

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
    [(header::LOCATION, format!("{}/{id}", list_path(kind)))]
}

/// The path of the list of the resources of a kind; each is below it, by its id.
pub(super) fn list_path(kind: ResourceKind) -> &'static str {
    match kind {
        ResourceKind::Membership => "/v1/memberships",
        ResourceKind::Responder => "/v1/responders",
        ResourceKind::Message => "/v1/messages",
    }
}
