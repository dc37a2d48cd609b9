//! Standard output, whose reader may close it at any time, as `head` does.

use std::fmt::Display;
use std::io::{self, Write};

/// Writes the text. A reader that has closed the pipe has read enough: that is no error.
pub fn print(text: impl Display) -> Result<(), String> {
    let mut stdout = io::stdout().lock();
    match write!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("standard output cannot be written to: {error}"))
        }
        _ => Ok(()),
    }
}
