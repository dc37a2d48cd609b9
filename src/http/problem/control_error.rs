//! Errors of the core as problems: with the field to change, and a hint in the terms of the API.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use super::{Problem, ProblemKind};
use crate::contract::FieldError;
use crate::control::{ControlError, Done, Purpose, ResourceKind, UnknownInterface};
use crate::http::resource::list_path;
use crate::model::{InterfaceRef, NotHearing, can_appear};

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Self {
        let detail = match hint(&error) {
            Some(hint) => format!("{error}: {hint}"),
            None => error.to_string(),
        };
        if let ControlError::UnknownInterfaces { unknown, purpose } = &error {
            let errors = unknown.iter().map(|unknown| unknown_interface(unknown, *purpose));
            return Self::wrong(ProblemKind::UnknownInterface, errors.collect());
        }
        let problem = |kind| Self::new(kind, detail.clone());
        match error {
            ControlError::NotFound { elsewhere, .. } => Self { elsewhere, ..problem(ProblemKind::NotFound) },
            ControlError::Exists { .. } => problem(ProblemKind::AlreadyExists),
            ControlError::OtherRevision { .. } => problem(ProblemKind::PreconditionFailed),
            ControlError::NoLease { .. } => problem(ProblemKind::NoLease),
            ControlError::OtherBody { .. } => problem(ProblemKind::IdTaken),
            ControlError::TooMany { .. } | ControlError::TooLarge { .. } => problem(ProblemKind::TooMany),
            ControlError::ExpectsTooMany { .. } => problem(ProblemKind::InvalidRequest).at("/expect"),
            ControlError::UnknownInterfaces { .. } => problem(ProblemKind::UnknownInterface),
            ControlError::ZoneDiffers { .. } => problem(ProblemKind::InvalidRequest).at("/interfaces"),
            ControlError::InterfaceDown { .. } | ControlError::Unusable(NotHearing::NoCarrier(_)) => {
                problem(ProblemKind::InterfaceDown).at("/interfaces")
            }
            ControlError::InterfaceGone { .. } => problem(ProblemKind::UnknownInterface).at("/interfaces"),
            ControlError::ReachesNobody { .. } => problem(ProblemKind::InvalidRequest).at("/loopback"),
            ControlError::Unusable(_) | ControlError::NoAddress { .. } => {
                problem(ProblemKind::NoAddress).at("/interfaces")
            }
            ControlError::NoRoute { .. } | ControlError::NoRouteBy { .. } => {
                problem(ProblemKind::NoRoute).at("/interfaces")
            }
            ControlError::RouteRefused { .. } => problem(ProblemKind::RouteRefused).at("/interfaces"),
            ControlError::SourceNotThere { .. } | ControlError::SourceAmbiguous { .. } => {
                problem(ProblemKind::AddressNotLocal).at("/source")
            }
            ControlError::AddressNotLocal { .. } => {
                problem(ProblemKind::AddressNotLocal).at("/reply_from/address")
            }
            ControlError::AddressFamily { .. } => {
                problem(ProblemKind::InvalidRequest).at("/reply_from/address")
            }
            ControlError::PortInUse { purpose, .. } => {
                problem(ProblemKind::PortInUse).at(port_field(purpose))
            }
            ControlError::PortDenied { purpose, .. } => {
                problem(ProblemKind::PermissionDenied).at(port_field(purpose))
            }
            ControlError::TooManySources { .. } => problem(ProblemKind::TooManySources).at("/sources"),
            ControlError::Denied(_) => problem(ProblemKind::PermissionDenied),
            ControlError::Descriptors(_) => problem(ProblemKind::OutOfDescriptors),
            ControlError::PatternMemory { .. } => problem(ProblemKind::PatternMemory).at("/match/regex"),
            ControlError::RepeatTooLong { .. } => problem(ProblemKind::InvalidRequest).at("/repeat"),
            ControlError::TooLong { .. } | ControlError::TooManyFragments { .. } => {
                problem(ProblemKind::InvalidRequest).at("/payload")
            }
            ControlError::Failed(_) | ControlError::NoRoom { .. } | ControlError::TooManyGroups { .. } => {
                problem(ProblemKind::NetworkFailure)
            }
            ControlError::Stopping => problem(ProblemKind::Stopping),
            ControlError::TimedOut { done } => Self::timeout(detail, done),
        }
    }
}

fn port_field(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Join => "/group",
        Purpose::Send => "/source_port",
        Purpose::Reply => "/reply_from/port",
    }
}

const LISTED: &str = "GET /v1/interfaces lists them";

