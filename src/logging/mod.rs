//! The log on standard error: text on a terminal, else JSON. In the journal, each line has its priority.

mod filter;
mod journal;
mod throttle;

use std::io::IsTerminal;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

pub use filter::{FilterError, LogFilter};
use journal::LogOutput;
pub use journal::error_priority;
pub use throttle::Throttle;
pub(crate) use throttle::log_throttled;

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    Text,
    /// An object in each line.
    Json,
}

/// Starts the log; to be called once in a process.
pub fn start(filter: &str, format: LogFormat) -> Result<LogFilter, FilterError> {
    let terminal = std::io::stderr().is_terminal();
    let (layer, filter) = LogFilter::new(filter)?;
    let lines = fmt::layer()
        // Reporting that standard error is closed would go to standard error, and panic.
        .log_internal_errors(false)
        .with_writer(LogOutput::new())
        .with_ansi(terminal && has_colours());
    let lines = match format {
        LogFormat::Auto if terminal => lines.boxed(),
        LogFormat::Text => lines.boxed(),
        LogFormat::Auto | LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(layer).with(lines).init();
    Ok(filter)
}

/// Whether the user wants colours (<https://no-color.org>), and the terminal has them.
fn has_colours() -> bool {
    let is_set = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !is_set && std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb")
}
