//! The configuration: flags, the environment and files.

mod directory;
mod error;
mod file;
mod layers;
mod reconcile;
mod secrets;
mod values;

pub use directory::state_directory;
pub use error::ConfigError;
pub use file::{ConfigFile, Declared};
pub use layers::Layers;
pub use reconcile::reconcile;
pub use secrets::read_tokens;
