//! What the service is told: by flags, the environment and files.

mod finding;
mod secrets;

pub use finding::Finding;
pub use secrets::read_tokens;
