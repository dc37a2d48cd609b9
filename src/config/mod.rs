//! What the service is told: by flags, the environment and files.

mod directory;
mod file;
mod finding;
mod layers;
mod reconcile;
mod secrets;
mod values;

pub use directory::state_directory;
pub use file::{ConfigFile, Declared};
pub use finding::ConfigError;
pub use layers::Layers;
pub use reconcile::reconcile;
pub use secrets::read_tokens;
