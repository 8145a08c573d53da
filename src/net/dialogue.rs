//! The steps of `query_response` over any byte stream: expect a line, expect bytes, send, start TLS.
//!
//! The peer's rules, with one reader for the whole dialogue: `expect` skips lines until one
//! matches, a line ends at `\n` and may lose one `\r`, and a last line without an end counts only
//! when the stream ends, unless the step says `expect_partial`. Deadlines and the TLS handshake itself belong to the prober.

use std::io;
use std::ops::Range;

use tokio::io::{AsyncRead, AsyncWrite};

use super::buffered::{Buffered, Short};
use super::failure;
use crate::config::sections::dialogue::{DialogueStep, Label};
use crate::logging::{self, Level};
use crate::metrics::names;
use crate::regex::{Captures, GoRegex};
use crate::runner::{Phase, ProbeError, Reason, Report};

/// A compiled `query_response`.
#[derive(Debug, Clone)]
pub struct Dialogue {
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
struct Step {
    expect: Option<GoRegex>,
    /// Whether a line may match before its end has come.
    partial: bool,
    /// Names and templates; `Some` without any is a sample without labels.
    labels: Option<Vec<(String, String)>>,
    /// None if empty.
    expect_bytes: Box<[u8]>,
    send: Reply,
    starttls: bool,
}

#[derive(Debug, Clone)]
enum Reply {
    Nothing,
    /// As it goes out, line feed included.
    Literal(Box<[u8]>),
    /// To be expanded with the groups of `expect`; any bytes.
    Template(Box<[u8]>),
}

impl Dialogue {
    /// Makes a dialogue from the entries of a module.
    pub fn compile(entries: &[DialogueStep]) -> Self {
        Self { steps: entries.iter().map(Step::compile).collect() }
    }

    /// Begins at the first step; `peer` names the other end in errors.
    pub fn with<'a>(&'a self, peer: &'a str) -> Conversation<'a> {
        Conversation { peer, steps: self.steps.iter().enumerate() }
    }
}

impl Step {
    fn compile(entry: &DialogueStep) -> Self {
        let send = match &entry.send {
            text if text.is_empty() => Reply::Nothing,
            text if entry.expect.is_some() => Reply::Template(text.to_vec().into()),
            text => Reply::Literal(line(text.to_vec()).into()),
        };
        let labels = |labels: &Vec<Label>| {
            labels.iter().map(|label| (label.name.clone(), label.value.clone())).collect()
        };
        Self {
            expect: entry.expect.clone(),
            partial: entry.expect_partial,
            labels: entry.labels.as_ref().map(labels),
            expect_bytes: entry.expect_bytes.to_vec().into(),
            send,
            starttls: entry.starttls,
        }
    }
}

/// What is sent always ends in a line feed, also when it is not a line (the peer's rule).
fn line(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.push(b'\n');
    bytes
}

/// A dialogue that is under way.
#[derive(Debug)]
pub struct Conversation<'a> {
    peer: &'a str,
    steps: std::iter::Enumerate<std::slice::Iter<'a, Step>>,
}

/// Where a conversation stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// All steps are done.
    Done,
    /// The connection has to be encrypted before the next step; nothing is buffered.
    StartTls,
}

impl Conversation<'_> {
    /// Whether no step is left.
    pub fn is_over(&self) -> bool {
        self.steps.len() == 0
    }

    /// Goes on until all steps are done or one of them asks for TLS.
    ///
    /// The report knows the step that runs, which becomes `probe_failed_step` if the probe fails
    /// in it, be it over the deadline or in the handshake the step asked for.
    /// Writes `probe_expect_info` and sets `probe_failed_due_to_regex` and
    /// `probe_failed_due_to_bytes`, both of which the caller has announced with 0.
    ///
    /// # Errors
    /// In phase `dialogue`: the stream breaks or ends, the answer does not match, a line is longer
    /// than 64 KiB, or the peer sends plaintext after it agreed to TLS.
    pub async fn proceed<S>(
        &mut self,
        stream: &mut Buffered<S>,
        report: &mut Report,
    ) -> Result<Pause, ProbeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        for (index, step) in self.steps.by_ref() {
            report.at_step(Some(index + 1));
            let exchange = Exchange { peer: self.peer, number: index + 1, stream, report };
            exchange.run(step).await?;
            if step.starttls {
                let early = stream.unread().len();
                if early > 0 {
                    return Err(fail(
                        Reason::Protocol,
                        self.peer,
                        index + 1,
                        &format!("sent {early} bytes of plaintext after it agreed to start TLS"),
                    ));
                }
                return Ok(Pause::StartTls);
            }
        }
        report.at_step(None);
        Ok(Pause::Done)
    }
}

