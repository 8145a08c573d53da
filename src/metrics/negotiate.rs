//! Which exposition a scraper gets: its `Accept` and `Accept-Encoding` headers judged.

use super::text::{Escaping, Syntax};

/// The text a scraper asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exposition {
    /// Which text.
    pub syntax: Syntax,
    /// How unusual label names are written in it.
    pub escaping: Escaping,
}

impl Exposition {
    /// What is sent to anybody who asks for nothing we have.
    pub const DEFAULT: Self = Self { syntax: Syntax::Prometheus, escaping: Escaping::Underscores };

    /// The best offer for an `Accept` header.
    ///
    /// The highest quality wins, then the order of the header. `text/plain` stands for version 0.0.4
    /// whatever version is asked for; OpenMetrics is offered in version 1.0.0 only; protobuf is not.
    /// As in Prometheus' own negotiation, an `escaping` parameter of an entry that is passed over
    /// stays in force for the entry that is taken.
    pub fn negotiate(accept: &str) -> Self {
        let mut entries = [Entry::NOTHING; MAX_ENTRIES];
        let mut count = 0;
        for (slot, text) in entries.iter_mut().zip(accept.split(',')) {
            *slot = Entry::parse(text);
            count += 1;
        }
        let entries = &mut entries[..count];
        entries.sort_by(|a, b| b.quality.total_cmp(&a.quality));
        let mut escaping = Escaping::Underscores;
        for entry in entries.iter().filter(|entry| entry.quality > 0.0) {
            escaping = entry.escaping.unwrap_or(escaping);
            if let Some(syntax) = entry.syntax {
                return Self { syntax, escaping };
            }
        }
        Self { syntax: Syntax::Prometheus, escaping }
    }

    /// Value of the `Content-Type` header.
    pub const fn content_type(self) -> &'static str {
        match (self.syntax, self.escaping) {
            (Syntax::Prometheus, Escaping::Underscores) => {
                "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
            }
            (Syntax::Prometheus, Escaping::AllowUtf8) => {
                "text/plain; version=0.0.4; charset=utf-8; escaping=allow-utf-8"
            }
            (Syntax::Prometheus, Escaping::Dots) => "text/plain; version=0.0.4; charset=utf-8; escaping=dots",
            (Syntax::Prometheus, Escaping::Values) => {
                "text/plain; version=0.0.4; charset=utf-8; escaping=values"
            }
            (Syntax::OpenMetrics, Escaping::Underscores) => {
                "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"
            }
            (Syntax::OpenMetrics, Escaping::AllowUtf8) => {
                "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8"
            }
            (Syntax::OpenMetrics, Escaping::Dots) => {
                "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=dots"
            }
            (Syntax::OpenMetrics, Escaping::Values) => {
                "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=values"
            }
        }
    }
}

/// One entry of an `Accept` header.
#[derive(Clone, Copy)]
struct Entry {
    quality: f32,
    syntax: Option<Syntax>,
    escaping: Option<Escaping>,
}

impl Entry {
    const NOTHING: Self = Self { quality: 0.0, syntax: None, escaping: None };

    fn parse(text: &str) -> Self {
        let mut parts = text.split(';');
        let kind = parts.next().unwrap_or_default().trim();
        let mut entry = Self { quality: 1.0, syntax: None, escaping: None };
        let mut version = "";
        for part in parts {
            let Some((name, value)) = part.split_once('=') else { continue };
            let value = value.trim().trim_matches('"');
            match name.trim() {
                "q" => entry.quality = quality(value),
                "version" => version = value,
                "escaping" => {
                    entry.escaping = match value {
                        "underscores" => Some(Escaping::Underscores),
                        "allow-utf-8" => Some(Escaping::AllowUtf8),
                        "dots" => Some(Escaping::Dots),
                        "values" => Some(Escaping::Values),
                        _ => None,
                    };
                }
                _ => {}
            }
        }
        entry.syntax = match (kind, version) {
            ("text/plain", "" | "0.0.4" | "1.0.0") => Some(Syntax::Prometheus),
            ("application/openmetrics-text", "" | "1.0.0") => Some(Syntax::OpenMetrics),
            _ => None,
        };
        entry
    }
}

