//! Finds all mistakes in the structure of a body or a query: unknown and missing members, and values of a wrong type.
//!
//! It removes them as it finds them, so that what is left can be parsed, and its values checked too.

mod likely;
mod query;
mod schema;
mod search;
mod words;

pub use likely::nearest;
pub(super) use query::in_query;
pub use query::{misplaced_options, unknown_parameters};
pub(super) use schema::Schema;
pub(super) use search::in_object;
