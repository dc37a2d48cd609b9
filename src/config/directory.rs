use std::path::PathBuf;

/// Where programs keep their state on this platform: what systemd says (`StateDirectory=`), else the user's own
/// directory (XDG Base Directory Specification), else the system's.
pub fn state_directory() -> PathBuf {
    let given = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let own = || given("XDG_STATE_HOME").or_else(|| given("HOME").map(|home| home.join(".local/state")));
    given("STATE_DIRECTORY")
        .or_else(|| own().map(|own| own.join("rollcall")))
        .unwrap_or_else(|| PathBuf::from("/var/lib/rollcall"))
}
