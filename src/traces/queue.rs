//! A bounded queue of spans that have ended and wait to be sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use tokio::sync::mpsc::{self, error::TrySendError};

use crate::logging::log_throttled;

/// The sending side: takes spans as they end, on whichever thread that is, and never waits.
#[derive(Debug)]
pub(super) struct SpanQueue {
    sender: mpsc::Sender<SpanData>,
    counters: Arc<SpanCounters>,
}

/// Counts exported and dropped spans.
#[derive(Debug, Default)]
pub(super) struct SpanCounters {
    exported: AtomicU64,
    dropped: AtomicU64,
}

/// How many spans the collector has accepted, and how many were dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanCounts {
    pub exported: u64,
    pub dropped: u64,
}

impl SpanQueue {
    /// The default of OpenTelemetry's own exporters; about 2 MiB.
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
            log_throttled!(WARN, "spans are dropped: too many wait for the collector");
        }
    }

    /// Nothing calls this or the next: the exporter's owner finishes it.
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
