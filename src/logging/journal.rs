//! Priorities of lines for the journal ([sd-daemon(3)]): it takes them from the beginning of each line.
//!
//! [sd-daemon(3)]: https://www.freedesktop.org/software/systemd/man/sd-daemon.html

use std::io::{self, Stderr, Write};
use std::os::fd::AsFd;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use crate::file_identity::FileIdentity;

/// Standard error, with a priority at the beginning of each line if the journal reads it.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogOutput {
    to_journal: bool,
}

pub(super) struct LogWriter {
    priority: Option<u8>,
    stderr: Stderr,
}

/// Whether standard error is connected to the journal. The variable alone does not tell: programs that are started by
/// a service inherit it, also where their standard error goes elsewhere (systemd.exec(5), `$JOURNAL_STREAM`).
pub(super) fn is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let stderr = io::stderr().as_fd().try_clone_to_owned();
    let found = stderr.and_then(|stderr| std::fs::File::from(stderr).metadata());
    found.is_ok_and(|found| FileIdentity::of(&found).is_stream(&stream))
}

/// The beginning of an error's line on standard error.
pub fn error_priority() -> &'static str {
    if is_journal() { "<3>" } else { "" }
}

impl LogOutput {
    pub(super) fn new() -> Self {
        Self { to_journal: is_journal() }
    }
}

impl MakeWriter<'_> for LogOutput {
    type Writer = LogWriter;

    fn make_writer(&self) -> LogWriter {
        LogWriter { priority: self.to_journal.then_some(priority(Level::INFO)), stderr: io::stderr() }
    }

    fn make_writer_for(&self, line: &Metadata<'_>) -> LogWriter {
        let priority = self.to_journal.then(|| priority(*line.level()));
        LogWriter { priority, stderr: io::stderr() }
    }
}

/// As in syslog(3).
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

impl Write for LogWriter {
    /// Gets whole events. Each is written in one piece, so that lines of several programs do not mix.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let Some(priority) = self.priority else { return self.stderr.write(event) };
        let mut lines = Vec::with_capacity(event.len() + 3);
        for line in event.split_inclusive(|byte| *byte == b'\n') {
            write!(lines, "<{priority}>")?;
            lines.extend_from_slice(line);
        }
        self.stderr.write_all(&lines)?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stderr.flush()
    }
}
