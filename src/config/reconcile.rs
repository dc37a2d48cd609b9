use std::collections::HashSet;

use super::{ConfigFile, Finding};
use crate::control::Control;

/// Makes everything be as the file declares it, and removes what it declared before and no longer does. What
/// clients have made under other ids is left alone. Gives what was refused; the rest is done all the same.
pub async fn reconcile(control: &Control, file: &ConfigFile) -> Vec<Finding> {
    let declared: HashSet<_> = file.declared.iter().map(|entry| (entry.kind, entry.id.clone())).collect();
    // Be it from this run or an earlier one.
    for (kind, id) in control.declared() {
        if !declared.contains(&(kind, id.clone())) {
            // A client may have deleted it in the meantime.
            let _ = control.leave(kind, &id).await;
        }
    }
    let mut findings = Vec::new();
    for entry in &file.declared {
        let joined = control.join_as(entry.id.clone(), entry.request.clone(), false).await;
        if let Err(refusal) = joined {
            findings.push(Finding {
                place: file.path.as_deref().map(|path| path.display().to_string()).unwrap_or_default(),
                line: Some(entry.line),
                detail: format!("{} `{}`: {refusal}", entry.kind, entry.id),
            });
        }
    }
    findings
}
