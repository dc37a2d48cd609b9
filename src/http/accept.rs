//! Which media type a client prefers (RFC 9110 section 12.5.1).

use axum::http::{HeaderMap, header};
use headers_accept::Accept;
use mediatype::{MediaType, MediaTypeList, ReadParams, names};

/// The place of the media type that has the highest weight, which the most specific range of `Accept` gives it; of several,
/// of the one that the client names most specifically, or first. Without `Accept`, the first. The error is the `Accept`
/// that names none of them.
pub(super) fn preferred(headers: &HeaderMap, available: &[&str]) -> Result<usize, String> {
    let lines: Vec<_> =
        headers.get_all(header::ACCEPT).iter().map(|line| line.to_str().unwrap_or_default()).collect();
    let lines = lines.join(", ");
    if lines.trim().is_empty() {
        return Ok(0);
    }
    // What is no media range names nothing.
    let ranges: Vec<_> = MediaTypeList::new(&lines).flatten().map(|range| weighted(&range)).collect();
    let accept = ranges.join(",").parse::<Accept>().ok();
    let types: Vec<_> = available.iter().flat_map(|text| MediaType::parse(text)).collect();
    let best = accept.as_ref().and_then(|accept| accept.negotiate(&types));
    types.iter().position(|parsed| Some(parsed) == best).ok_or(lines)
}

/// A media range with its weight alone: no available type has parameters, and a client that names some gets the type
/// without them.
fn weighted(range: &MediaType<'_>) -> String {
    let mut text = range.essence().to_string();
    if let Some(weight) = range.get_param(names::Q) {
        text.push_str(";q=");
        text.push_str(weight.as_str());
    }
    text
}
