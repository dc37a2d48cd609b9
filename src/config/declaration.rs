//! A declared membership or responder, and all mistakes in it.

use serde_json::Value;

use super::units::Quantity;
use crate::contract::{FieldError, read_declared};
use crate::control::{JoinRequest, ResourceKind};

/// Reads a declaration.
///
/// The reader of bodies stops at the first field with an unknown name or a value of another type. To find the other
/// mistakes, too, this leaves each such field out and reads the rest again.
pub(super) fn read_all(kind: ResourceKind, fields: &Value) -> Result<JoinRequest, Vec<FieldError>> {
    let stand_in = stand_in(fields);
    let (mut rest, mut found, mut stands_in) = (fields.clone(), Vec::<FieldError>::new(), false);
    without_units(&mut rest, "", "", &mut found);
    loop {
        let errors = match read_declared(kind, &rest) {
            Ok(request) if found.is_empty() => return Ok(request),
            Ok(_) => return Err(found),
            Err(errors) => errors,
        };
        let (mut is_other, mut has_wrong_group) = (false, false);
        for error in errors {
            let is_group = error.pointer == "/group";
            has_wrong_group |= is_group;
            is_other |= !(is_group && stands_in) && leave_out(&mut rest, &error.pointer);
            if !is_follow_up(&error, &found) && !error.fact.contains(stand_in) {
                found.push(error);
            }
        }
        // Without a group, the reader says so last.
        let lacks_group = has_wrong_group || !is_other;
        if let Some(table) = rest.as_object_mut().filter(|table| lacks_group && !table.contains_key("group"))
        {
            table.insert("group".to_owned(), stand_in.into());
            (stands_in, is_other) = (true, true);
        }
        if !is_other {
            return Err(found);
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

/// A group for declarations that have none, or a wrong one; of the family that their addresses have.
fn stand_in(fields: &Value) -> &'static str {
    if fields.to_string().contains("::") { "[ff15::ffff:ffff]:9" } else { "239.255.255.255:9" }
}

/// Whether the error only tells that a field is wrong or was left out, which is known.
fn is_follow_up(error: &FieldError, found: &[FieldError]) -> bool {
    let inside = format!("{}/", error.pointer);
    found.iter().any(|known| {
        known.pointer == error.pointer || !error.pointer.is_empty() && known.pointer.starts_with(&inside)
    })
}

/// Removes the field that a JSON pointer names, and a list if the pointer names one of its items.
fn leave_out(fields: &mut Value, pointer: &str) -> bool {
    let mut tokens =
        pointer.split('/').skip(1).map(|token| token.replace("~1", "/").replace("~0", "~")).peekable();
    let mut table = fields.as_object_mut();
    while let (Some(here), Some(token)) = (table, tokens.next()) {
        if tokens.peek().is_none() || !here.get(&token).is_some_and(Value::is_object) {
            return here.remove(&token).is_some();
        }
        table = here.get_mut(&token).and_then(Value::as_object_mut);
    }
    false
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(kind: ResourceKind, fields: &Value) -> Vec<String> {
        let mut pointers: Vec<_> =
            read_all(kind, fields).unwrap_err().into_iter().map(|error| error.pointer).collect();
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
            ["", "/exact_drops", "/interface"]
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
        let request = read_all(ResourceKind::Responder, &fields("1h")).unwrap();
        assert_eq!(request.retention.bytes, Some(1 << 20));
        assert_eq!(request.retention.age, Some(std::time::Duration::from_hours(1)));
        let wrong = read_all(ResourceKind::Responder, &fields("soon")).unwrap_err();
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert_eq!(wrong[0].pointer, "/retention/age_ms");
        assert!(wrong[0].fact.contains("write a time as in 1500 or 5s"), "{wrong:?}");
    }
}
