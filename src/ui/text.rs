//! Values as people read them.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};
use maud::{Escaper, Markup, Render, html};

use crate::metrics::text::write_value;

/// Text that somebody else chose: escaped, and with characters that would do something instead of being seen
/// shown as what they are, so that a banner cannot turn its line around.
#[derive(Debug, Clone, Copy)]
pub struct Foreign<'a>(pub &'a str);

impl Render for Foreign<'_> {
    fn render_to(&self, out: &mut String) {
        let mut escaper = Escaper::new(out);
        let mut rest = self.0;
        while let Some(at) = rest.find(is_unseen) {
            let (seen, tail) = rest.split_at(at);
            // Writing into a string cannot fail.
            let _ = escaper.write_str(seen);
            let mut characters = tail.chars();
            let _ = characters.next().map(|unseen| write!(escaper, "{}", unseen.escape_default()));
            rest = characters.as_str();
        }
        let _ = escaper.write_str(rest);
    }
}

/// A whole file in its own box.
pub fn file(text: &str) -> Markup {
    html! {
        pre tabindex="0" {
            @for line in text.lines() { (Foreign(line)) "\n" }
        }
    }
}

/// Control characters, those without width, and those that govern the direction of text (UAX #9).
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A duration with three to four digits and its unit.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match seconds {
        0.0 => "0 ms".to_owned(),
        1.0.. => format!("{seconds:.2} s"),
        0.001.. => format!("{:.1} ms", seconds * 1e3),
        _ => format!("{:.0} µs", seconds * 1e6),
    }
}

/// A moment, to the second, in UTC.
pub fn clock(time: SystemTime) -> String {
    DateTime::<Utc>::from(time).format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// How long ago `time` was, with the moment itself for machines and for those who point at it.
pub fn age(now: SystemTime, time: SystemTime) -> Markup {
    let machine = DateTime::<Utc>::from(time).to_rfc3339_opts(SecondsFormat::Millis, true);
    let seconds = now.duration_since(time).unwrap_or_default().as_secs();
    html! {
        time datetime=(machine) title=(clock(time)) { (rough(seconds)) " ago" }
    }
}

/// A long time in its largest whole unit.
pub fn rough(seconds: u64) -> String {
    match seconds {
        172_800.. => format!("{} days", seconds / 86_400),
        7_200.. => format!("{} h", seconds / 3600),
        120.. => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}

/// A unix time in seconds as a moment; `None` for what no calendar has.
pub fn moment(unix_seconds: f64) -> Option<SystemTime> {
    let since = Duration::try_from_secs_f64(unix_seconds).ok()?;
    // Beyond that chrono has no dates.
    (since.as_secs() <= LAST_SECOND).then_some(())?;
    SystemTime::UNIX_EPOCH.checked_add(since)
}

/// End of the year 9999, which is as far as certificates reach (RFC 5280 §4.1.2.5).
const LAST_SECOND: u64 = 253_402_300_799;

/// A number as the exposition has it.
pub fn number(value: f64) -> String {
    let mut text = Vec::new();
    write_value(&mut text, value);
    String::from_utf8_lossy(&text).into_owned()
}

/// A value of a query: everything but unreserved characters escaped (RFC 3986 §2.3).
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            byte => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_is_escaped_and_seen() {
        let cases = [
            ("plain – täxt 漢", "plain – täxt 漢"),
            ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
            ("\"'&amp;", "&quot;'&amp;amp;"),
            ("a\r\nb\tc\0\x1b[31m", "a\\r\\nb\\tc\\u{0}\\u{1b}[31m"),
            ("\u{202e}txt.exe\u{2066}\u{200f}", "\\u{202e}txt.exe\\u{2066}\\u{200f}"),
            ("\u{85}<\u{feff}", "\\u{85}&lt;\\u{feff}"),
        ];
        for (text, want) in cases {
            assert_eq!(Foreign(text).render().into_string(), want, "{text:?}");
        }
    }

    #[test]
    fn durations_and_moments() {
        let durations = [0, 999, 1_000_000, 12_345_678, 999_949_999, 1_500_000_000, 120_000_000_000];
        assert_eq!(
            durations.map(|nanos| duration(Duration::from_nanos(nanos))),
            ["0 ms", "1 µs", "1.0 ms", "12.3 ms", "999.9 ms", "1.50 s", "120.00 s"]
        );
        assert_eq!(
            [0, 119, 120, 7_199, 7_200, 172_800].map(rough),
            ["0 s", "119 s", "2 min", "119 min", "2 h", "2 days"]
        );
        assert_eq!(moment(1.5), Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1500)));
        for none in [-1.0, f64::NAN, f64::INFINITY, 1e18] {
            assert_eq!(moment(none), None);
        }
        let last = moment(253_402_300_799.0).map(clock);
        assert_eq!(last.as_deref(), Some("9999-12-31 23:59:59 UTC"));
        let (early, late) = (SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + Duration::from_secs(90));
        let want =
            "<time datetime=\"1970-01-01T00:00:00.000Z\" title=\"1970-01-01 00:00:00 UTC\">90 s ago</time>";
        assert_eq!(age(late, early).into_string(), want);
        assert!(age(early, late).into_string().contains(">0 s ago<"), "clocks are set back now and then");
    }

    #[test]
    fn values_of_a_query() {
        assert_eq!(encode("a-B_9.~"), "a-B_9.~");
        assert_eq!(encode("http://ü/?a=1&b#\"<"), "http%3A%2F%2F%C3%BC%2F%3Fa%3D1%26b%23%22%3C");
    }
}
