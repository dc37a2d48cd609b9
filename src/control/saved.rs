//! Reading what the store has of a resource.

use serde::Deserialize;

use crate::model::Group;

/// Reads saved progress. A resource that was saved just before a crash may have none.
pub(in crate::control) fn read_progress<'a, T: Default + Deserialize<'a>>(
    text: &'a str,
) -> serde_json::Result<T> {
    if text.is_empty() { Ok(T::default()) } else { serde_json::from_str(text) }
}

/// The group of a membership, responder or message, from its saved [`Persist::wanted`](crate::store::Persist::wanted).
pub fn saved_group(wanted: &str) -> serde_json::Result<Group> {
    #[derive(Deserialize)]
    struct Wanted {
        spec: Spec,
    }
    #[derive(Deserialize)]
    struct Spec {
        group: Group,
    }
    serde_json::from_str(wanted).map(|wanted: Wanted| wanted.spec.group)
}
