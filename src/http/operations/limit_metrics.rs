//! Metrics of what is bounded for all resources together.

use std::fmt;

use super::exposition::{ALONE, MetricsPage};
use crate::control::{ControlSnapshot, ResourceKind};

pub(super) fn limits(page: &mut MetricsPage<'_>, control: &ControlSnapshot) -> fmt::Result {
    page.counter(
        "rollcall_untracked_responses",
        "Responses whose responders the service did not tell apart, because the message had too many.",
        [(ALONE, control.totals.untracked)],
    )?;
    page.gauge(
        "rollcall_responder_table_bytes",
        "Memory in which the service tells the responders of messages apart.",
        [(ALONE, control.table_bytes)],
    )?;
    page.gauge(
        "rollcall_membership_bytes",
        "Memory of memberships and responders, besides their logs; an estimate.",
        [(ALONE, control.membership_bytes)],
    )?;
    let refused = ResourceKind::ALL.into_iter().zip(control.refused);
    page.counter(
        "rollcall_refused_resources",
        "Memberships, responders and messages that the service refused because there were too many.",
        refused.map(|(kind, count)| ([("kind", kind.name())], count)),
    )
}
