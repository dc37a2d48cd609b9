//! Memberships and responders that a file declares, read exactly like the bodies of requests.

use serde_json::Value;

use super::field_errors::FieldError;
use super::join_bodies::{MembershipBody, ResponderBody};
use super::parse::parse_json;
use crate::control::{JoinRequest, ResourceKind};

/// Reads the fields of a declaration. A declared resource has no lease and waits for missing interfaces: it stays as
/// long as the file declares it.
pub fn read_declared(kind: ResourceKind, fields: &Value) -> Result<JoinRequest, Vec<FieldError>> {
    let body = fields.to_string();
    let request = match kind {
        ResourceKind::Responder => {
            parse_json::<ResponderBody>(body.as_bytes()).map_err(as_list).and_then(ResponderBody::read)
        }
        ResourceKind::Membership | ResourceKind::Message => {
            parse_json::<MembershipBody>(body.as_bytes()).map_err(as_list).and_then(MembershipBody::read)
        }
    };
    let request = request?;
    if request.lease.is_some() {
        let fact = format!("a declared {kind} stays as long as the file declares it");
        return Err(vec![FieldError::new("/expires_in_ms", fact).hint("leave this out")]);
    }
    Ok(JoinRequest { allow_missing: true, declared: true, ..request })
}

fn as_list(error: impl Into<FieldError>) -> Vec<FieldError> {
    vec![error.into()]
}
