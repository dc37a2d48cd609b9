//! A declared membership or responder: a body in TOML, whose sizes and times may have units.

use serde_json::{Map, Value};

use super::units::Quantity;
use crate::contract::{FieldError, escaped, read_declared};
use crate::control::{JoinRequest, ResourceKind};

pub(super) fn read(
    kind: ResourceKind,
    mut fields: Map<String, Value>,
) -> Result<JoinRequest, Vec<FieldError>> {
    let mut wrong = Vec::new();
    without_units(&mut fields, None, "", &mut wrong);
    match read_declared(kind, fields) {
        Ok(request) if wrong.is_empty() => Ok(request),
        read => {
            wrong.extend(read.err().into_iter().flatten());
            Err(wrong)
        }
    }
}

/// Makes plain numbers of sizes and times with units, and removes those that are wrong. `range`: the name of the field,
/// if these are its bounds. Labels have names of the client's.
fn without_units(
    fields: &mut Map<String, Value>,
    range: Option<&str>,
    pointer: &str,
    wrong: &mut Vec<FieldError>,
) {
    fields.retain(|key, value| {
        let name = range.filter(|_| ["min", "max"].contains(&key.as_str())).unwrap_or(key);
        let quantity = match name {
            "bytes" | "per_second" => Some(Quantity::Bytes),
            _ if name.ends_with("_ms") => Some(Quantity::Milliseconds),
            _ => None,
        };
        let pointer = format!("{pointer}/{}", escaped(key));
        match (value, quantity) {
            (Value::Object(_), _) if pointer == "/labels" => {}
            (Value::Object(inner), _) => without_units(inner, Some(name), &pointer, wrong),
            (value @ Value::String(_), Some(quantity)) => {
                match quantity.parse(value.as_str().unwrap_or_default(), &(0..=u64::MAX)) {
                    Ok(number) => *value = number.into(),
                    Err(reason) => {
                        wrong.push(FieldError::new(pointer, reason));
                        return false;
                    }
                }
            }
            _ => {}
        }
        true
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(kind: ResourceKind, fields: &Value) -> Result<JoinRequest, Vec<FieldError>> {
        super::read(kind, fields.as_object().unwrap().clone())
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
