//! The log: on standard error, for people on a terminal and as JSON for everything else.

mod filter;
mod throttle;

use std::io::IsTerminal;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

pub use filter::{FilterError, LogFilter};
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
        .with_writer(std::io::stderr)
        .with_ansi(terminal);
    let lines = match format {
        LogFormat::Auto if terminal => lines.boxed(),
        LogFormat::Text => lines.boxed(),
        LogFormat::Auto | LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(layer).with(lines).init();
    Ok(filter)
}
