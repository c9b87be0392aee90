//! Families and their samples, written as Prometheus and `OpenMetrics` have them.
//!
//! Every sample of every family passes here at every scrape: names and labels are copied, not made anew, and numbers are
//! written without a formatter.

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

    /// What ends the whole text.
    pub(super) const fn end(self) -> &'static str {
        match self {
            Self::OpenMetrics => "# EOF\n",
            Self::Prometheus => "",
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
    const fn word(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Ratios => "ratios",
            Self::Seconds => "seconds",
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

/// A family as it is written.
#[derive(Debug)]
pub(super) struct Samples {
    out: String,
    /// The name without what a sample's kind adds to it.
    name: String,
    /// The name of a sample that is neither sum, count nor bucket.
    sample: String,
}

impl Samples {
    /// Begins a family.
    pub(super) fn new(head: Head, format: Format) -> Self {
        let mut name = format!("redirector_{}", head.name);
        if let Some(unit) = head.unit {
            name = name + "_" + unit.word();
        }
        let sample = match head.kind {
            Kind::Counter => format!("{name}_total"),
            Kind::Info => format!("{name}_info"),
            Kind::Gauge | Kind::Histogram => name.clone(),
        };
        // In Prometheus' own format what a kind adds belongs to the family's name, and infos are gauges.
        let (family, kind) = match (format, head.kind) {
            (Format::OpenMetrics, Kind::Counter) => (&name, "counter"),
            (Format::OpenMetrics, Kind::Info) => (&name, "info"),
            (Format::Prometheus, Kind::Counter) => (&sample, "counter"),
            (_, Kind::Gauge) | (Format::Prometheus, Kind::Info) => (&sample, "gauge"),
            (_, Kind::Histogram) => (&name, "histogram"),
        };
        let mut out = format!("# HELP {family} {}\n# TYPE {family} {kind}\n", head.help);
        if let (Format::OpenMetrics, Some(unit)) = (format, head.unit) {
            out += &format!("# UNIT {family} {}\n", unit.word());
        }
        Self { out, name, sample }
    }

    /// The text.
    pub(super) fn finish(self) -> String {
        self.out
    }

    /// A sample; `labels` are parts that [`label`] has made, none or several.
    pub(super) fn sample(&mut self, labels: &[&str], value: Value) {
        self.out.push_str(&self.sample);
        open(&mut self.out, labels);
        number(&mut self.out, value);
        self.out.push('\n');
    }

    /// The samples of a histogram whose classes have these bounds, but for the last.
    pub(super) fn histogram(&mut self, labels: &str, bounds: &Bounds, counts: &[u64], sum: f64) {
        let mut all = 0;
        for (bound, count) in bounds.0.iter().zip(counts) {
            all += count;
            let parts = [labels, bound];
            let parts = if labels.is_empty() {
                &parts[1..]
            } else {
                &parts[..]
            };
            self.part("_bucket", parts, Value::Whole(all));
        }
        let labels = [labels];
        let labels = if labels[0].is_empty() {
            &[][..]
        } else {
            &labels[..]
        };
        self.part("_sum", labels, Value::Real(sum));
        self.part("_count", labels, Value::Whole(all));
    }

    fn part(&mut self, part: &str, labels: &[&str], value: Value) {
        self.out.push_str(&self.name);
        self.out.push_str(part);
        open(&mut self.out, labels);
        number(&mut self.out, value);
        self.out.push('\n');
    }
}

/// The labels of a histogram's classes.
#[derive(Debug)]
pub(super) struct Bounds(Vec<String>);

impl Bounds {
    /// In what the family measures in; one more class has none.
    pub(super) fn new(bounds: impl IntoIterator<Item = f64>) -> Self {
        let texts = bounds.into_iter().map(|bound| format!("{bound:?}"));
        let texts = texts.chain(["+Inf".to_owned()]);
        Self(texts.map(|text| label("le", &text)).collect())
    }
}

/// A label as it is written.
pub(super) fn label(name: &str, value: &str) -> String {
    let mut out = String::with_capacity(name.len() + value.len() + 3);
    out.push_str(name);
    out.push_str("=\"");
    for character in value.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

fn open(out: &mut String, labels: &[&str]) {
    for (position, part) in labels.iter().enumerate() {
        out.push(if position == 0 { '{' } else { ',' });
        out.push_str(part);
    }
    out.push_str(if labels.is_empty() { " " } else { "} " });
}

fn number(out: &mut String, value: Value) {
    match value {
        Value::Whole(whole) => out.push_str(itoa::Buffer::new().format(whole)),
        Value::Real(real) => out.push_str(&format!("{real:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Head = Head {
        name: "node_forward",
        help: "Bytes",
        unit: Some(Unit::Bytes),
        kind: Kind::Counter,
    };

    fn written(format: Format) -> String {
        let mut samples = Samples::new(HEAD, format);
        samples.sample(&[], Value::Whole(u64::MAX));
        samples.sample(&[&label("a", "\"\\\n"), &label("b", "")], Value::Real(0.25));
        samples.finish()
    }

    #[test]
    fn a_family_is_written_as_each_format_has_it() {
        let samples = "redirector_node_forward_bytes_total 18446744073709551615\n\
                       redirector_node_forward_bytes_total{a=\"\\\"\\\\\\n\",b=\"\"} 0.25\n";
        assert_eq!(
            written(Format::OpenMetrics),
            "# HELP redirector_node_forward_bytes Bytes\n# TYPE redirector_node_forward_bytes counter\n\
             # UNIT redirector_node_forward_bytes bytes\n"
                .to_owned()
                + samples
        );
        assert_eq!(
            written(Format::Prometheus),
            "# HELP redirector_node_forward_bytes_total Bytes\n\
             # TYPE redirector_node_forward_bytes_total counter\n"
                .to_owned()
                + samples
        );
    }
}
