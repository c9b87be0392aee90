//! What a metric is: a name, a help text, a unit, and how it is read of a thing.

use std::fmt::Error;

use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

/// A metric that all things of one kind have.
pub(super) struct Of<T> {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) unit: Option<Unit>,
    pub(super) value: Value<T>,
}

/// What is read of a thing.
pub(super) enum Value<T> {
    /// It only grows.
    Counter(fn(&T) -> u64),
    /// It goes up and down. None where there is nothing to tell.
    Gauge(fn(&T) -> Option<f64>),
}

pub(super) const fn counter<T>(
    name: &'static str,
    help: &'static str,
    value: fn(&T) -> u64,
) -> Of<T> {
    Of {
        name,
        help,
        unit: None,
        value: Value::Counter(value),
    }
}

pub(super) const fn gauge<T>(
    name: &'static str,
    help: &'static str,
    value: fn(&T) -> Option<f64>,
) -> Of<T> {
    Of {
        name,
        help,
        unit: None,
        value: Value::Gauge(value),
    }
}

/// A gauge with a unit.
pub(super) const fn gauge_in<T>(
    unit: Unit,
    name: &'static str,
    help: &'static str,
    value: fn(&T) -> Option<f64>,
) -> Of<T> {
    Of {
        name,
        help,
        unit: Some(unit),
        value: Value::Gauge(value),
    }
}

impl<T> Of<T> {
    /// Writes it for each of `all`, with its labels.
    pub(super) fn encode<'a, L: EncodeLabelSet>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        all: impl Iterator<Item = (L, &'a T)>,
    ) -> Result<(), Error>
    where
        T: 'a,
    {
        let kind = self.value.kind();
        let mut family =
            encoder.encode_descriptor(self.name, self.help, self.unit.as_ref(), kind)?;
        for (labels, one) in all {
            if let Some(read) = self.value.read(one) {
                read.encode(&mut family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    /// Writes it for the only one, without labels.
    pub(super) fn encode_one(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        one: &T,
    ) -> Result<(), Error> {
        let kind = self.value.kind();
        let mut family =
            encoder.encode_descriptor(self.name, self.help, self.unit.as_ref(), kind)?;
        match self.value.read(one) {
            Some(read) => read.encode(&mut family),
            None => Ok(()),
        }
    }
}

/// What was read.
pub(super) enum Read {
    Counter(u64),
    Gauge(f64),
}

impl Read {
    pub(super) fn encode(self, encoder: &mut MetricEncoder<'_>) -> Result<(), Error> {
        match self {
            Self::Counter(value) => count(encoder, value),
            Self::Gauge(value) => encoder.encode_gauge(&value),
        }
    }
}

impl<T> Value<T> {
    pub(super) const fn kind(&self) -> MetricType {
        match self {
            Self::Counter(_) => MetricType::Counter,
            Self::Gauge(_) => MetricType::Gauge,
        }
    }

    pub(super) fn read(&self, one: &T) -> Option<Read> {
        match self {
            Self::Counter(value) => Some(Read::Counter(value(one))),
            Self::Gauge(value) => value(one).map(Read::Gauge),
        }
    }
}

pub(super) fn count(encoder: &mut MetricEncoder<'_>, value: u64) -> Result<(), Error> {
    encoder.encode_counter::<NoLabelSet, u64, f64>(&value, None)
}

#[expect(clippy::unnecessary_wraps, reason = "a gauge may have nothing to tell")]
pub(super) fn truth(yes: bool) -> Option<f64> {
    Some(f64::from(u8::from(yes)))
}

/// Exact up to 2^53.
#[expect(clippy::unnecessary_wraps, reason = "a gauge may have nothing to tell")]
pub(super) fn number(value: u64) -> Option<f64> {
    Some(value as f64)
}

pub(super) fn small(value: usize) -> Option<f64> {
    number(value as u64)
}
