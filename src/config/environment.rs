//! The variables of the environment: each that begins with `ROLLCALL_` must be a setting with a good value.

use std::ffi::{OsStr, OsString};

use super::args::SettingArgs;
use super::error::ConfigError;

/// How the variables of settings begin.
const PREFIX: &str = "ROLLCALL_";

/// The mistakes in the environment.
#[derive(Debug, Default)]
pub struct Environment {
    pub findings: Vec<ConfigError>,
    /// Names of settings whose values are mistakes.
    pub wrong: Vec<String>,
}

impl Environment {
    pub fn read(settings: &SettingArgs<'_>, variables: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let mut environment = Self::default();
        for (variable, value) in variables {
            let variable = variable.to_string_lossy();
            let Some(name) = variable.strip_prefix(PREFIX) else { continue };
            if settings.has_variable(&variable) {
                let setting = name.to_lowercase();
                if let Some(Err(detail)) = settings.check_variable(&setting, &value) {
                    environment.find(&variable, detail);
                    environment.wrong.push(setting);
                }
            } else if !is_service_link(name, &value) {
                let detail = settings.unknown_variable(PREFIX, name);
                environment.find(&variable, detail);
            }
        }
        environment.findings.sort_by(|a, b| a.place.cmp(&b.place));
        environment
    }

    fn find(&mut self, variable: &str, detail: String) {
        self.findings.push(ConfigError { place: variable.to_owned(), line: None, detail });
    }
}

/// Whether Kubernetes or Docker has set the variable for a service whose name is `rollcall` or begins with `rollcall-`
/// (Kubernetes: "Accessing the Service", environment variables; Docker: "Legacy container links").
///
/// `ROLLCALL_PORT` is one only if it has a URL: a number there is a mistake for `ROLLCALL_LISTEN`.
fn is_service_link(name: &str, value: &OsStr) -> bool {
    const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];
    let value = value.to_string_lossy();
    let is_url = || {
        let scheme = value.split_once("://").map(|(scheme, _)| scheme.to_uppercase());
        scheme.is_some_and(|scheme| PROTOCOLS.contains(&scheme.as_str()))
    };
    // `PORT_8080_TCP`, perhaps with a word behind it.
    let names_a_port = || {
        let words: Vec<_> = name.split('_').collect();
        words.windows(3).any(|words| {
            words[0] == "PORT" && words[1].parse::<u16>().is_ok() && PROTOCOLS.contains(&words[2])
        })
    };
    let ends_with =
        |word: &str| name == word || name.strip_suffix(word).is_some_and(|rest| rest.ends_with('_'));
    ends_with("SERVICE_HOST")
        || ends_with("SERVICE_PORT")
        || name.starts_with("SERVICE_PORT_")
        || name.contains("_SERVICE_PORT_")
        || names_a_port()
        || ends_with("PORT") && is_url()
        || ends_with("NAME") && value.starts_with('/')
        || name.starts_with("ENV_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_service_links_are_no_settings() {
        for (name, value) in [
            ("SERVICE_HOST", "10.0.0.11"),
            ("SERVICE_PORT", "8080"),
            ("SERVICE_PORT_HTTP", "8080"),
            ("PORT", "tcp://10.0.0.11:8080"),
            ("PORT_8080_TCP", "tcp://10.0.0.11:8080"),
            ("PORT_8080_TCP_PROTO", "tcp"),
            ("PORT_10000_UDP_ADDR", "10.0.0.11"),
            ("API_SERVICE_HOST", "10.0.0.12"),
            ("API_SERVICE_PORT_HTTP", "80"),
            ("API_PORT", "tcp://10.0.0.12:80"),
            ("API_PORT_80_TCP_PORT", "80"),
            ("NAME", "/caller/rollcall"),
            ("ENV_PATH", "/bin"),
        ] {
            assert!(is_service_link(name, OsStr::new(value)), "{name}={value}");
        }
        for (name, value) in [
            ("PORT", "8080"),
            ("REQUIRE_TOKENS", "always"),
            ("SOCKET_PORT", "80"),
            ("PORT_HTTP_TCP", "80"),
            ("NAME", "rollcall"),
        ] {
            assert!(!is_service_link(name, OsStr::new(value)), "{name}={value}");
        }
    }
}