/// One step over one stream.
struct Exchange<'a, S> {
    peer: &'a str,
    /// Of the step, from 1.
    number: usize,
    stream: &'a mut Buffered<S>,
    report: &'a mut Report,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Exchange<'_, S> {
    async fn run(mut self, step: &Step) -> Result<(), ProbeError> {
        let expanded = match &step.expect {
            Some(pattern) => self.expect(step, pattern).await?,
            None => None,
        };
        if !step.expect_bytes.is_empty() {
            self.expect_bytes(&step.expect_bytes).await?;
        }
        match (&step.send, &expanded) {
            (_, Some(bytes)) => self.send(bytes).await,
            (Reply::Literal(bytes), None) => self.send(bytes).await,
            (Reply::Nothing | Reply::Template(_), None) => Ok(()),
        }
    }

    /// Skips lines until one matches, and returns what is to be sent then.
    async fn expect(&mut self, step: &Step, pattern: &GoRegex) -> Result<Option<Vec<u8>>, ProbeError> {
        let mut last = None;
        while let Some(range) = self.next_line(pattern, step.partial).await? {
            let line = self.stream.bytes(range);
            self.report.log(Level::Debug, "Read line", || vec![("line", lossy(line))]);
            let Some(captures) = pattern.captures(line) else {
                let last: &mut Vec<u8> = last.get_or_insert_default();
                last.clear();
                last.extend_from_slice(line.get(..=MAX_QUOTED).unwrap_or(line));
                continue;
            };
            self.report.samples.set(names::PROBE_FAILED_DUE_TO_REGEX, false);
            if let Some(labels) = &step.labels {
                publish(self.report, labels, &captures);
            }
            return Ok(match &step.send {
                Reply::Template(template) => expand(template, &captures),
                Reply::Literal(_) | Reply::Nothing => None,
            });
        }
        self.report.samples.set(names::PROBE_FAILED_DUE_TO_REGEX, true);
        let pattern = pattern.as_str();
        Err(match last {
            Some(last) => self.fail(
                Reason::Mismatch,
                &format!("closed the connection; its last line {} does not match {pattern:?}", quote(&last)),
            ),
            None => self.fail(
                Reason::Closed,
                &format!("closed the connection without a line; {pattern:?} was expected"),
            ),
        })
    }

    /// The next line without its end; `None` at the end of the stream.
    ///
    /// With `partial`, what has come of a line is one as soon as `pattern` matches it.
    async fn next_line(
        &mut self,
        pattern: &GoRegex,
        partial: bool,
    ) -> Result<Option<Range<usize>>, ProbeError> {
        let mut searched = 0;
        loop {
            let unread = self.stream.unread();
            let room = unread.len().min(MAX_LINE);
            let fresh = unread.get(searched..room).unwrap_or_default();
            let end = fresh.iter().position(|byte| *byte == b'\n');
            if let Some(end) = end {
                let mut line = self.stream.take(searched + end + 1);
                line.end -= 1;
                return Ok(Some(self.without_return(line)));
            }
            if room == MAX_LINE {
                return Err(
                    self.fail(Reason::TooLarge, &format!("sent a line of more than {MAX_LINE} bytes"))
                );
            }
            searched = room;
            if partial && room > 0 && pattern.is_match(self.stream.unread()) {
                return Ok(Some(self.stream.take(room)));
            }
            match self.stream.receive().await {
                Ok(0) if searched == 0 => return Ok(None),
                Ok(0) => {
                    let line = self.stream.take(searched);
                    return Ok(Some(self.without_return(line)));
                }
                Ok(_) => {}
                Err(error) => return Err(self.broken(error)),
            }
        }
    }

    fn without_return(&self, line: Range<usize>) -> Range<usize> {
        match self.stream.bytes(line.clone()).last() {
            Some(b'\r') => line.start..line.end - 1,
            _ => line,
        }
    }

    async fn expect_bytes(&mut self, want: &[u8]) -> Result<(), ProbeError> {
        let got = match self.stream.exactly(want.len()).await {
            Ok(got) => got,
            Err(Short::End { got }) => {
                let wanted = want.len();
                return Err(self.fail(
                    Reason::Closed,
                    &format!("closed the connection after {got} of the {wanted} expected bytes"),
                ));
            }
            Err(Short::Io(error)) => return Err(self.broken(error)),
        };
        let difference = (got != want).then(|| format!("sent {}, {} was expected", quote(got), quote(want)));
        self.report.samples.set(names::PROBE_FAILED_DUE_TO_BYTES, difference.is_some());
        match difference {
            Some(difference) => Err(self.fail(Reason::Mismatch, &difference)),
            None => Ok(()),
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), ProbeError> {
        self.report.log(Level::Debug, "Sending line", || {
            vec![("line", lossy(bytes.strip_suffix(b"\n").unwrap_or(bytes)))]
        });
        self.stream.send(bytes).await.map_err(|error| self.broken(error))
    }

    fn broken(&self, error: io::Error) -> ProbeError {
        let (peer, number) = (self.peer, self.number);
        failure::io(Phase::Dialogue, format_args!("{peer} at step {number} of query_response"), error)
    }

    fn fail(&self, reason: Reason, what: &str) -> ProbeError {
        fail(reason, self.peer, self.number, what)
    }
}

fn fail(reason: Reason, peer: &str, number: usize, what: &str) -> ProbeError {
    ProbeError::new(Phase::Dialogue, reason, format!("{peer} {what} (step {number} of query_response)"))
}

fn publish(report: &mut Report, labels: &[(String, String)], captures: &Captures<'_>) {
    let value = |template: &str| {
        let mut value = lossy(&captures.expand(template));
        logging::clip(&mut value, MAX_LABEL_VALUE);
        value
    };
    let labels = labels.iter().map(|(name, template)| (name.clone().into(), value(template)));
    report.samples.set_many(names::PROBE_EXPECT_INFO, labels.collect(), true);
}

/// What a template says to send; nothing if it comes out empty.
fn expand(template: &[u8], captures: &Captures<'_>) -> Option<Vec<u8>> {
    let filled = fill(template, captures);
    (!filled.is_empty()).then(|| line(filled))
}

/// Fills in a template that may hold bytes that are not text, which stand for themselves.
pub fn fill(template: &[u8], captures: &Captures<'_>) -> Vec<u8> {
    let mut filled = Vec::new();
    for chunk in template.utf8_chunks() {
        filled.append(&mut captures.expand(chunk.valid()));
        filled.extend_from_slice(chunk.invalid());
    }
    filled
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The first bytes of an answer, for a sentence.
pub fn quote(bytes: &[u8]) -> String {
    let shown = bytes.get(..MAX_QUOTED).unwrap_or(bytes);
    let more = if shown.len() < bytes.len() { "…" } else { "" };
    format!("\"{}{more}\"", shown.escape_ascii())
}

/// Longest line in bytes, its end included (the limit of Go's `bufio.Scanner`).
const MAX_LINE: usize = 64 * 1024;
/// Bytes of a label value taken from an answer.
const MAX_LABEL_VALUE: usize = 4096;
/// Bytes of an answer that an error sentence shows.
const MAX_QUOTED: usize = 128;

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn steps_take_what_is_theirs_however_the_bytes_arrive() {
        let expect = |pattern| DialogueStep { expect: GoRegex::parse(pattern).ok(), ..Default::default() };
        let steps = [
            expect("^b$"),
            DialogueStep { expect_bytes: "c\nd".into(), ..Default::default() },
            expect("^$"),
            expect("^e$"),
            DialogueStep { starttls: true, ..Default::default() },
        ];
        for room in [1, 2, 3, 5, 64] {
            for (sent, early) in [(&b"a\nb\r\nc\nd\n\ne\r\n"[..], false), (b"a\nb\nc\nd\n\ne\nf", true)] {
                let (near, mut far) = tokio::io::duplex(room);
                let peer = async move { far.write_all(sent).await };
                let mut report = Report::new(Level::None);
                let dialogue = Dialogue::compile(&steps);
                let mut conversation = dialogue.with("a.test:1");
                let probe = async {
                    // Closing the stream at the end lets the peer stop, too.
                    let mut stream = Buffered::new(near);
                    conversation.proceed(&mut stream, &mut report).await
                };
                let (_, result) = tokio::join!(peer, probe);
                match result {
                    Ok(pause) => assert_eq!(pause, Pause::StartTls),
                    Err(error) => {
                        assert!(early, "{}", error.chain());
                        assert_eq!((error.phase, error.reason), (Phase::Dialogue, Reason::Protocol));
                    }
                }
            }
        }
    }
}
