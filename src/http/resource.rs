//! The kinds of resources, each by the view that clients get of it, with the parameters and the header that name one.

use std::marker::PhantomData;

use axum::http::{HeaderName, header};
use utoipa::openapi::Required;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::{IntoParams, PartialSchema};

use crate::contract::datagrams::ItemKind;
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

/// What follows the id in a path, as it is below a resource of another kind; none if that has nothing like it.
pub(super) fn same_below(path: &str, kind: ResourceKind) -> Option<String> {
    let rest = path.splitn(5, '/').nth(4)?;
    let (first, after) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match (kind, first) {
        (ResourceKind::Message, "datagrams" | "responses") => Some(format!("/responses{after}")),
        (_, "datagrams" | "responses") => Some(format!("/datagrams{after}")),
        (ResourceKind::Membership | ResourceKind::Responder, "renew") => Some("/renew".to_owned()),
        _ => None,
    }
}

/// `{id}` of a resource.
pub(super) struct IdParam<T>(PhantomData<T>);

impl<T: Resource> IntoParams for IdParam<T> {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let pattern = "^[a-z0-9][a-z0-9._-]{0,62}$";
        let schema = ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern));
        let id = in_path("id", "The id, chosen by the client or by the service").schema(Some(schema));
        vec![id.example(Some(T::EXAMPLE_ID.into())).build()]
    }
}

/// `{id}` of a resource, and `{seq}` of a datagram in its log.
pub(super) struct DatagramParams<T>(PhantomData<T>);

impl<T: Resource> IntoParams for DatagramParams<T> {
    fn into_params(parameter_in: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let description = format!("The {}'s `seq`", ItemKind::of(T::KIND).name());
        let sequence = in_path("seq", &description).schema(Some(u64::schema())).example(Some(1.into()));
        let mut parameters = IdParam::<T>::into_params(parameter_in);
        parameters.push(sequence.build());
        parameters
    }
}

fn in_path(name: &str, description: &str) -> ParameterBuilder {
    let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Path);
    parameter.required(Required::True).description(Some(description))
}
