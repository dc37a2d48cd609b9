//! Parameters that several routes take, as the API document shows them.

use std::marker::PhantomData;

use utoipa::openapi::Required;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::resource::Resource;
use crate::contract::datagrams::ItemKind;

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

#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "the handler reads the headers; this is the documentation")]
pub(super) struct LastEventId {
    /// The `id` of the last event that the client received: the stream resumes after it. Overrides `after`
    #[param(rename = "last-event-id", nullable = false, example = "1d60f7e7ade273a1-2")]
    id: Option<String>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "the handler reads the headers; this is the documentation")]
pub(super) struct PreferWait {
    /// `wait=N`: wait up to N seconds, at most 60
    #[param(nullable = false, example = "wait=5")]
    prefer: Option<String>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "the handler reads the headers; this is the documentation")]
pub(super) struct IfNoneMatch {
    /// `*`: only create; the service responds with 412 if the resource exists
    #[param(rename = "if-none-match", inline, nullable = false, example = "*")]
    condition: Option<OnlyCreate>,
}

/// Only create (RFC 9110 section 13.1.2).
#[derive(ToSchema)]
#[expect(dead_code, reason = "the handler reads the headers; this is the schema")]
enum OnlyCreate {
    #[schema(rename = "*")]
    Any,
}
