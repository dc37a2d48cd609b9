//! Spans that have ended and wait to be sent: so many, and not more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use tokio::sync::mpsc::{self, error::TrySendError};

use crate::logging::rarely;

/// Where spans come in as they end, on whichever thread that is: it never waits.
#[derive(Debug)]
pub(super) struct SpanQueue {
    sender: mpsc::Sender<SpanData>,
    counters: Arc<SpanCounters>,
}

/// What became of spans, counted.
#[derive(Debug, Default)]
pub(super) struct SpanCounters {
    exported: AtomicU64,
    dropped: AtomicU64,
}

/// How many spans the collector has taken, and how many it will not get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanCounts {
    pub exported: u64,
    pub dropped: u64,
}

impl SpanQueue {
    /// As many as OpenTelemetry's own exporters keep unless told otherwise; about 2 MiB.
    pub(super) const DEPTH: usize = 2_048;

    pub(super) fn new(counters: Arc<SpanCounters>) -> (Self, mpsc::Receiver<SpanData>) {
        let (sender, receiver) = mpsc::channel(Self::DEPTH);
        (Self { sender, counters }, receiver)
    }
}

impl SpanProcessor for SpanQueue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if !span.span_context.is_sampled() {
            return;
        }
        let Err(refused) = self.sender.try_send(span) else { return };
        self.counters.dropped(1);
        if let TrySendError::Full(_) = refused {
            rarely!(WARN, "spans are dropped: too many wait for the collector");
        }
    }

    /// Nobody asks for this or the next: the exporter is finished by its owner.
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl SpanCounters {
    pub(super) fn exported(&self, spans: u64) {
        self.exported.fetch_add(spans, Ordering::Relaxed);
    }

    pub(super) fn dropped(&self, spans: u64) {
        self.dropped.fetch_add(spans, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> SpanCounts {
        SpanCounts {
            exported: self.exported.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }
}
