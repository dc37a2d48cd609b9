//! JSON bodies as they are sent.

use serde::Serialize;

/// The value as JSON, with a newline.
pub(super) fn json_line(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}
