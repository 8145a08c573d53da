//! Samples to exposition text; no I/O, one output buffer, no registry.
//!
//! Formats: Prometheus text 0.0.4 (the default, as the peer writes it) and OpenMetrics 1.0.0.

use super::names::Kind;
use super::samples::{Labels, Sample};
use super::{Metric, Samples};

/// Which text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syntax {
    /// `text/plain; version=0.0.4`.
    Prometheus,
    /// `application/openmetrics-text; version=1.0.0`: ends with `# EOF`, counters are named without `_total` in their header.
    OpenMetrics,
}

/// How label names outside `[a-zA-Z_][a-zA-Z0-9_]*` are written (Prometheus "escaping schemes").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escaping {
    /// Every other character becomes `_`.
    Underscores,
    /// Written in quotes, unchanged.
    AllowUtf8,
    /// `.` becomes `_dot_`, `_` becomes `__`, anything else `__`.
    Dots,
    /// `U__` and the code point between underscores for each character.
    Values,
}

/// Appends samples that are sorted already (see [`Samples::sort`]), with one header for each family.
pub fn write_samples(out: &mut Vec<u8>, samples: &Samples, syntax: Syntax, escaping: Escaping) {
    let mut writer = Writer::new(out, syntax, escaping);
    let mut last = None;
    for Sample { metric, labels, value } in samples.as_slice() {
        if last != Some(*metric) {
            writer.family(*metric);
            last = Some(*metric);
        }
        writer.sample(labels, *value);
    }
    writer.finish();
}

/// Writes families one after the other; the caller keeps the order of the names.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    syntax: Syntax,
    escaping: Escaping,
    name: &'static str,
}

impl<'a> Writer<'a> {
    /// A writer that appends to `out`.
    pub fn new(out: &'a mut Vec<u8>, syntax: Syntax, escaping: Escaping) -> Self {
        Self { out, syntax, escaping, name: "" }
    }

    /// Begins a family: its help and type.
    pub fn family(&mut self, metric: Metric) {
        let facts = metric.facts();
        self.name = facts.name;
        if self.syntax == Syntax::OpenMetrics && facts.kind == Kind::Counter {
            let base = facts.name.strip_suffix("_total").unwrap_or(facts.name);
            for part in ["# HELP ", base, " ", facts.help, "\n# TYPE ", base, " counter\n"] {
                self.out.extend_from_slice(part.as_bytes());
            }
        } else {
            self.out.extend_from_slice(facts.header.as_bytes());
        }
    }

    /// One sample of the family begun last.
    pub fn sample(&mut self, labels: &Labels, value: f64) {
        self.out.extend_from_slice(self.name.as_bytes());
        match labels {
            Labels::None => {}
            Labels::One(name, label) => {
                self.out.push(b'{');
                self.label(name, label);
                self.out.push(b'}');
            }
            Labels::Many(labels) if labels.is_empty() => {}
            Labels::Many(labels) => {
                self.out.push(b'{');
                for (at, (name, label)) in labels.iter().enumerate() {
                    if at > 0 {
                        self.out.push(b',');
                    }
                    self.label(name, label);
                }
                self.out.push(b'}');
            }
        }
        self.value(value);
    }

    /// One sample whose labels are written by the caller's pairs, for metrics about this process.
    ///
    /// `suffix` is appended to the family's name (`_bucket`, `_sum`, `_count` of histograms, else empty).
    pub fn sample_with(&mut self, suffix: &str, labels: &[(&str, &str)], value: f64) {
        self.out.extend_from_slice(self.name.as_bytes());
        self.out.extend_from_slice(suffix.as_bytes());
        for (at, (name, label)) in labels.iter().enumerate() {
            self.out.push(if at == 0 { b'{' } else { b',' });
            self.label(name, label);
        }
        if !labels.is_empty() {
            self.out.push(b'}');
        }
        self.value(value);
    }

