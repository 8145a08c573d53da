//! Log lines: their levels, their two formats, and the one thread that writes them to stderr.
//!
//! The application log comes through `tracing` macros; log lines of probes are kept in their report
//! and formatted here when somebody reads them. Field names and quoting are those of Go's `slog`,
//! because that is what existing log pipelines parse.

use std::backtrace::Backtrace;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::panic;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Local, SecondsFormat};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Metadata, Subscriber, span};

/// Importance of a log line; as a threshold, the least importance that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Steps of a probe.
    Debug,
    /// What an operator wants to know.
    Info,
    /// Works, but not as somebody meant it to.
    Warn,
    /// Failed.
    Error,
    /// Only a threshold: no line reaches it.
    None,
}

impl Level {
    /// The level of a name in any case; [`Level::None`] has none.
    pub fn parse(name: &str) -> Option<Self> {
        let levels = [Self::Debug, Self::Info, Self::Warn, Self::Error];
        levels.into_iter().find(|level| level.as_str().eq_ignore_ascii_case(name))
    }

    /// As it stands in a log line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
            Self::None => "NONE",
        }
    }

    fn filter(self) -> LevelFilter {
        match self {
            Self::Debug => LevelFilter::DEBUG,
            Self::Info => LevelFilter::INFO,
            Self::Warn => LevelFilter::WARN,
            Self::Error => LevelFilter::ERROR,
            Self::None => LevelFilter::OFF,
        }
    }
}

impl From<tracing::Level> for Level {
    fn from(level: tracing::Level) -> Self {
        match level {
            tracing::Level::ERROR => Self::Error,
            tracing::Level::WARN => Self::Warn,
            tracing::Level::INFO => Self::Info,
            _ => Self::Debug,
        }
    }
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `key=value` pairs.
    Logfmt,
    /// One JSON object.
    Json,
}

/// One log line in the making; ended by [`Line::finish`].
#[derive(Debug)]
pub struct Line<'a> {
    out: &'a mut String,
    format: Format,
}

impl<'a> Line<'a> {
    /// Appends the part every line begins with; `source` says which part of the program speaks.
    pub fn new(
        out: &'a mut String,
        format: Format,
        time: SystemTime,
        level: Level,
        source: &str,
        message: &str,
    ) -> Self {
        let time = DateTime::<Local>::from(time);
        let mut line = Self { out, format };
        let time = match format {
            Format::Logfmt => time.to_rfc3339_opts(SecondsFormat::Millis, true),
            Format::Json => {
                line.out.push('{');
                time.to_rfc3339_opts(SecondsFormat::Nanos, true)
            }
        };
        line.field("time", &time);
        line.field("level", level.as_str());
        line.field("source", source);
        line.field("msg", message);
        line
    }

    /// Appends a field with a text value; a name may come twice.
    pub fn field(&mut self, name: &str, value: &str) {
        self.name(name);
        match self.format {
            Format::Logfmt if needs_quotes(value) => quote(self.out, value),
            Format::Logfmt => self.out.push_str(value),
            Format::Json => quote_json(self.out, value),
        }
    }

    /// Appends a field of a probe's log line: measures become numbers in JSON.
    pub fn probe_field(&mut self, name: &str, value: &str) {
        if self.format == Format::Json && is_measure(name) && is_json_number(value) {
            self.raw(name, value);
        } else {
            self.field(name, value);
        }
    }

    /// Ends the line.
    pub fn finish(self) {
        self.out.push_str(match self.format {
            Format::Logfmt => "\n",
            Format::Json => "}\n",
        });
    }

    fn raw(&mut self, name: &str, value: impl fmt::Display) {
        self.name(name);
        // Writing to a string cannot fail.
        let _ = write!(self.out, "{value}");
    }

    fn name(&mut self, name: &str) {
        match self.format {
            Format::Logfmt => {
                if !self.out.is_empty() && !self.out.ends_with('\n') {
                    self.out.push(' ');
                }
                self.out.push_str(name);
                self.out.push('=');
            }
            Format::Json => {
                if !self.out.ends_with('{') {
                    self.out.push(',');
                }
                quote_json(self.out, name);
                self.out.push(':');
            }
        }
    }
}

