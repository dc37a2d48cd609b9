//! Where the data directory is unless the configuration names one.

use std::path::PathBuf;

/// The platform's directory for program state: systemd's (`StateDirectory=`, the first of several), else the user's
/// (XDG Base Directory Specification, which ignores relative paths), else the system's.
pub fn state_directory() -> PathBuf {
    let given = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let own = || given("XDG_STATE_HOME").or_else(|| given("HOME").map(|home| home.join(".local/state")));
    let of_unit = std::env::var("STATE_DIRECTORY").ok();
    of_unit
        .and_then(|several| several.split(':').next().map(PathBuf::from))
        .filter(|path| path.is_absolute())
        .or_else(|| own().map(|own| own.join("rollcall")))
        .unwrap_or_else(|| PathBuf::from("/var/lib/rollcall"))
}
