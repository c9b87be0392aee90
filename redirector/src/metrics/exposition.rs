//! The text that is scraped.

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::registry::Registry;

use super::families::Families;
use crate::http::Snapshot;

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

/// The whole text.
///
/// # Errors
/// A fault of this program: writing to a string does not fail.
pub fn expose(snapshot: Arc<Snapshot>, format: Format) -> Result<String, fmt::Error> {
    // About so long is the text about one node.
    let nodes = snapshot.status.nodes().count();
    let mut out = String::with_capacity(16_384 + nodes * 8192);
    let mut registry = Registry::with_prefix("redirector");
    registry.register_collector(Box::new(Families(snapshot)));
    match format {
        Format::OpenMetrics => text::encode(&mut out, &registry)?,
        Format::Prometheus => prometheus_text::encode(&mut out, &registry)?,
    }
    Ok(out)
}
