//! Bringing memberships and responders in line with the configuration file.

use std::collections::HashSet;

use super::{ConfigError, ConfigFile, name_in_file, rename_flags};
use crate::control::{Condition, Control};

/// Creates or changes memberships and responders as the file declares them, and removes those that it no longer
/// declares. Resources of clients under other ids stay; without a file, everything stays. Applies all it can; returns
/// the errors of the others.
pub async fn reconcile(control: &Control, file: &ConfigFile) -> Vec<ConfigError> {
    let Some(path) = &file.path else {
        return Vec::new();
    };
    let declared: HashSet<_> = file.declared.iter().map(|entry| (entry.kind, entry.id.clone())).collect();
    // Declared in this run or an earlier one.
    for (kind, id) in control.declared() {
        // A client may have deleted it in the meantime.
        if !declared.contains(&(kind, id.clone())) && control.leave(kind, &id, &Condition::NONE).await.is_ok()
        {
            tracing::info!(%kind, %id, "removed: the file no longer declares it");
        }
    }
    let mut findings = Vec::new();
    for entry in &file.declared {
        let joined = control.join_as(entry.id.clone(), entry.request.clone(), &Condition::NONE).await;
        if let Err(error) = joined {
            findings.push(ConfigError {
                place: path.display().to_string(),
                line: Some(entry.line),
                detail: format!(
                    "{} `{}`: {}",
                    entry.kind,
                    entry.id,
                    rename_flags(&error.to_string(), name_in_file)
                ),
            });
        }
    }
    findings
}
