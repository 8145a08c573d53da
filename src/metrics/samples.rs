//! The flat list of samples that one probe writes.

use std::borrow::Cow;

use super::Metric;

/// Labels of one sample, sorted by name.
///
/// Most samples have none or one label from a closed set, so only information metrics allocate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Labels {
    /// No label.
    #[default]
    None,
    /// One label whose value is known at compile time, such as `phase="resolve"`.
    One(&'static str, &'static str),
    /// Any labels, sorted by name.
    Many(Box<[(Cow<'static, str>, String)]>),
}

impl Labels {
    /// Labels in any order, as the exposition wants them: sorted by name.
    pub fn sorted(mut labels: Vec<(Cow<'static, str>, String)>) -> Self {
        labels.sort_by(|a, b| a.0.cmp(&b.0));
        Self::Many(labels.into())
    }

    /// Name and value of each label, in order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let (one, many): (Option<(&str, &str)>, &[_]) = match self {
            Self::None => (None, &[]),
            Self::One(name, value) => (Some((name, value)), &[]),
            Self::Many(labels) => (None, labels),
        };
        one.into_iter().chain(many.iter().map(|(name, value)| (name.as_ref(), value.as_str())))
    }
}

/// One value of one metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// What is measured.
    pub metric: Metric,
    /// Which part of it.
    pub labels: Labels,
    /// How much, in the metric's base unit.
    pub value: f64,
}

/// The samples of one probe.
///
/// Writing a metric and labels that are there already replaces the value, so a prober may announce
/// a family with a start value and correct it when it knows better.
#[derive(Debug, Clone, Default)]
pub struct Samples(Vec<Sample>);

impl Samples {
    /// An empty list with room for a usual probe.
    pub fn new() -> Self {
        Self(Vec::with_capacity(USUAL_SAMPLES))
    }

    /// Sets a metric without labels.
    pub fn set(&mut self, metric: Metric, value: impl IntoValue) {
        self.put(metric, Labels::None, value.into_value());
    }

    /// Sets a metric with one label from a closed set.
    pub fn set_one(
        &mut self,
        metric: Metric,
        name: &'static str,
        label: &'static str,
        value: impl IntoValue,
    ) {
        self.put(metric, Labels::One(name, label), value.into_value());
    }

    /// Adds to a metric with one label, which starts at 0.
    pub fn add_one(&mut self, metric: Metric, name: &'static str, label: &'static str, value: f64) {
        let labels = Labels::One(name, label);
        let before = self.find(metric, &labels).map_or(0.0, |at| self.0[at].value);
        self.put(metric, labels, before + value);
    }

    /// Sets a metric with any labels, given in any order.
    pub fn set_many(
        &mut self,
        metric: Metric,
        labels: Vec<(Cow<'static, str>, String)>,
        value: impl IntoValue,
    ) {
        self.put(metric, Labels::sorted(labels), value.into_value());
    }

    /// The value of a sample written before.
    pub fn value(&self, metric: Metric, labels: &Labels) -> Option<f64> {
        self.find(metric, labels).map(|at| self.0[at].value)
    }

    /// All samples, in the order they were written.
    pub fn as_slice(&self) -> &[Sample] {
        &self.0
    }

    /// Brings the samples into the order of the exposition: by metric name, then label values.
    pub fn sort(&mut self) {
        self.0.sort_by(|a, b| {
            a.metric
                .cmp(&b.metric)
                .then_with(|| a.labels.iter().map(|l| l.1).cmp(b.labels.iter().map(|l| l.1)))
        });
        self.0.shrink_to_fit();
    }

    fn find(&self, metric: Metric, labels: &Labels) -> Option<usize> {
        self.0.iter().position(|sample| sample.metric == metric && sample.labels == *labels)
    }

    fn put(&mut self, metric: Metric, labels: Labels, value: f64) {
        match self.find(metric, &labels) {
            Some(at) => self.0[at].value = value,
            None => self.0.push(Sample { metric, labels, value }),
        }
    }
}

/// An http probe over TLS writes about this many.
const USUAL_SAMPLES: usize = 32;

/// Anything a sample's value can be made from.
pub trait IntoValue {
    /// The value as the exposition has it.
    fn into_value(self) -> f64;
}

impl IntoValue for f64 {
    fn into_value(self) -> f64 {
        self
    }
}

impl IntoValue for bool {
    fn into_value(self) -> f64 {
        f64::from(u8::from(self))
    }
}

impl IntoValue for u32 {
    fn into_value(self) -> f64 {
        f64::from(self)
    }
}

impl IntoValue for i64 {
    #[expect(clippy::cast_precision_loss, reason = "timestamps and lengths stay far below 2^53")]
    fn into_value(self) -> f64 {
        self as f64
    }
}

impl IntoValue for usize {
    #[expect(clippy::cast_precision_loss, reason = "counts and lengths stay far below 2^53")]
    fn into_value(self) -> f64 {
        self as f64
    }
}

impl IntoValue for u64 {
    #[expect(clippy::cast_precision_loss, reason = "counts and lengths stay far below 2^53")]
    fn into_value(self) -> f64 {
        self as f64
    }
}

impl IntoValue for std::time::Duration {
    /// Seconds.
    fn into_value(self) -> f64 {
        self.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::names;

    #[test]
    fn a_second_write_replaces_and_order_is_by_name_then_label() {
        let mut samples = Samples::new();
        samples.set(names::PROBE_SUCCESS, false);
        samples.set_one(names::PROBE_HTTP_DURATION_SECONDS, "phase", "tls", 2.0);
        samples.set_one(names::PROBE_HTTP_DURATION_SECONDS, "phase", "connect", 1.0);
        samples.add_one(names::PROBE_HTTP_DURATION_SECONDS, "phase", "connect", 0.5);
        samples.set(names::PROBE_SUCCESS, true);
        samples.sort();
        let got: Vec<_> = samples.as_slice().iter().map(|s| (s.metric.name(), s.value)).collect();
        assert_eq!(
            got,
            [
                ("probe_http_duration_seconds", 1.5),
                ("probe_http_duration_seconds", 2.0),
                ("probe_success", 1.0)
            ]
        );
    }
}
