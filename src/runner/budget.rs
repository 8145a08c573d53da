//! How long a probe may take: the smaller of what the module and the scraper allow.

use std::time::Duration;

/// Time for one probe.
///
/// `module` is the module's own limit (`None` or zero: none), `scrape` the scraper's timeout in
/// seconds as its header says, `offset` what is kept of that for the way back. An offset above the
/// scrape timeout leaves the module's limit alone. Anything that is not a positive time is zero, and
/// then every network step fails at once. (Blackbox exporter's arithmetic, compared case by case.)
pub fn timeout(module: Option<Duration>, scrape: Option<f64>, offset: f64) -> Duration {
    let module = module.map_or(0.0, |limit| limit.as_secs_f64());
    let scrape = scrape.filter(|seconds| *seconds != 0.0).unwrap_or(DEFAULT_SCRAPE_TIMEOUT);
    let max = scrape - offset;
    let seconds = if (module > 0.0 && module < max) || max < 0.0 { module } else { max };
    if seconds < MAX_SECONDS {
        Duration::try_from_secs_f64(seconds).unwrap_or_default()
    } else {
        Duration::ZERO
    }
}

/// The value of the scraper's timeout header; `None` when it is empty.
///
/// # Errors
/// A sentence with the value, when it is not a number.
pub fn parse_header(value: &str) -> Result<Option<f64>, String> {
    if value.is_empty() {
        return Ok(None);
    }
    let complain = |why| format!("parsing {value:?} as seconds: {why}");
    let seconds: f64 = value.parse().map_err(|_| complain("invalid syntax"))?;
    if seconds.is_infinite() && value.contains(|c: char| c.is_ascii_digit()) {
        return Err(complain("value out of range"));
    }
    Ok(Some(seconds))
}

/// Assumed when the scraper does not tell, in seconds.
const DEFAULT_SCRAPE_TIMEOUT: f64 = 120.0;
/// Go's durations are 64-bit nanoseconds; from here on, in seconds, they overflow and become negative.
const MAX_SECONDS: f64 = 9.223_372_036e9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        let cases = [
            (0.0, Some(15.0), 0.5, 14.5),
            (5.0, Some(15.0), 0.5, 5.0),
            (20.0, Some(15.0), 0.5, 14.5),
            (10.0, None, 0.5, 10.0),
            (0.0, None, 0.5, 119.5),
            (0.0, Some(0.0), 0.5, 119.5),
            (9.5, None, 1.0, 9.5),
            (2.0, Some(0.1), 0.25, 2.0),
            (0.0, Some(0.1), 0.25, 0.0),
            (0.0, Some(0.5), 0.5, 0.0),
            (2.0, Some(0.5), 0.5, 0.0),
            (0.0, Some(-5.0), 0.5, 0.0),
            (2.0, Some(-5.0), 0.5, 2.0),
            (0.0, Some(f64::NAN), 0.5, 0.0),
            (2.0, Some(f64::NAN), 0.5, 0.0),
            (0.0, Some(f64::INFINITY), 0.5, 0.0),
            (2.0, Some(f64::INFINITY), 0.5, 2.0),
            (0.0, Some(1e300), 0.5, 0.0),
            (14.5, Some(15.0), 0.5, 14.5),
            (1.0, Some(1.0), -1.0, 1.0),
            (0.0, Some(1.0), -1.0, 2.0),
        ];
        for (module, header, offset, want) in cases {
            let got = timeout(Some(Duration::from_secs_f64(module)), header, offset);
            assert_eq!(got, Duration::from_secs_f64(want), "{module} {header:?} {offset}");
        }
        assert_eq!(timeout(None, Some(15.0), 0.5), Duration::from_millis(14_500));
    }

    #[test]
    fn the_header_is_a_float() {
        let cases =
            [("", Ok(None)), ("15", Ok(Some(15.0))), ("1e1", Ok(Some(10.0))), ("-.5", Ok(Some(-0.5)))];
        for (text, want) in cases {
            assert_eq!(parse_header(text), want, "{text}");
        }
        assert!(parse_header("nan").is_ok_and(|seconds| seconds.is_some_and(f64::is_nan)));
        assert_eq!(parse_header("inf"), Ok(Some(f64::INFINITY)));
        for (text, want) in [
            ("abc", "parsing \"abc\" as seconds: invalid syntax"),
            ("5s", "parsing \"5s\" as seconds: invalid syntax"),
            ("1e999", "parsing \"1e999\" as seconds: value out of range"),
        ] {
            assert_eq!(parse_header(text), Err(want.to_owned()));
        }
    }
}