    /// One sample with labels that are text of the format already, such as `a="1",b="2"`, and some more.
    pub fn sample_of(&mut self, labels: &str, more: &[(&str, &str)], value: f64) {
        self.sample_of_with("", labels, more, value);
    }

    /// The same with a suffix of the name, as the parts of a histogram have it.
    pub fn sample_of_with(&mut self, suffix: &str, labels: &str, more: &[(&str, &str)], value: f64) {
        self.out.extend_from_slice(self.name.as_bytes());
        self.out.extend_from_slice(suffix.as_bytes());
        self.out.push(b'{');
        self.out.extend_from_slice(labels.as_bytes());
        for (name, label) in more {
            self.out.push(b',');
            self.label(name, label);
        }
        self.out.push(b'}');
        self.value(value);
    }

    /// Ends the text, as the format wants it.
    pub fn finish(self) {
        if self.syntax == Syntax::OpenMetrics {
            self.out.extend_from_slice(b"# EOF\n");
        }
    }

    fn value(&mut self, value: f64) {
        self.out.push(b' ');
        write_value(self.out, value);
        self.out.push(b'\n');
    }

    fn label(&mut self, name: &str, value: &str) {
        if is_classic_name(name) {
            self.out.extend_from_slice(name.as_bytes());
        } else {
            write_name(self.out, name, self.escaping);
        }
        self.out.extend_from_slice(b"=\"");
        write_escaped(self.out, value);
        self.out.push(b'"');
    }
}

/// Whether `name` is `[a-zA-Z_][a-zA-Z0-9_]*` and so needs no escaping.
pub fn is_classic_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn write_name(out: &mut Vec<u8>, name: &str, escaping: Escaping) {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    match escaping {
        Escaping::AllowUtf8 => {
            out.push(b'"');
            write_escaped(out, name);
            out.push(b'"');
        }
        Escaping::Underscores => {
            for (at, c) in name.chars().enumerate() {
                let keep = is_word(c) && !(at == 0 && c.is_ascii_digit());
                out.push(if keep { c as u8 } else { b'_' });
            }
        }
        Escaping::Dots => {
            for (at, c) in name.chars().enumerate() {
                match c {
                    '_' => out.extend_from_slice(b"__"),
                    '.' => out.extend_from_slice(b"_dot_"),
                    c if is_word(c) && !(at == 0 && c.is_ascii_digit()) => out.push(c as u8),
                    _ => out.extend_from_slice(b"__"),
                }
            }
        }
        Escaping::Values => {
            out.extend_from_slice(b"U__");
            for (at, c) in name.chars().enumerate() {
                match c {
                    '_' => out.extend_from_slice(b"__"),
                    c if is_word(c) && !(at == 0 && c.is_ascii_digit()) => out.push(c as u8),
                    c => out.extend_from_slice(format!("_{:x}_", u32::from(c)).as_bytes()),
                }
            }
        }
    }
}

