//! Where an export is written to.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A file, or standard output.
pub(super) struct Output {
    to: BufWriter<Box<dyn Write>>,
    destination: String,
}

/// Why the output cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    #[error("{destination} cannot be written to: {error}")]
    Failed {
        destination: String,
        #[source]
        error: io::Error,
    },
    #[error("a terminal cannot show a capture file: name a file with --output, or pipe it into a program")]
    Terminal,
}

impl Output {
    /// `binary`: the output must not go to a terminal.
    pub(super) fn open(file: Option<&Path>, binary: bool) -> Result<Self, OutputError> {
        let Some(path) = file else {
            let stdout = io::stdout();
            if binary && stdout.is_terminal() {
                return Err(OutputError::Terminal);
            }
            return Ok(Self {
                to: BufWriter::new(Box::new(stdout)),
                destination: "standard output".to_owned(),
            });
        };
        let destination = path.display().to_string();
        // Private, like the data directory: other users must not read captured datagrams.
        let opened = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path);
        match opened {
            Ok(file) => Ok(Self { to: BufWriter::new(Box::new(file)), destination }),
            Err(error) => Err(OutputError::Failed { destination, error }),
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), OutputError> {
        self.to
            .write_all(bytes)
            .map_err(|error| OutputError::Failed { destination: self.destination.clone(), error })
    }

    /// Flushes the buffer.
    pub(super) fn finish(mut self) -> Result<(), OutputError> {
        self.to.flush().map_err(|error| OutputError::Failed { destination: self.destination, error })
    }
}

impl OutputError {
    /// Whether the reader has closed the pipe.
    pub(super) fn is_enough(&self) -> bool {
        matches!(self, Self::Failed { error, .. } if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
