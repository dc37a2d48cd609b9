//! Other projects' programs that check the service's output.

use std::process::{Command, Stdio};

use super::lab::skip;

/// Whether the program is there; if not, says so on standard error, or panics where nothing may be skipped.
pub(crate) fn has(program: &str) -> bool {
    let version = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let found = version.is_ok_and(|status| status.success());
    if !found {
        skip(&format!("needs {program}: `apt install` the package that has it"));
    }
    found
}