fn write_escaped(out: &mut Vec<u8>, value: &str) {
    let mut rest = value.as_bytes();
    while let Some(at) = rest.iter().position(|b| matches!(b, b'\\' | b'"' | b'\n')) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(match rest[at] {
            b'\\' => b"\\\\",
            b'"' => b"\\\"",
            _ => b"\\n",
        });
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// Writes a value as Go's `strconv.FormatFloat(v, 'g', -1, 64)` does: the shortest digits that read
/// back equal, with an exponent of at least two digits when it is below -4 or above 5.
pub fn write_value(out: &mut Vec<u8>, value: f64) {
    use std::io::Write as _;

    if value == 0.0 {
        return out.push(b'0');
    }
    if value == 1.0 {
        return out.push(b'1');
    }
    if value.is_nan() {
        return out.extend_from_slice(b"NaN");
    }
    if value.is_infinite() {
        return out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    }
    let start = out.len();
    // Writing into a vector cannot fail.
    let _ = write!(out, "{value:e}");
    let Some(at) = out[start..].iter().position(|b| *b == b'e').map(|at| start + at) else {
        return;
    };
    let exponent = std::str::from_utf8(&out[at + 1..]).ok().and_then(|e| e.parse::<i32>().ok()).unwrap_or(0);
    if (-4..MAX_PLAIN_EXPONENT).contains(&exponent) {
        out.truncate(start);
        let _ = write!(out, "{value}");
    } else {
        out.truncate(at);
        let sign = if exponent < 0 { '-' } else { '+' };
        let _ = write!(out, "e{sign}{:02}", exponent.abs());
    }
}

/// Values of ten to this power and more are written with an exponent.
///
/// Measured on the peer: `100000`, `1.234567e+06`, `1.7321472e+09`; the limit of 21 that Go's `%v`
/// has does not apply to the exposition.
const MAX_PLAIN_EXPONENT: i32 = 6;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::names;

    #[test]
    fn values_read_as_the_peer_writes_them() {
        let cases = [
            (0.0, "0"),
            (-0.0, "0"),
            (1.0, "1"),
            (-1.0, "-1"),
            (200.0, "200"),
            (1.1, "1.1"),
            (100_000.0, "100000"),
            (1_234_567.0, "1.234567e+06"),
            (3_668_918_509.0, "3.668918509e+09"),
            (-62_135_596_800.0, "-6.21355968e+10"),
            (0.000_064_44, "6.444e-05"),
            (0.000_123, "0.000123"),
            (1e100, "1e+100"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ];
        for (value, want) in cases {
            let mut out = Vec::new();
            write_value(&mut out, value);
            assert_eq!(String::from_utf8_lossy(&out), want);
        }
    }

    #[test]
    fn whole_text_of_a_probe() {
        let mut samples = Samples::new();
        samples.set(names::PROBE_SUCCESS, true);
        samples.set_one(names::PROBE_HTTP_DURATION_SECONDS, "phase", "tls", 0.25);
        samples.set_many(
            names::PROBE_EXPECT_INFO,
            vec![("b c".into(), "q\"\\\n".into()), ("a".into(), "1".into())],
            true,
        );
        samples.sort();
        let text = |syntax, escaping| {
            let mut out = Vec::new();
            write_samples(&mut out, &samples, syntax, escaping);
            String::from_utf8(out).unwrap()
        };
        let want = "# HELP probe_expect_info Values taken from the answer of the peer, as the module's labels say.\n\
            # TYPE probe_expect_info gauge\n\
            probe_expect_info{a=\"1\",b_c=\"q\\\"\\\\\\n\"} 1\n\
            # HELP probe_http_duration_seconds Duration of the HTTP request by phase, summed over all redirects.\n\
            # TYPE probe_http_duration_seconds gauge\n\
            probe_http_duration_seconds{phase=\"tls\"} 0.25\n\
            # HELP probe_success Whether the probe succeeded.\n\
            # TYPE probe_success gauge\n\
            probe_success 1\n";
        assert_eq!(text(Syntax::Prometheus, Escaping::Underscores), want);
        assert_eq!(text(Syntax::OpenMetrics, Escaping::Underscores), format!("{want}# EOF\n"));
        for (escaping, name) in
            [(Escaping::AllowUtf8, "\"b c\""), (Escaping::Dots, "b__c"), (Escaping::Values, "U__b_20_c")]
        {
            assert!(text(Syntax::Prometheus, escaping).contains(&format!(",{name}=")), "{escaping:?}");
        }
    }

    #[test]
    fn openmetrics_counters_lose_total_in_their_header_only() {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, Syntax::OpenMetrics, Escaping::Underscores);
        writer.family(names::BLACKBOX_MODULE_UNKNOWN_TOTAL);
        writer.sample(&Labels::None, 2.0);
        writer.finish();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "# HELP blackbox_module_unknown Probe requests that named a module which does not exist.\n\
             # TYPE blackbox_module_unknown counter\nblackbox_module_unknown_total 2\n# EOF\n"
        );
    }
}
