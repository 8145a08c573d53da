//! `query_response`: what to expect and what to send, step by step.

use super::note_unused;
use crate::config::bytes::Bytes;
use crate::config::decode::{Context, Segment, quote};
use crate::config::section::section;
use crate::config::yaml::emit::{Emit, Emitter};
use crate::config::yaml::tree::{Mapping, Node};
use crate::regex::GoRegex;

section! {
    /// One step; its keys take effect in the order in which they stand here.
    pub struct DialogueStep {
        /// A line must match; written but empty, it matches any line.
        expect: Option<GoRegex>,
        /// A line may match before its end has come, as a prompt does.
        expect_partial: bool,
        /// These bytes must follow; not together with `expect`.
        expect_bytes: Bytes,
        /// Emits `probe_expect_info` with these labels when `expect` matched, even if empty.
        labels: Option<Vec<Label>>,
        /// A template if the step has `expect`, otherwise sent as it is.
        send: Bytes,
        /// Start TLS after sending.
        starttls: bool,
    }
    check DialogueStep::validate
}

section! {
    /// A label of `probe_expect_info`.
    pub struct Label {
        /// Its name.
        name: String,
        /// A template for its value.
        value: String,
    }
}

impl DialogueStep {
    fn validate<'t>(&mut self, written: &Mapping<'t>, ctx: &mut Context<'t>) {
        self.protect_dollars(written);
        if self.expect.is_some() && !self.expect_bytes.is_empty() {
            ctx.error_here(
                written.position_of("expect_bytes"),
                "may have only one of expect and expect_bytes",
            );
        }
        if written.pairs().all(|(_, value)| value.is_null()) {
            let path = ctx.path();
            ctx.note(written.position(), format!("{path} is empty and does nothing"));
        }
        let labels = self.labels.as_deref().unwrap_or_default();
        if self.expect.is_none() {
            if !labels.is_empty() {
                note_unused("labels", "without expect", written, ctx);
            }
            if self.expect_partial {
                note_unused("expect_partial", "without expect", written, ctx);
            }
            return;
        }
        for (index, label) in labels.iter().enumerate() {
            let at = written.position_of("labels");
            let path = ctx.within(Segment::Key("labels"), |ctx| {
                ctx.within(Segment::Index(index), |ctx| ctx.key("name"))
            });
            let (name, shown) = (&label.name, quote(&label.name));
            let mangled = mangle(name);
            if name.is_empty() || name.starts_with("__") {
                ctx.breaks(
                    at,
                    format!("{path} must be a label name that does not begin with __, got {shown}"),
                );
            } else if labels[..index].iter().any(|earlier| mangle(&earlier.name) == mangled) {
                ctx.breaks(at, format!("{path} repeats the label {shown}"));
            } else if mangled != *name {
                ctx.note(at, format!("{path} is exposed as {mangled}, got {shown}"));
            }
        }
    }

    /// What placeholders stand for is no template, even where it stands in one.
    fn protect_dollars(&mut self, written: &Mapping<'_>) {
        if self.expect.is_none() {
            return;
        }
        let protected = |node: Node<'_>| Some(node.written()?.with(|value| value.replace('$', "$$")));
        if let Some(send) = written.get("send").and_then(protected) {
            self.send = send.as_str().into();
        }
        let labels = written.get("labels").and_then(Node::items).into_iter().flatten();
        let labels = labels.filter(|node| !node.is_null());
        for (label, node) in self.labels.iter_mut().flatten().zip(labels) {
            let value = node.mapping(&mut Vec::new()).and_then(|label| label.get("value"));
            if let Some(value) = value.and_then(protected) {
                label.value = value;
            }
        }
    }
}

/// The name in the text format: what a label name may not hold becomes `_`.
fn mangle(name: &str) -> String {
    let keep =
        |index: usize, c: char| c == '_' || c.is_ascii_alphabetic() || (index > 0 && c.is_ascii_digit());
    name.chars().enumerate().map(|(index, c)| if keep(index, c) { c } else { '_' }).collect()
}

/// Notes where a dialogue that is encrypted already, with `tls` from the start, starts TLS again.
pub(super) fn note_second_tls<'t>(
    tls: bool,
    steps: &[DialogueStep],
    written: &Mapping<'t>,
    ctx: &mut Context<'t>,
) {
    let starts = steps.iter().enumerate().filter(|(_, step)| step.starttls).map(|(index, _)| index);
    for index in starts.skip(usize::from(!tls)) {
        let path = ctx.within(Segment::Key("query_response"), |ctx| {
            ctx.within(Segment::Index(index), |ctx| ctx.key("starttls"))
        });
        let message = format!("{path} comes when the connection is encrypted already, and the probe fails");
        ctx.note(written.position_of("query_response"), message);
    }
}

/// Notes which keys of a dialogue a prober does not look at.
pub(super) fn note_ignored<'t>(
    steps: &[DialogueStep],
    prober: &str,
    written: &Mapping<'t>,
    ctx: &mut Context<'t>,
) {
    for (index, step) in steps.iter().enumerate() {
        let uses = [
            ("expect_partial", step.expect_partial),
            ("expect_bytes", !step.expect_bytes.is_empty()),
            ("labels", step.labels.is_some()),
            ("starttls", step.starttls),
        ];
        for (key, used) in uses {
            if used {
                let path = ctx.within(Segment::Key("query_response"), |ctx| {
                    ctx.within(Segment::Index(index), |ctx| ctx.key(key))
                });
                ctx.note(written.position_of("query_response"), format!("{path} has no effect in {prober}"));
            }
        }
    }
}

impl Emit for GoRegex {
    fn is_empty(&self) -> bool {
        false
    }
    fn emit(&self, out: &mut Emitter) {
        out.string(self.as_str());
    }
}
