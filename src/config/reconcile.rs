use std::collections::HashSet;

use super::{ConfigFile, Finding};
use crate::control::{Control, Kind};
use crate::model::Id;

/// What the file declared when it was last taken over.
#[derive(Default)]
pub struct Reconciler(HashSet<(Kind, Id)>);

impl Reconciler {
    /// Makes everything be as the file declares it, and removes what it declared before and no longer does. What
    /// clients have made under other ids is left alone. Gives what was refused; the rest is done all the same.
    pub async fn reconcile(&mut self, control: &Control, file: &ConfigFile) -> Vec<Finding> {
        let declared: HashSet<_> = file.declared.iter().map(|entry| (entry.kind, entry.id.clone())).collect();
        for (kind, id) in self.0.difference(&declared) {
            // A client may have deleted it in the meantime.
            let _ = control.leave(*kind, id);
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
        self.0 = declared;
        findings
    }
}
