//! Families and their samples, as `prometheus-client` writes them.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabel as _, EncodeLabelSet, LabelSetEncoder, MetricEncoder,
    NoLabelSet, prometheus_text, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{self, Registry};

use super::exposition::Seen;
use super::families::Family;

/// How metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `OpenMetrics` 1.0.
    OpenMetrics,
    /// Prometheus' own text format, 0.0.4.
    Prometheus,
}

impl Format {
    /// The format for whoever accepts this (RFC 9110, section 12.5.1): `OpenMetrics` to those who ask for it.
    pub fn of_accept(accept: Option<&str>) -> Self {
        match accept {
            Some(accept) if accept.contains("application/openmetrics-text") => Self::OpenMetrics,
            Some(_) | None => Self::Prometheus,
        }
    }

    /// Its media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// What a family measures in; the last word of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Bytes,
    Ratios,
    Seconds,
}

impl Unit {
    const fn of_registry(self) -> registry::Unit {
        match self {
            Self::Bytes => registry::Unit::Bytes,
            Self::Ratios => registry::Unit::Ratios,
            Self::Seconds => registry::Unit::Seconds,
        }
    }
}

/// What kind of numbers a family has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// They only grow.
    Counter,
    /// They go up and down.
    Gauge,
    /// Always 1: what matters is in the labels.
    Info,
    /// Observations in classes.
    Histogram,
}

impl Kind {
    const fn of_library(self) -> MetricType {
        match self {
            Self::Counter => MetricType::Counter,
            Self::Gauge => MetricType::Gauge,
            Self::Info => MetricType::Info,
            Self::Histogram => MetricType::Histogram,
        }
    }
}

/// A value of a counter or a gauge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    Whole(u64),
    Real(f64),
}

/// What stands above the samples of a family.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) unit: Option<Unit>,
    pub(super) kind: Kind,
}

/// A label and its value, of which there is one for all that have it.
pub(super) type Label = (&'static str, Arc<str>);

pub(super) fn label(name: &'static str, value: &str) -> Label {
    (name, value.into())
}

/// The text of one family.
///
/// # Errors
/// A fault of this program: writing to a string does not fail.
pub(super) fn write(
    family: &'static Family,
    seen: &Arc<Seen>,
    format: Format,
) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("redirector");
    let seen = Arc::clone(seen);
    registry.register_collector(Box::new(One { family, seen }));
    let mut out = String::new();
    match format {
        Format::OpenMetrics => text::encode_registry(&mut out, &registry)?,
        Format::Prometheus => prometheus_text::encode(&mut out, &registry)?,
    }
    Ok(out)
}

/// What ends the whole text.
///
/// # Errors
/// See [`write`].
pub(super) fn end(format: Format) -> Result<String, fmt::Error> {
    let mut out = String::new();
    match format {
        Format::OpenMetrics => text::encode_eof(&mut out)?,
        Format::Prometheus => {}
    }
    Ok(out)
}

/// A registry of one family makes its text alone: the text as a whole is long where there are many nodes.
#[derive(Debug)]
struct One {
    family: &'static Family,
    seen: Arc<Seen>,
}

impl Collector for One {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Head {
            name,
            help,
            unit,
            kind,
        } = self.family.head;
        let unit = unit.map(Unit::of_registry);
        let encoder = encoder.encode_descriptor(name, help, unit.as_ref(), kind.of_library())?;
        let mut samples = Samples {
            encoder,
            kind,
            result: Ok(()),
        };
        self.family.write(&mut samples, &self.seen);
        samples.result
    }
}

/// Parts of a sample's labels.
struct Parts<'a>(&'a [&'a [Label]]);

impl EncodeLabelSet for Parts<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        let mut labels = self.0.iter().copied().flatten();
        labels.try_for_each(|(name, value)| (*name, &**value).encode(encoder.encode_label()))
    }
}

/// Where the samples of a family are written.
#[derive(Debug)]
pub(super) struct Samples<'a> {
    encoder: MetricEncoder<'a>,
    kind: Kind,
    result: Result<(), fmt::Error>,
}

impl Samples<'_> {
    /// A sample, with labels in parts.
    pub(super) fn sample(&mut self, labels: &[&[Label]], value: Value) {
        let result = self.try_sample(&Parts(labels), value);
        self.result = self.result.and(result);
    }

    fn try_sample(&mut self, labels: &Parts<'_>, value: Value) -> Result<(), fmt::Error> {
        if self.kind == Kind::Info {
            return self.encoder.encode_info(labels);
        }
        let mut encoder = self.encoder.encode_family(labels)?;
        match (self.kind, value) {
            (Kind::Counter, Value::Whole(value)) => {
                encoder.encode_counter::<NoLabelSet, u64, f64>(&value, None)
            }
            (Kind::Counter, Value::Real(value)) => {
                encoder.encode_counter::<NoLabelSet, f64, f64>(&value, None)
            }
            (_, Value::Whole(value)) => encoder.encode_gauge(&value),
            (_, Value::Real(value)) => encoder.encode_gauge(&value),
        }
    }

    /// The samples of a histogram whose classes have these upper bounds, in what the family measures in; the last has none.
    pub(super) fn histogram(&mut self, labels: &[Label], bounds: &[f64], counts: &[u64], sum: f64) {
        let bounds = bounds.iter().copied().chain([f64::INFINITY]);
        let classes: Vec<_> = bounds.zip(counts.iter().copied()).collect();
        let parts = [labels];
        let labels = Parts(&parts);
        let encoder = self.encoder.encode_family(&labels);
        let result = encoder.and_then(|mut encoder| {
            encoder.encode_histogram::<NoLabelSet>(sum, counts.iter().sum(), &classes, None)
        });
        self.result = self.result.and(result);
    }
}
