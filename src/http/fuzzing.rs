//! For the fuzz targets in `tests/fuzz`: the parsing of a request, before it has any effect.

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::Request;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::FutureExt;

use super::events::EventReading;
use super::extract::{PreferredWait, Query};
use super::problem::Problem;
use super::reading::Reading;
use crate::contract::datagrams::{Datagram, Response as ResponseView};
use crate::contract::lists::{JoinListParams, ListParams};
use crate::contract::{
    BodyError, Encoding, FieldError, FieldErrors, MembershipBody, MessageBody, MessageRequest, Parsed,
    RawOptions, ResponderBody, messages, parse_json, parse_query,
};
use crate::control::JoinRequest;
use crate::model::{Interfaces, MessageSpec};
use crate::store::Entry;

/// The problem document of an invalid request.
pub type RenderedProblem = Vec<u8>;

/// The JSON body of a message.
pub fn message(body: &[u8]) -> Result<MessageSpec, RenderedProblem> {
    read_body(parse_json(body), MessageBody::read).map(spec)
}

/// The query and the body of a message whose body is its payload.
pub fn raw_message(query: &str, payload: &[u8]) -> Result<MessageSpec, RenderedProblem> {
    let parsed = parse_query::<RawOptions>(query);
    let request = parsed.and_then(|(options, errors)| options.read(Bytes::copy_from_slice(payload), errors));
    request.map(spec).map_err(|errors| document(&Problem::of_parameters(errors)))
}

/// The body of a membership.
pub fn membership(body: &[u8]) -> Result<JoinRequest, RenderedProblem> {
    read_body(parse_json(body), MembershipBody::read)
}

/// The body of a responder.
pub fn responder(body: &[u8]) -> Result<JoinRequest, RenderedProblem> {
    read_body(parse_json(body), ResponderBody::read)
}

fn read_body<T, R>(
    body: Result<Parsed<T>, BodyError>,
    read: impl FnOnce(T, FieldErrors) -> Result<R, Vec<FieldError>>,
) -> Result<R, RenderedProblem> {
    let body = body.map_err(Problem::from);
    body.and_then(|(body, errors)| read(body, errors).map_err(Problem::of_fields))
        .map_err(|problem| document(&problem))
}

/// The resources that a GET can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    Log,
    Events,
    Memberships,
    Messages,
}

/// Parses a GET that reads. If the HTTP library rejects the query or the headers, returns `Ok`, because the service
/// never receives such a request.
pub fn read(what: Reads, query: &str, headers: &[(&str, &str)]) -> Result<(), RenderedProblem> {
    let Some(mut parts) = parts(query, headers) else { return Ok(()) };
    let _ = extract::<PreferredWait>(&mut parts);
    match what {
        Reads::Log => extract::<Reading>(&mut parts).map(drop),
        Reads::Events => extract::<EventReading>(&mut parts).map(drop),
        Reads::Memberships => {
            let params = extract::<Query<JoinListParams>>(&mut parts)?;
            params.0.query(params.1).map(drop).map_err(|errors| document(&Problem::of_parameters(errors)))
        }
        Reads::Messages => {
            let params = extract::<Query<ListParams<messages::State>>>(&mut parts)?;
            params.0.query(params.1).map(drop).map_err(|errors| document(&Problem::of_parameters(errors)))
        }
    }
}

/// A logged datagram as pages and streams show it.
pub fn shown(entry: &Entry<'_>) -> Vec<u8> {
    let shown = if entry.response.is_some() {
        serde_json::to_vec(&ResponseView::of(entry, Encoding::Auto))
    } else {
        serde_json::to_vec(&Datagram::of(entry, Encoding::Auto))
    };
    shown.expect("all values have a JSON form")
}

fn spec(request: MessageRequest) -> MessageSpec {
    request.on(Interfaces::Default)
}

fn parts(query: &str, headers: &[(&str, &str)]) -> Option<Parts> {
    let mut request = Request::get(format!("/?{query}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).ok().map(|request| request.into_parts().0)
}

fn extract<T: FromRequestParts<()>>(parts: &mut Parts) -> Result<T, RenderedProblem> {
    let extracted = T::from_request_parts(parts, &()).now_or_never().expect("the extractor does not wait");
    extracted.map_err(|rejection| problem_of(&rejection.into_response()))
}

fn problem_of(response: &Response) -> RenderedProblem {
    document(response.extensions().get::<Problem>().expect("a problem"))
}

fn document(problem: &Problem) -> RenderedProblem {
    serde_json::to_vec(problem).expect("all values have a JSON form")
}
