//! A declared membership or responder, and all mistakes in it.

use serde_json::{Map, Value};

use super::units::Quantity;
use crate::contract::{FieldError, read_declared};
use crate::control::{JoinRequest, ResourceKind};

/// Reads a declaration; its sizes and times may have units.
pub(super) fn read_all(
    kind: ResourceKind,
    fields: Map<String, Value>,
) -> Result<JoinRequest, Vec<FieldError>> {
    let (mut fields, mut wrong) = (Value::Object(fields), Vec::new());
    without_units(&mut fields, "", "", &mut wrong);
    let Value::Object(fields) = fields else { return Err(wrong) };
    match read_declared(kind, fields) {
        Ok(request) if wrong.is_empty() => Ok(request),
        Ok(_) => Err(wrong),
        // What is said of a unit precedes that a text is no number.
        Err(mut errors) => {
            errors.retain(|error| !wrong.iter().any(|known| known.pointer == error.pointer));
            wrong.append(&mut errors);
            Err(wrong)
        }
    }
}

/// Makes plain numbers of sizes and times with units. The reader refuses what stays a text.
fn without_units(value: &mut Value, name: &str, pointer: &str, wrong: &mut Vec<FieldError>) {
    let quantity = match name {
        "bytes" | "per_second" => Some(Quantity::Bytes),
        _ if name.ends_with("_ms") => Some(Quantity::Milliseconds),
        _ => None,
    };
    match (value, quantity) {
        (Value::Object(table), _) => {
            for (key, value) in table {
                // A range is in the unit of its field.
                let name = if matches!(key.as_str(), "min" | "max") { name } else { key };
                let pointer = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
                without_units(value, name, &pointer, wrong);
            }
        }
        (value @ Value::String(_), Some(quantity)) => {
            match quantity.parse(value.as_str().unwrap_or_default(), &(0..=u64::MAX)) {
                Ok(number) => *value = number.into(),
                Err(reason) => wrong.push(FieldError::new(pointer, reason)),
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(kind: ResourceKind, fields: &Value) -> Result<JoinRequest, Vec<FieldError>> {
        read_all(kind, fields.as_object().expect("an object").clone())
    }

    fn found(kind: ResourceKind, fields: &Value) -> Vec<String> {
        let mut pointers: Vec<_> =
            read(kind, fields).unwrap_err().into_iter().map(|error| error.pointer).collect();
        pointers.sort();
        pointers
    }

    #[test]
    fn all_mistakes_of_a_declaration_are_found() {
        let fields = json!({
            "group": "239.1.2.3", "repyl": "ack", "intrefaces": ["lo"], "interfaces": ["not/a/name"],
            "dedupe": 5, "match": {"prefx": "x"}, "reply_from": {"address": "somewhere"}, "expires_in_ms": 5
        });
        assert_eq!(
            found(ResourceKind::Responder, &fields),
            [
                "/dedupe",
                "/expires_in_ms",
                "/group",
                "/interfaces/0",
                "/intrefaces",
                "/match/prefx",
                "/reply_from/address",
                "/repyl"
            ]
        );
    }

    #[test]
    fn a_missing_group_hides_no_other_mistake() {
        assert_eq!(
            found(ResourceKind::Membership, &json!({"interface": "lo", "exact_drops": 1})),
            ["/exact_drops", "/group", "/interface"]
        );
        assert_eq!(found(ResourceKind::Membership, &json!({"group": 5})), ["/group"]);
        let ipv6 = json!({"group": "nowhere", "sources": {"include": ["2001:db8::1"]}});
        assert_eq!(found(ResourceKind::Membership, &ipv6), ["/group"]);
    }

    #[test]
    fn sizes_and_times_may_have_units() {
        let fields = |age: &str| {
            json!({
                "group": "239.1.2.3:9", "delay_ms": {"min": "5ms", "max": "1s"},
                "retention": {"bytes": "1M", "age_ms": age}, "reply_bytes": {"factor": 3, "per_second": "2K"}
            })
        };
        let request = read(ResourceKind::Responder, &fields("1h")).unwrap();
        assert_eq!(request.retention.bytes, Some(1 << 20));
        assert_eq!(request.retention.age, Some(std::time::Duration::from_hours(1)));
        let wrong = read(ResourceKind::Responder, &fields("soon")).unwrap_err();
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert_eq!(wrong[0].pointer, "/retention/age_ms");
        assert!(wrong[0].fact.contains("write a time as in 1500 or 5s"), "{wrong:?}");
    }
}
