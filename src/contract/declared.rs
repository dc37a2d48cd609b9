//! Memberships and responders that a file declares, read exactly like the bodies of requests.

use serde_json::Value;

use super::extract::parse_json;
use super::memberships::MembershipBody;
use super::problem::FieldError;
use super::responders::ResponderBody;
use crate::control::{JoinRequest, ResourceKind};

/// Reads the fields of a declaration. It has no lease, and it waits for interfaces that are not there: it stays as
/// long as it is declared.
pub fn read_declared(kind: ResourceKind, fields: &Value) -> Result<JoinRequest, Vec<FieldError>> {
    let body = fields.to_string();
    let request = match kind {
        ResourceKind::Responder => parse_json::<ResponderBody>(body.as_bytes()).and_then(ResponderBody::read),
        ResourceKind::Membership | ResourceKind::Message => {
            parse_json::<MembershipBody>(body.as_bytes()).and_then(MembershipBody::read)
        }
    };
    let request = request.map_err(super::problem::Problem::into_fields)?;
    if request.lease.is_some() {
        return Err(vec![FieldError {
            pointer: "/expires_in_ms".to_owned(),
            detail: format!("a declared {kind} stays as long as it is declared: leave this out"),
        }]);
    }
    Ok(JoinRequest { allow_missing: true, declared: true, ..request })
}
