//! The format that a client requests: by `?format=`, or by `Accept` (RFC 9110 section 12.5.1).

use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

use crate::contract::Format;
use crate::http::problem::{Problem, ProblemKind};

/// The first format of `Accept` that is in `among`; an exact type precedes a range. The first of `among` if the client
/// accepts anything.
pub(in crate::http) fn negotiate(headers: &HeaderMap, among: &[Format]) -> Result<Format, Problem> {
    let lines: Vec<_> =
        headers.get_all(header::ACCEPT).iter().map(|line| line.to_str().unwrap_or_default()).collect();
    let accepted: Vec<_> = lines.iter().flat_map(|line| line.split(',')).filter_map(essence).collect();
    if accepted.is_empty() {
        return Ok(among[0]);
    }
    let named = accepted
        .iter()
        .find_map(|accepted| among.iter().find(|format| accepted.eq_ignore_ascii_case(format.media_type())));
    let ranged = || accepted.iter().find_map(|range| among.iter().find(|format| is_in(**format, range)));
    named.or_else(ranged).copied().ok_or_else(|| {
        let had: Vec<_> = among.iter().map(|format| format.media_type()).collect();
        let detail = format!("`accept: {}` names no available format: {}", lines.join(", "), had.join(", "));
        Problem::new(ProblemKind::NotAcceptable, detail)
    })
}

/// Says that the response depends on `Accept`.
pub(in crate::http) fn varying(response: impl IntoResponse) -> Response {
    ([(header::VARY, "accept")], response).into_response()
}

fn is_in(format: Format, range: &str) -> bool {
    let (kind, _) = format.media_type().split_once('/').unwrap_or_default();
    let of_kind = |kind: &str| range.strip_suffix("/*").is_some_and(|of| of.eq_ignore_ascii_case(kind));
    of_kind("*") || of_kind(kind)
}

/// A media range without its parameters; none if it is empty or excluded by `q=0`.
fn essence(range: &str) -> Option<&str> {
    let mut parts = range.split(';').map(str::trim);
    let essence = parts.next().filter(|essence| !essence.is_empty())?;
    let weight = parts.find_map(|parameter| parameter.strip_prefix("q=").or(parameter.strip_prefix("Q=")));
    let refused = weight.is_some_and(|weight| weight.parse() == Ok(0.0_f32));
    (!refused).then_some(essence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_selects_the_first_requested_format() {
        for (accept, expected) in [
            (&[][..], Some(Format::Json)),
            (&[""], Some(Format::Json)),
            (&["*/*"], Some(Format::Json)),
            (&["application/*"], Some(Format::Json)),
            (&["text/*"], Some(Format::Sse)),
            (&["Text/Event-Stream"], Some(Format::Sse)),
            (&["*/*, application/x-ndjson;q=0.5"], Some(Format::Ndjson)),
            (&["text/html, application/xml;q=0.9, */*;q=0.8"], Some(Format::Json)),
            (&["text/html", "application/x-pcapng; x=y"], Some(Format::Pcapng)),
            (&["text/html"], None),
            (&["text/html, application/json;q=0"], None),
            (&["application"], None),
        ] {
            let mut headers = HeaderMap::new();
            for line in accept {
                headers.append(header::ACCEPT, line.parse().unwrap());
            }
            assert_eq!(negotiate(&headers, Format::LOGS).ok(), expected, "{accept:?}");
        }
    }
}