/// Fields that hold a number by their name; a value that only looks like one stays text, since a
/// field that changes its type breaks the index of a log store.
fn is_measure(name: &str) -> bool {
    ["_seconds", "_bytes", "_code"].iter().any(|suffix| name.ends_with(suffix))
}

fn is_json_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    let leading_zero = digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.");
    plain
        && digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.ends_with(|c: char| c.is_ascii_digit())
        && !leading_zero
        && !digits.contains(".e")
        && text.parse::<f64>().is_ok_and(f64::is_finite)
}

/// Whether `slog`'s text handler would quote this value.
fn needs_quotes(value: &str) -> bool {
    value.is_empty()
        || value.chars().any(|c| match c {
            ' ' | '=' | '"' => true,
            '\u{7f}' => false,
            c if c.is_ascii() => c.is_ascii_control(),
            c => c == char::REPLACEMENT_CHARACTER || c.is_whitespace() || !is_printable(c),
        })
}

/// Rust's own idea of printable, which also escapes marks that combine with the character before.
fn is_printable(c: char) -> bool {
    c.escape_debug().len() == 1
}

/// Quotes as Go's `strconv.Quote`.
pub fn quote(out: &mut String, value: &str) {
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            c if c.is_ascii_control() => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c if c.is_ascii() || is_printable(c) => out.push(c),
            c if u32::from(c) < 0x1_0000 => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => {
                let _ = write!(out, "\\U{:08x}", u32::from(c));
            }
        }
    }
    out.push('"');
}

fn quote_json(out: &mut String, value: &str) {
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // The two line separators end a line in JavaScript.
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Cuts a text to at most `max_bytes` bytes; the last character of a text that was cut is `…`.
pub fn clip(text: &mut String, max_bytes: usize) {
    if text.len() <= max_bytes {
        return;
    }
    let mark = if max_bytes >= '…'.len_utf8() { "…" } else { "" };
    let mut end = max_bytes - mark.len();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.push_str(mark);
}

/// Begins the application log: lines of `level` and above, in `format`.
///
/// Panics become lines too. A second call has no effect.
pub fn init(level: Level, format: Format) {
    // Fails only when there is a subscriber already.
    if tracing::subscriber::set_global_default(AppLog { level, format }).is_ok() {
        panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            let payload = panic.payload();
            let why = payload.downcast_ref::<String>().map(String::as_str);
            let why = why.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message");
            tracing::error!(err = why, place, backtrace = %Backtrace::capture(), "Panic, which is always a bug");
        }));
    }
}

/// Events of this crate to stderr. Libraries are left out: what they find worth a line is a detail of one probe.
struct AppLog {
    level: Level,
    format: Format,
}

impl Subscriber for AppLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        !metadata.is_span()
            && Level::from(*metadata.level()) >= self.level
            && metadata.target().split("::").next() == Some(env!("CARGO_CRATE_NAME"))
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level.filter())
    }

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let mut message = Message(String::new());
        event.record(&mut message);
        let file = metadata.file().unwrap_or_default();
        let file = file.rsplit_once("src/").map_or(file, |(_, file)| file);
        let source = format!("{file}:{}", metadata.line().unwrap_or_default());
        let mut out = String::with_capacity(USUAL_LINE);
        let level = Level::from(*metadata.level());
        let line = Line::new(&mut out, self.format, SystemTime::now(), level, &source, &message.0);
        let mut fields = Fields(line);
        event.record(&mut fields);
        fields.0.finish();
        write(out);
    }

    // There are no spans.
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == MESSAGE {
            let _ = write!(self.0, "{value:?}");
        }
    }
}

struct Fields<'a>(Line<'a>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() != MESSAGE {
            self.0.field(field.name(), &format!("{value:?}"));
        }
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() != MESSAGE {
            self.0.field(field.name(), value);
        }
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.0.raw(field.name(), value);
        } else {
            self.0.field(field.name(), &value.to_string());
        }
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.raw(field.name(), value);
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.raw(field.name(), value);
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.raw(field.name(), value);
    }
}

