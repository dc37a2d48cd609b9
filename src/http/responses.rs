//! Responses that several routes give, as the API document shows them.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{Content, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

use super::joins::Join;
use super::problem::Problem;
use crate::contract::Format;
use crate::contract::documented::{Capture, EventStream, Lines, RawPayload};

type Responses = BTreeMap<String, RefOr<Response>>;

/// The problem document that any route may return.
impl IntoResponses for Problem {
    fn responses() -> Responses {
        let content = reference::<Self>();
        let response = ResponseBuilder::new().description("A problem");
        one("default", response.content("application/problem+json", content))
    }
}

/// A membership or responder that was created.
pub(super) struct Created<T>(PhantomData<T>);

impl<T: Join + ToSchema> IntoResponses for Created<T> {
    fn responses() -> Responses {
        one("201", located::<T>(T::CREATED))
    }
}

/// A membership or responder that matches the request.
pub(super) struct Joined<T>(PhantomData<T>);

impl<T: Join + ToSchema> IntoResponses for Joined<T> {
    fn responses() -> Responses {
        let mut responses = one("200", located::<T>("The resource existed before, and matches the request"));
        responses.extend(one("201", located::<T>("Created")));
        responses
    }
}

/// The view of a membership or responder.
pub(super) struct Shown<T>(PhantomData<T>);

impl<T: Join + ToSchema> IntoResponses for Shown<T> {
    fn responses() -> Responses {
        let response = ResponseBuilder::new().description(format!("The {}", T::KIND));
        one("200", view(response).content("application/json", reference::<T>()))
    }
}

/// A log in all formats; `T` is a JSON page of it.
pub(super) struct LogContent<T>(PhantomData<T>);

impl<T: ToSchema> IntoResponses for LogContent<T> {
    fn responses() -> Responses {
        let response = ResponseBuilder::new()
            .description("The log, or a page of it")
            .header("vary", header(Type::String, "`accept`"))
            .header(
                "content-disposition",
                header(SchemaType::from_iter([Type::String, Type::Null]), "A file name for the capture file"),
            )
            .content(Format::Json.media_type(), reference::<T>())
            .content(Format::Sse.media_type(), reference::<EventStream>())
            .content(Format::Ndjson.media_type(), reference::<Lines>())
            .content(Format::Pcapng.media_type(), reference::<Capture>());
        one("200", response)
    }
}

/// The payload of one datagram.
pub(super) struct PayloadContent;

impl IntoResponses for PayloadContent {
    fn responses() -> Responses {
        let response = ResponseBuilder::new().description("The payload");
        one("200", response.content("application/octet-stream", reference::<RawPayload>()))
    }
}

fn one(status: &str, response: ResponseBuilder) -> Responses {
    [(status.to_owned(), response.build().into())].into()
}

/// A resource, with the header that has its path.
fn located<T: Join + ToSchema>(description: &str) -> ResponseBuilder {
    view(ResponseBuilder::new().description(description))
        .header("location", header(Type::String, &format!("The path of the {}", T::KIND)))
        .content("application/json", reference::<T>())
}

/// Adds the headers of every view of a resource.
fn view(response: ResponseBuilder) -> ResponseBuilder {
    response
        .header("etag", header(Type::String, "The tag of the specification, for If-Match"))
        .header("cache-control", header(Type::String, "`no-store`: counters and states change all the time"))
}

fn reference<T: ToSchema>() -> Content {
    Content::new(Some(Ref::from_schema_name(T::name())))
}

fn header(types: impl Into<SchemaType>, description: &str) -> Header {
    let schema = ObjectBuilder::new().schema_type(types);
    HeaderBuilder::new().schema(Some(schema)).description(Some(description)).build()
}
