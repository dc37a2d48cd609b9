//! Changes of some members of a resource: JSON merge patches (RFC 7396), and renewals of leases.

use std::any::Any;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};

use super::configuration::LogFilterBody;
use super::field_errors::{FieldError, FieldErrors};
use super::join_bodies::{MembershipBody, ResponderBody};
use super::parse::{BodyError, Parsed, parse_json, parse_patch};
use crate::model::limits;

/// A JSON merge patch of an object.
#[derive(Debug)]
pub struct MergePatch(Map<String, Value>);

impl MergePatch {
    /// `T`: the schema of the patch.
    pub fn parse<T: ToSchema + Any>(bytes: &[u8]) -> Result<Self, BodyError> {
        parse_patch::<T>(bytes).map(Self)
    }

    /// Applies the patch to a view, and reads the result as a body.
    pub fn apply<T>(&self, view: &impl Serialize) -> Result<Parsed<T>, BodyError>
    where
        T: DeserializeOwned + ToSchema + Any,
    {
        let mut patched = serde_json::to_value(view).unwrap_or_default();
        for (name, patch) in &self.0 {
            merge(&mut patched, name, patch);
        }
        // A label may have any name: one that is to be removed, and is not there, is no mistake.
        if let Some(Value::Object(labels)) = patched.get_mut("labels") {
            labels.retain(|_, value| !value.is_null());
        }
        parse_json(patched.to_string().as_bytes())
    }

    /// Whether the patch sets or removes the lease.
    pub fn has_lease(&self) -> bool {
        self.0.contains_key("expires_in_ms")
    }
}

/// Sets, merges or removes a member (RFC 7396 section 2). A member that the target does not have becomes null, which is as
/// if it were left out, unless its name is unknown: then it is a mistake.
fn merge(target: &mut Value, name: &str, patch: &Value) {
    if !target.is_object() {
        *target = json!({});
    }
    let Value::Object(target) = target else { return };
    match patch {
        Value::Null => {
            if target.remove(name).is_none() {
                target.insert(name.to_owned(), Value::Null);
            }
        }
        Value::Object(patches) => {
            let member = target.entry(name).or_insert_with(|| json!({}));
            if !member.is_object() {
                *member = json!({});
            }
            for (name, patch) in patches {
                merge(member, name, patch);
            }
        }
        value => {
            target.insert(name.to_owned(), value.clone());
        }
    }
}

/// A body for the renewal of a lease.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"expires_in_ms": 3_600_000}), json!({})))]
pub struct RenewBody {
    /// The lease in milliseconds. Default: as long as before.
    #[schema(minimum = 1, maximum = 2_592_000_000_u64)]
    expires_in_ms: Option<u64>,
}

impl RenewBody {
    /// `errors`: those that were found before.
    pub fn read(self, mut errors: FieldErrors) -> Result<Option<Duration>, Vec<FieldError>> {
        let lease = self.expires_in_ms.map(|ms| errors.bounded("/expires_in_ms", ms, 1..=limits::LEASE_MS));
        errors.finish(Ok(lease.map(Duration::from_millis)))
    }
}

/// A patch as the API document shows it: all members are optional.
macro_rules! patch_schema {
    ($name:ident, $body:ty, $examples:expr) => {
        pub enum $name {}

        impl ToSchema for $name {
            fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
                <$body>::schemas(schemas);
            }
        }

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let mut schema = <$body>::schema();
                if let RefOr::T(Schema::Object(object)) = &mut schema {
                    object.required.clear();
                    object.examples = $examples.into();
                    object.description = Some(
                        "A JSON merge patch (RFC 7396): the members to change. `null` removes one, so that its default \
                         applies; members of an object are merged with those that it has, and a list replaces the other."
                            .to_owned(),
                    );
                }
                schema
            }
        }
    };
}

patch_schema!(
    MembershipPatch,
    MembershipBody,
    [
        json!({"exact_drops": true, "retention": {"datagrams": 1000}}),
        json!({"sources": null, "expires_in_ms": 60000})
    ]
);
patch_schema!(
    ResponderPatch,
    ResponderBody,
    [json!({"reply": "on", "delay_ms": null}), json!({"reply": {"payload": null, "echo": true}})]
);
patch_schema!(LogFilterPatch, LogFilterBody, [json!({"filter": "info,rollcall::net=debug"})]);

#[cfg(test)]
mod tests {
    use super::*;

    /// A member that is null is as good as none.
    fn without_nulls(value: Value) -> Value {
        let Value::Object(members) = value else { return value };
        let left = members.into_iter().filter(|(_, value)| !value.is_null());
        left.map(|(name, value)| (name, without_nulls(value))).collect::<Map<_, _>>().into()
    }

    /// The examples of RFC 7396, appendix A, whose patches are objects.
    #[test]
    fn a_patch_is_merged() {
        for (target, patch, expected) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            let (patched, _): Parsed<Value> =
                MergePatch::parse::<MembershipPatch>(patch.to_string().as_bytes())
                    .unwrap()
                    .apply(&target)
                    .unwrap();
            assert_eq!(without_nulls(patched), without_nulls(expected), "{target} with {patch}");
        }
    }
}
