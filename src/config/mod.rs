//! The configuration file, and how it is applied.

mod args;
mod declaration;
mod directory;
mod environment;
mod error;
mod file;
mod reconcile;
mod secrets;
mod syntax;
mod units;
mod values;

pub use args::SettingArgs;
pub use directory::state_directory;
pub use environment::Environment;
pub use error::{ConfigError, name_in_file, rename_flags};
pub use file::{ConfigFile, Declared};
pub use reconcile::reconcile;
pub use secrets::{GivenTokens, read_tokens};
pub use units::Quantity;
