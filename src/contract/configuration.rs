//! The configuration in force, with the source of each value.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

/// What the service was told.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
#[schema(examples(json!({
    "file": "/etc/rollcall.toml", "reads": 2,
    "settings": {
        "listen": {"value": ["127.0.0.1:8080"], "source": "default"},
        "log_bytes": {"value": "1048576", "source": "file"},
        "tokens": {"value": "***", "source": "environment"}
    },
    "memberships": ["monitor"], "responders": [],
    "tokens": [{"name": "ops", "scope": "control"}],
    "problems": [{"place": "/etc/rollcall.toml", "line": 3, "detail": "`log_byte` is no setting: did you mean `log_bytes`?"}],
    "restart_needed": ["listen"]
})))]
pub struct Configuration {
    /// The file that `--config` names; null without one.
    pub file: Option<String>,
    /// How often it was read: once at start, and at each SIGHUP.
    pub reads: u64,
    /// The settings in force, by name.
    pub settings: BTreeMap<String, Setting>,
    /// Ids of the memberships that the file declares.
    pub memberships: Vec<String>,
    /// Ids of the responders that the file declares.
    pub responders: Vec<String>,
    /// Who may call with a token.
    pub tokens: Vec<TokenName>,
    /// What was wrong when it was read last. With a problem in a file, all of it is as it was before; a declared
    /// membership or responder that was refused concerns only itself.
    pub problems: Vec<ConfigurationProblem>,
    /// Settings that say something else by now, and change only when the service starts anew.
    pub restart_needed: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Setting {
    pub value: SettingValue,
    pub source: SettingSource,
}

/// As it is written on a command line; null where nothing is set, `***` for a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum SettingValue {
    One(Option<String>),
    Several(Vec<String>),
}

/// Where a value came from; the later ones win.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SettingSource {
    Default,
    File,
    Environment,
    Flag,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TokenName {
    pub name: String,
    /// `read`, or `control`, which includes reading.
    pub scope: &'static str,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ConfigurationProblem {
    /// The file or the variable; empty where several make it up.
    pub place: String,
    /// Counted from 1; null where it is not one line.
    pub line: Option<usize>,
    pub detail: String,
}
