//! Metrics in the text formats of Prometheus, row by row.

use std::collections::HashMap;
use std::fmt;

use axum::http::HeaderMap;
use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;

use crate::control::Distribution;
use crate::http::accept::preferred;
use crate::http::problem::{Problem, ProblemKind};

/// Writes the page: one metric at a time, each with all its rows.
pub(super) struct MetricsPage<'a>(DescriptorEncoder<'a>);

/// The names and values of a row's labels.
pub(super) type Labels<V, const N: usize> = [(&'static str, V); N];

/// The labels of a metric's only row.
pub(super) const ALONE: Labels<&str, 0> = [];

impl<'a> MetricsPage<'a> {
    pub(super) fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self(encoder)
    }

    /// `name` is without `_total`, which the encoder adds.
    pub(super) fn counter<const N: usize, V, T>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (Labels<V, N>, T)>,
    ) -> fmt::Result
    where
        V: AsRef<str>,
        T: EncodeCounterValue,
    {
        self.rows(name, help, MetricType::Counter, rows, |mut encoder, value| {
            encoder.encode_counter::<Labels<&str, 0>, T, f64>(value, None)
        })
    }

    pub(super) fn gauge<const N: usize, V, T>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (Labels<V, N>, T)>,
    ) -> fmt::Result
    where
        V: AsRef<str>,
        T: EncodeGaugeValue,
    {
        self.rows(name, help, MetricType::Gauge, rows, |mut encoder, value| encoder.encode_gauge(value))
    }

    pub(super) fn histogram<'d, const N: usize, V: AsRef<str>>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (Labels<V, N>, &'d Distribution)>,
    ) -> fmt::Result {
        self.rows(name, help, MetricType::Histogram, rows, |mut encoder, distribution| {
            let mut buckets: Vec<_> =
                distribution.buckets.iter().map(|(bound, count)| (bound.as_secs_f64(), *count)).collect();
            let counted: u64 = buckets.iter().map(|(_, count)| count).sum();
            buckets.push((f64::INFINITY, distribution.count - counted));
            let none = None::<&HashMap<usize, Exemplar<Labels<&str, 0>, f64>>>;
            encoder.encode_histogram(distribution.sum.as_secs_f64(), distribution.count, &buckets, none)
        })
    }

    fn rows<const N: usize, V: AsRef<str>, T>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        rows: impl IntoIterator<Item = (Labels<V, N>, T)>,
        encode: impl Fn(MetricEncoder<'_>, &T) -> fmt::Result,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in rows {
            let labels = labels.each_ref().map(|(name, value)| (*name, value.as_ref()));
            encode(metric.encode_family(&labels)?, &value)?;
        }
        Ok(())
    }
}

/// Whether the client prefers the format of OpenMetrics to that of Prometheus.
pub(super) fn prefers_open_metrics(headers: &HeaderMap) -> Result<bool, Problem> {
    const TYPES: [&str; 2] = ["text/plain", "application/openmetrics-text"];
    preferred(headers, &TYPES).map(|place| place == 1).map_err(|accept| {
        let detail = format!("`accept: {accept}` names no available format: send {}", TYPES.join(" or "));
        Problem::new(ProblemKind::NotAcceptable, detail)
    })
}
