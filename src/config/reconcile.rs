use std::collections::HashSet;

use super::{ConfigError, ConfigFile};
use crate::control::Control;

/// Makes everything be as the file declares it, and removes what it declared before and no longer does. What
/// clients have made under other ids is left alone; so is everything where there is no file. Gives what was refused; the rest is done all the same.
pub async fn reconcile(control: &Control, file: &ConfigFile) -> Vec<ConfigError> {
    let Some(path) = &file.path else {
        return Vec::new();
    };
    let declared: HashSet<_> = file.declared.iter().map(|entry| (entry.kind, entry.id.clone())).collect();
    // Be it from this run or an earlier one.
    for (kind, id) in control.declared() {
        // A client may have deleted it in the meantime.
        if !declared.contains(&(kind, id.clone())) && control.leave(kind, &id).await.is_ok() {
            tracing::info!(%kind, %id, "the file declares it no longer: removed");
        }
    }
    let mut findings = Vec::new();
    for entry in &file.declared {
        let joined = control.join_as(entry.id.clone(), entry.request.clone(), false).await;
        if let Err(refusal) = joined {
            findings.push(ConfigError {
                place: path.display().to_string(),
                line: Some(entry.line),
                detail: format!("{} `{}`: {refusal}", entry.kind, entry.id),
            });
        }
    }
    findings
}