/// What `tracing` calls the text of an event.
const MESSAGE: &str = "message";
/// Bytes of a line nobody went out of their way to make long.
const USUAL_LINE: usize = 256;

/// Writes one or more whole lines, at once if stderr takes them, so that whoever has a reply finds what was logged
/// before it. Otherwise the writer thread gets them, which writes each with one system call.
///
/// Never blocks: a reader of stderr that stands still must not stop the probes. Lines that do not
/// fit into the queue are dropped, and counted in a line of their own later.
pub fn write(lines: String) {
    let writer = writer();
    let bytes = lines.len();
    if bytes <= libc::PIPE_BUF && writer.write_at_once(&lines) {
        return;
    }
    if writer.queued.fetch_add(bytes, Ordering::Relaxed) + bytes > MAX_QUEUED_BYTES {
        writer.queued.fetch_sub(bytes, Ordering::Relaxed);
        writer.dropped.fetch_add(1, Ordering::Relaxed);
        return;
    }
    // Fails only when the thread is gone, and then there is nobody to tell.
    let _ = writer.queue.send(Job::Lines(lines));
}

/// Waits until everything handed over so far is written, or for `patience`.
pub fn flush(patience: Duration) {
    let (done, wait) = mpsc::channel();
    if writer().queue.send(Job::Flush(done)).is_ok() {
        let _ = wait.recv_timeout(patience);
    }
}

struct Writer {
    queue: mpsc::Sender<Job>,
    queued: AtomicUsize,
    dropped: AtomicU64,
    /// Held while something is written.
    writing: Mutex<()>,
}

impl Writer {
    /// Whether the lines, at most `PIPE_BUF` bytes, are written: nothing waits before them, and stderr has room.
    fn write_at_once(&self, lines: &str) -> bool {
        let Ok(_writing) = self.writing.try_lock() else { return false };
        // What waits is counted until it is written, so nobody overtakes it.
        self.queued.load(Ordering::Acquire) == 0
            && has_room()
            // A closed stderr leaves nobody to tell.
            && std::io::stderr().write_all(lines.as_bytes()).is_ok()
    }
}

/// Whether stderr takes `PIPE_BUF` bytes without waiting (pipe(7), poll(2)). Files always do.
#[expect(unsafe_code, reason = "std has no poll")]
fn has_room() -> bool {
    let mut stderr = libc::pollfd { fd: libc::STDERR_FILENO, events: libc::POLLOUT, revents: 0 };
    // SAFETY: one structure that is ours and outlives the call, and no waiting.
    let ready = unsafe { libc::poll(&raw mut stderr, 1, 0) };
    ready == 1 && stderr.revents == libc::POLLOUT
}

enum Job {
    Lines(String),
    Flush(mpsc::Sender<()>),
}

/// Bytes of log lines that may wait for a slow reader of stderr.
const MAX_QUEUED_BYTES: usize = 4 << 20;

fn writer() -> &'static Writer {
    static WRITER: OnceLock<Writer> = OnceLock::new();
    WRITER.get_or_init(|| {
        let (queue, jobs) = mpsc::channel();
        // Without a thread the queue has no reader, and each line is dropped when it is sent.
        let _ = std::thread::Builder::new().name("log".to_owned()).spawn(move || write_all(&jobs));
        Writer { queue, queued: AtomicUsize::new(0), dropped: AtomicU64::new(0), writing: Mutex::new(()) }
    })
}

