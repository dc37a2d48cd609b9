//! The configuration file, and how it is applied.

mod args;
mod directory;
mod error;
mod file;
mod reconcile;
mod secrets;
mod values;

pub use args::{SettingArgs, check_numbers};
pub use directory::state_directory;
pub use error::ConfigError;
pub use file::{ConfigFile, Declared};
pub use reconcile::reconcile;
pub use secrets::read_tokens;