fn unknown_interface(unknown: &UnknownInterface, purpose: Purpose) -> FieldError {
    let pointer =
        unknown.position.map_or_else(|| "/group".to_owned(), |position| format!("/interfaces/{position}"));
    let hint: Cow<'static, str> = match (&unknown.reference, purpose) {
        (InterfaceRef::Name(name), Purpose::Join) if is_any(name) => {
            "to join on all, leave `interfaces` out".into()
        }
        (InterfaceRef::Name(name), _) if is_any(name) => {
            "to send where the routing table says, leave `interfaces` out".into()
        }
        (InterfaceRef::Name(name), _) if name.parse::<IpAddr>().is_ok() => {
            "write the name of the interface that has this address: GET /v1/interfaces shows both".into()
        }
        (InterfaceRef::Name(name), Purpose::Join) if can_appear(name) => {
            format!("{LISTED}; to wait for one, write \"allow_missing\": true").into()
        }
        (_, Purpose::Join) => format!("{LISTED}; write its name: only a name can be waited for").into(),
        _ => LISTED.into(),
    };
    FieldError::new(pointer, unknown).hint(hint)
}

/// What a client can do, unless the core's error already says so.
fn hint(error: &ControlError) -> Option<Cow<'static, str>> {
    Some(match error {
        ControlError::NotFound { id, elsewhere: Some(kind), .. } => {
            format!("`{id}` is a {kind}: use {}/{id}", list_path(*kind)).into()
        }
        ControlError::NotFound { kind, .. } => format!("list them with GET {}", list_path(*kind)).into(),
        ControlError::TooMany { kind, .. } => match kind {
            ResourceKind::Membership => "delete some, or raise --max-memberships".into(),
            ResourceKind::Responder => "delete some, or raise --max-responders".into(),
            ResourceKind::Message => "cancel some, wait until some are closed, or raise --max-collecting".into(),
        },
        ControlError::TooLarge { .. } => {
            "name fewer interfaces or sources, delete some resources, or raise --membership-bytes".into()
        }
        ControlError::ExpectsTooMany { .. } => "lower `expect`, or raise --message-responders".into(),
        ControlError::Exists { .. } => "leave `if-none-match` out to change it".into(),
        ControlError::OtherRevision { revision: Some(_), .. } => {
            "GET it, make the change to what it is now, and send its `etag` in `if-match`".into()
        }
        ControlError::OtherRevision { revision: None, .. } => "leave `if-match` out to create it".into(),
        ControlError::NoLease { .. } => "to give it one, send {\"expires_in_ms\": 60000}".into(),
        ControlError::ZoneDiffers { .. } => "name it in one place, or the same in both".into(),
        ControlError::InterfaceGone { .. } => "GET /v1/interfaces lists the existing ones".into(),
        ControlError::ReachesNobody { .. } => "raise `ttl`, or allow `loopback`".into(),
        ControlError::NoRoute { candidates, .. } => {
            format!("name an interface in `interfaces`{}", naming(candidates)).into()
        }
        ControlError::RouteRefused { .. } => {
            "look for an `unreachable`, `prohibit` or `blackhole` route or rule, or name an interface in `interfaces`"
                .into()
        }
        ControlError::SourceNotThere { .. } | ControlError::AddressNotLocal { .. } => LISTED.into(),
        ControlError::SourceAmbiguous { .. } => "name one of them in `interfaces`".into(),
        ControlError::TimedOut { done } => completing(*done),
        _ => return None,
    })
}

/// Whether people mean all interfaces by this name.
fn is_any(name: &str) -> bool {
    ["any", "all", "*", "0.0.0.0", "::"].contains(&name)
}

fn naming(interfaces: &[Arc<str>]) -> String {
    if interfaces.is_empty() { String::new() } else { format!(" (here: {})", interfaces.join(", ")) }
}

/// The request that completes a request that has timed out.
fn completing(done: Done) -> Cow<'static, str> {
    match done {
        Done::Nothing => "nothing was changed: try again".into(),
        Done::Created => "it is created, but not on disk yet: a PUT of the same under its id waits for that".into(),
        Done::Changed => "it is changed, but not on disk yet: repeat the request to wait for that".into(),
        Done::Sent(copies) => format!(
            "copies sent: {copies}, and the message is not on disk yet: a PUT of the same under its id waits for that and sends none again"
        )
        .into(),
        Done::DeletionUnderWay => {
            "it is deleted, but not from the disk yet: send the same DELETE to wait for that".into()
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{StatusCode, header};
    use axum::response::IntoResponse;

    use super::*;

    #[test]
    fn a_timeout_says_what_the_service_has_done() {
        for (done, name, copies) in [
            (Done::Nothing, "nothing", None),
            (Done::Created, "created", None),
            (Done::Changed, "changed", None),
            (Done::Sent(3), "sent", Some(3)),
            (Done::DeletionUnderWay, "deletion-under-way", None),
        ] {
            let problem = Problem::from(ControlError::TimedOut { done });
            let shown = serde_json::to_value(&problem).unwrap();
            assert_eq!(shown["type"], "urn:rollcall:problem:timeout");
            assert_eq!((&shown["done"], shown["sent"].as_u64()), (&name.into(), copies));
            let response = problem.into_response();
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        }
    }
}
