//! Writing and reading the stored spec and status of a resource.

use serde::{Deserialize, Serialize};

use crate::model::Group;

/// A spec or status as it is stored: a struct of values that JSON has.
pub(in crate::control) fn to_json(stored: &impl Serialize) -> String {
    serde_json::to_string(stored).expect("JSON can represent all of its values")
}

/// Reads the saved status. A resource that was saved just before a crash may have none.
pub(in crate::control) fn read_status<'a, T: Default + Deserialize<'a>>(
    text: &'a str,
) -> serde_json::Result<T> {
    if text.is_empty() { Ok(T::default()) } else { serde_json::from_str(text) }
}

/// The group of a membership, responder or message, from its saved [`Persist::spec`](crate::store::Persist::spec).
pub fn saved_group(spec: &str) -> serde_json::Result<Group> {
    #[derive(Deserialize)]
    struct StoredResource {
        spec: Spec,
    }
    #[derive(Deserialize)]
    struct Spec {
        group: Group,
    }
    serde_json::from_str(spec).map(|stored: StoredResource| stored.spec.group)
}
