//! Any body is either a valid request, or it is refused with a problem document that points at the invalid field.
//!
//! The first line of the input is `message`, `membership`, `responder` or `log-filter`, or the query of a message
//! whose body is its payload; the rest is the body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rollcall::control::JoinRequest;
use rollcall::http::fuzzing;
use rollcall::logging::LogFilter;
use rollcall::model::{MessageSpec, ResponderRules, check_attempts, check_datagram};
use serde_json::Value;

fuzz_target!(|input: &[u8]| {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (head, body) = (&input[..end], input.get(end + 1..).unwrap_or_default());
    let refused = match head {
        b"message" => fuzzing::message(body).map(|spec| check_message(&spec)),
        b"membership" => fuzzing::membership(body).map(|request| assert!(request.rules.is_none())),
        b"responder" => fuzzing::responder(body).map(|request| check_responder(&request, body)),
        b"log-filter" => {
            let _ = LogFilter::check(&String::from_utf8_lossy(body));
            return;
        }
        query => {
            let query = String::from_utf8_lossy(query);
            fuzzing::raw_message(&query, body).map(|spec| {
                assert_eq!(spec.payload, body);
                check_message(&spec);
            })
        }
    };
    if let Err(document) = refused {
        check_refusal(&document);
    }
});

/// It is legal, and comes back from disk as it went there.
fn check_message(spec: &MessageSpec) {
    assert_eq!(check_datagram(&spec.group, spec.payload.len(), spec.source), Ok(()));
    let MessageSpec { window, repeat, track_attempts, source_port, .. } = *spec;
    assert_eq!(check_attempts(window, repeat, track_attempts, source_port), Ok(()));
    let kept = serde_json::to_vec(spec).expect("it is kept");
    assert_eq!(serde_json::from_slice::<MessageSpec>(&kept).expect("it comes back"), *spec);
}

/// It comes back from disk as it went there, and can look at any datagram.
fn check_responder(request: &JoinRequest, datagram: &[u8]) {
    let rules = request.rules.as_ref().expect("a responder has rules");
    assert!(!rules.delay.0.is_empty());
    assert!(rules.matches.search(datagram).bytes <= datagram.len());
    let kept = serde_json::to_vec(rules).expect("it is kept");
    assert_eq!(serde_json::from_slice::<ResponderRules>(&kept).expect("it comes back"), *rules);
}

fn check_refusal(document: &[u8]) {
    let document: Value = serde_json::from_slice(document).expect("JSON");
    assert!((400..500).contains(&document["status"].as_u64().expect("a status")), "{document}");
    let errors = document["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    for error in errors {
        let pointer = error["pointer"].as_str().expect("a pointer");
        assert!(pointer.is_empty() || pointer.starts_with('/'), "{document}");
    }
}
