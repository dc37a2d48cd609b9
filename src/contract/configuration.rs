//! The configuration in force, with the source of each value, and the log filter.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::fields::ViewMember;

/// The configuration in force.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
#[schema(as = ServiceConfig, examples(json!({
    "file": "/etc/rollcall.toml", "reads": 2,
    "settings": {
        "listen": {"value": ["127.0.0.1:8080"], "source": "default"},
        "log_bytes": {"value": "1048576", "source": "file"},
        "tokens": {"value": "***", "source": "environment"}
    },
    "memberships": ["monitor"], "responders": [],
    "tokens": [{"name": "ops", "scope": "control", "expires_at": "2027-01-31T00:00:00Z", "until": "2027-01-31T00:00:00Z"}],
    "problems": [{"place": "/etc/rollcall.toml", "line": 3, "detail": "`log_byte` is not a setting: did you mean `log_bytes`?"}],
    "restart_needed": ["listen"]
})))]
pub struct Configuration {
    /// The file that `--config` names; null without one.
    pub file: Option<String>,
    /// How often the service has read the configuration: once at start, and at each SIGHUP.
    pub reads: u64,
    /// The settings in force, by name.
    pub settings: BTreeMap<String, Setting>,
    /// Ids of the memberships that the file declares.
    pub memberships: Vec<String>,
    /// Ids of the responders that the file declares.
    pub responders: Vec<String>,
    /// The names, scopes and last times of the accepted tokens.
    pub tokens: Vec<TokenName>,
    /// Problems of the last reading. A problem in a file leaves its whole previous content in force; a declared
    /// membership or responder that cannot be created or changed affects no others.
    pub problems: Vec<ConfigurationProblem>,
    /// Settings that have changed since the start, and take effect only at the next start.
    pub restart_needed: Vec<String>,
}

/// The value of a setting, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ConfigSetting)]
pub struct Setting {
    /// The value in force.
    pub value: SettingValue,
    /// The layer that the value comes from.
    pub source: SettingSource,
}

/// The value as on a command line; null if the setting has none, `***` for a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum SettingValue {
    One(Option<String>),
    Several(Vec<String>),
}

/// The layer that a value comes from; later ones override earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SettingSource {
    Default,
    File,
    Environment,
    Flag,
}

/// A token that the service accepts, without the token itself.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TokenName {
    /// The name of the token.
    pub name: String,
    /// `read`, or `control`, which includes reading.
    pub scope: &'static str,
    /// When the token expires; absent if it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime)]
    pub expires_at: Option<String>,
    /// Use `expires_at`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, deprecated)]
    pub until: Option<String>,
}

/// A mistake in the configuration.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ConfigProblem)]
pub struct ConfigurationProblem {
    /// The file or the environment variable; empty if the problem involves several.
    pub place: String,
    /// The line, counted from 1; null if the problem is not in one line.
    pub line: Option<usize>,
    /// The mistake, and what to do about it.
    pub detail: String,
}

/// A new log filter.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"filter": "info,rollcall::net=debug"})))]
pub struct LogFilterBody {
    /// `error`, `warn`, `info`, `debug` or `trace`, for all modules or per module; the most specific one applies:
    /// `info,rollcall::net=debug`.
    #[schema(min_length = 1, max_length = 4096)]
    pub filter: String,
    /// Ignored: it is of the view.
    #[serde(default, rename = "configured")]
    #[schema(value_type = Value)]
    _configured: ViewMember,
}

/// The log filter in force.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LogFilter, examples(json!({"filter": "info,rollcall::net=debug", "configured": "info"})))]
pub struct LogFilterView {
    /// The filter, as it was set.
    filter: String,
    /// The filter of `--log`, which SIGHUP restores.
    configured: String,
}

impl LogFilterView {
    pub fn new(filter: &str, configured: &str) -> Self {
        Self { filter: filter.to_owned(), configured: configured.to_owned() }
    }
}