/// Entries of an `Accept` header that are looked at; Prometheus sends six.
const MAX_ENTRIES: usize = 16;

/// Whether an `Accept-Encoding` header names gzip and does not rule it out; `*` does not name it.
pub fn accepts_gzip(accept_encoding: &str) -> bool {
    accept_encoding.split(',').any(|entry| {
        let mut parts = entry.split(';');
        let is_gzip = parts.next().is_some_and(|name| name.trim().eq_ignore_ascii_case("gzip"));
        let mut qualities = parts.filter_map(|part| part.trim().strip_prefix("q="));
        is_gzip && qualities.next().is_none_or(|value| quality(value) > 0.0)
    })
}

/// A quality between 0 and 1; what is none counts as 1, as if it were not there.
fn quality(value: &str) -> f32 {
    value.trim().parse().ok().filter(|quality| (0.0..=1.0).contains(quality)).unwrap_or(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scraper_gets_what_it_likes_best_of_what_there_is() {
        use Escaping::{AllowUtf8, Dots, Underscores, Values};
        use Syntax::{OpenMetrics, Prometheus};
        let cases = [
            ("", Prometheus, Underscores),
            ("*/*", Prometheus, Underscores),
            ("text/html", Prometheus, Underscores),
            ("text/plain;version=1.0.0", Prometheus, Underscores),
            ("text/plain; version=0.0.4; escaping=values", Prometheus, Values),
            ("application/openmetrics-text", OpenMetrics, Underscores),
            ("application/openmetrics-text; version=1.0.0; escaping=dots", OpenMetrics, Dots),
            ("application/openmetrics-text; version=0.0.1", Prometheus, Underscores),
            ("application/openmetrics-text;q=0.2,text/plain;q=0.5", Prometheus, Underscores),
            ("application/openmetrics-text;q=0,text/plain;q=0.1", Prometheus, Underscores),
            ("text/plain,application/openmetrics-text", Prometheus, Underscores),
            ("application/openmetrics-text;escaping=nonsense", OpenMetrics, Underscores),
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;\
                 escaping=allow-utf-8;q=0.7,text/plain;version=0.0.4;q=0.3",
                Prometheus,
                AllowUtf8,
            ),
            // Prometheus 2.
            (
                "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
                 text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                OpenMetrics,
                Underscores,
            ),
            // Prometheus 3.
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                 application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                 text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                OpenMetrics,
                AllowUtf8,
            ),
        ];
        for (accept, syntax, escaping) in cases {
            assert_eq!(Exposition::negotiate(accept), Exposition { syntax, escaping }, "{accept}");
        }
        let many = "a/b,".repeat(MAX_ENTRIES) + "application/openmetrics-text";
        assert_eq!(Exposition::negotiate(&many), Exposition::DEFAULT);
    }

    #[test]
    fn the_content_type_names_version_and_escaping() {
        assert_eq!(
            Exposition::DEFAULT.content_type(),
            "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
        );
        let open = Exposition { syntax: Syntax::OpenMetrics, escaping: Escaping::AllowUtf8 };
        assert_eq!(
            open.content_type(),
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8"
        );
    }

    #[test]
    fn gzip_is_used_only_when_named() {
        for header in ["gzip", "zstd, gzip", "gzip;q=0.1,identity", "GZIP", "deflate , gzip; q=1"] {
            assert!(accepts_gzip(header), "{header}");
        }
        for header in ["", "zstd", "*", "gzip;q=0", "gzip; q=0.0", "identity", "xgzip"] {
            assert!(!accepts_gzip(header), "{header}");
        }
    }
}