fn write_all(jobs: &mpsc::Receiver<Job>) {
    // Locked for each line only: whoever else writes to it, such as a test or a panic, must not wait for ever.
    let mut stderr = std::io::stderr();
    for job in jobs {
        match job {
            Job::Lines(lines) => {
                let writer = writer();
                let writing = writer.writing.lock().unwrap_or_else(PoisonError::into_inner);
                for line in lines.split_inclusive('\n') {
                    // A closed stderr leaves nobody to tell.
                    let _ = stderr.write_all(line.as_bytes());
                }
                writer.queued.fetch_sub(lines.len(), Ordering::Release);
                drop(writing);
                let dropped = writer.dropped.swap(0, Ordering::Relaxed);
                if dropped > 0 {
                    let _ = writeln!(
                        stderr,
                        "level=WARN msg=\"Log lines were dropped because stderr is slow\" count={dropped}"
                    );
                }
            }
            Job::Flush(done) => {
                let _ = done.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_may_write_to_stderr_too() {
        write("one line of the log\n".to_owned());
        flush(Duration::from_secs(10));
        let (done, wait) = mpsc::channel();
        std::thread::spawn(move || done.send(std::io::stderr().write_all(b"one line of another\n").is_ok()));
        assert_eq!(wait.recv_timeout(Duration::from_secs(10)), Ok(true));
    }

    #[test]
    fn levels_are_ordered_and_parse_in_any_case() {
        assert!(Level::Debug < Level::Info && Level::Warn < Level::Error && Level::Error < Level::None);
        let cases = [
            ("debug", Some(Level::Debug)),
            ("INFO", Some(Level::Info)),
            ("Warn", Some(Level::Warn)),
            ("error", Some(Level::Error)),
            ("none", None),
            ("warning", None),
            ("", None),
        ];
        for (name, want) in cases {
            assert_eq!(Level::parse(name), want, "{name}");
        }
    }

    #[test]
    fn values_are_quoted_as_go_does() {
        let cases = [
            ("plain", "plain"),
            ("http://a.test:80/?q", "http://a.test:80/?q"),
            (r"C:\dir", r"C:\dir"),
            ("é", "é"),
            ("", r#""""#),
            ("a b", r#""a b""#),
            ("a=b", r#""a=b""#),
            ("say \"x\"", r#""say \"x\"""#),
            ("a\nb\tc\u{7}\u{0}", r#""a\nb\tc\a\x00""#),
            ("back \\ slash", r#""back \\ slash""#),
            ("\u{202e}", r#""\u202e""#),
            ("\u{e0001}", r#""\U000e0001""#),
        ];
        for (value, want) in cases {
            let mut out = String::new();
            Line { out: &mut out, format: Format::Logfmt }.field("k", value);
            assert_eq!(out, format!("k={want}"));
        }
    }

    #[test]
    fn a_line_in_both_formats() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_500_000_000_123_456_789);
        let text = |format| {
            let mut out = String::new();
            let mut line = Line::new(&mut out, format, time, Level::Warn, "app.rs:7", "Two words");
            line.field("target", "a\"b\n");
            line.field("target", "");
            line.probe_field("duration_seconds", "0.25");
            line.probe_field("regexp", "12");
            line.finish();
            out
        };
        let local = DateTime::<Local>::from(time);
        assert_eq!(
            text(Format::Logfmt),
            format!(
                "time={} level=WARN source=app.rs:7 msg=\"Two words\" target=\"a\\\"b\\n\" target=\"\" \
                 duration_seconds=0.25 regexp=12\n",
                local.to_rfc3339_opts(SecondsFormat::Millis, true)
            )
        );
        assert_eq!(
            text(Format::Json),
            format!(
                "{{\"time\":\"{}\",\"level\":\"WARN\",\"source\":\"app.rs:7\",\"msg\":\"Two words\",\
                 \"target\":\"a\\\"b\\n\",\"target\":\"\",\"duration_seconds\":0.25,\"regexp\":\"12\"}}\n",
                local.to_rfc3339_opts(SecondsFormat::Nanos, true)
            )
        );
    }

    #[test]
    fn only_json_numbers_are_written_bare() {
        for text in ["0", "-1", "0.5", "12", "1e-7", "1.5e+20"] {
            assert!(is_json_number(text), "{text}");
        }
        for text in ["", "-", "01", ".5", "5.", "1.e5", "inf", "NaN", "0x1", "1 ", "+1", "1e999", "1-2"] {
            assert!(!is_json_number(text), "{text}");
        }
    }

    #[test]
    fn clipping_keeps_whole_characters() {
        let cases =
            [("abc", 3, "abc"), ("abcdef", 5, "ab…"), ("ééé", 5, "é…"), ("abc", 2, "ab"), ("é", 1, "")];
        for (text, max, want) in cases {
            let mut text = text.to_owned();
            clip(&mut text, max);
            assert_eq!(text, want);
        }
    }
}
