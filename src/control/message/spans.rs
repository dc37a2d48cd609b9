//! A message in the trace of the request that sends it: one span, from before the first send until it is closed.

use std::sync::MutexGuard;

use super::collection::ResponseCounters;
use super::state::Message;
use crate::control::error::ControlError;
use crate::model::{CloseReason, Id, MessageSpec};
use crate::sync::Lock;
use crate::traces::{Description, KeyValue, Span};

impl Message {
    /// Called once the message is in the registry: it may be closed already.
    pub(in crate::control) fn begin_trace(&self) {
        let collection = self.collection();
        if collection.closed().is_none() {
            *self.span() = begin(&self.id, &self.spec);
        }
    }

    /// Ends the span: the message could not be sent.
    pub(in crate::control) fn fail_trace(&self, error: &ControlError) {
        let span = self.span().take();
        if let Some(span) = span {
            span.fail(error.to_string());
        }
    }

    pub(super) fn end_trace(&self, reason: CloseReason, counters: &ResponseCounters) {
        let span = self.span().take();
        if let Some(span) = span {
            span.set("rollcall.message.responders", count(counters.responders));
            span.set("rollcall.message.responses", count(counters.responses));
            span.set("rollcall.message.close_reason", reason.name());
            if reason == CloseReason::Failed {
                span.fail("internal error");
            }
        }
    }

    fn span(&self) -> MutexGuard<'_, Option<Span>> {
        self.span.lock_own()
    }
}

/// Traces a message that was refused before it was created.
pub(in crate::control) fn trace_refused(id: &Id, spec: &MessageSpec, error: &ControlError) {
    if let Some(span) = begin(id, spec) {
        span.fail(error.to_string());
    }
}

fn begin(id: &Id, spec: &MessageSpec) -> Option<Span> {
    Span::child(|| Description {
        name: "collect".into(),
        attributes: vec![
            KeyValue::new("rollcall.message.id", id.to_string()),
            KeyValue::new("rollcall.message.group", spec.group.to_string()),
            KeyValue::new("rollcall.message.payload_bytes", count(spec.payload.len() as u64)),
        ],
    })
}

/// A count as spans take it.
fn count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
