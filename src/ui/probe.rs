//! The page of one remembered probe: what came out and why, the timeline, the certificate, log lines, metrics
//! and the module.

use std::sync::Arc;
use std::time::Duration;

use maud::{Markup, html};

use super::text::{Foreign, age, clock, duration, encode, file, moment, number};
use super::{Place, certificate, page, start, waterfall};
use crate::metrics::names as n;
use crate::metrics::samples::{Labels, Sample};
use crate::runner::history::Record;
use crate::runner::{Event, ProbeError, Report};

/// The page of a probe. `others` are probes of the same module and target, this one possibly among them.
pub fn probe(place: Place, record: &Record, others: &[Arc<Record>]) -> String {
    let outcome = &record.outcome;
    let report = &outcome.report;
    let others: Vec<&Record> = others.iter().map(Arc::as_ref).filter(|other| other.id != record.id).collect();
    page(
        place,
        &format!("{} with {}", record.target, record.module.name),
        None,
        &html! {
            h1 class="target" { (Foreign(&record.target)) }
            (summary(place, record))
            @if let Some(error) = &outcome.failure { (failure(error)) }
            section class="card" aria-labelledby="timeline" {
                h2 id="timeline" { "Timeline" }
                (waterfall::timeline(outcome))
            }
            @if let Some(certificate) = certificate::section(outcome) { (certificate) }
            section class="card" aria-labelledby="log" {
                h2 id="log" { "Log" }
                (log(report))
            }
            section class="card" aria-labelledby="metrics" {
                h2 id="metrics" { "Metrics" }
                (metrics(report.samples.as_slice()))
            }
            section class="card" aria-labelledby="module" {
                h2 id="module" { "Module " (Foreign(&record.module.name)) }
                p class="quiet" { "As it was for this probe, with defaults and without secrets." }
                (file(&record.module_yaml()))
            }
            @if !others.is_empty() {
                section aria-labelledby="others" {
                    h2 id="others" { "Other probes of this target" }
                    (start::table(place, others.get(..MAX_OTHERS).unwrap_or(&others)))
                }
            }
        },
    )
}

/// Rows of the table at the end of the page.
const MAX_OTHERS: usize = 20;

fn summary(place: Place, record: &Record) -> Markup {
    let outcome = &record.outcome;
    let (root, id) = (place.root, record.id);
    let module = &record.module;
    let limit = outcome.report.samples.value(n::PROBE_TIMEOUT_SECONDS, &Labels::None);
    let limit = limit.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    html! {
        dl class="tiles" {
            div class=(if outcome.is_success() { "good" } else { "bad" }) {
                dt { "Result" }
                dd { @if outcome.is_success() { "Success" } @else { "Failure" } }
            }
            div { dt { "Took" } dd { (duration(outcome.duration)) } }
            @if let Some(limit) = limit { div { dt { "Allowed" } dd { (duration(limit)) } } }
            div {
                dt { "Module" }
                dd {
                    a href={ (root) "configuration?module=" (encode(&module.name)) } { (Foreign(&module.name)) }
                    @if let Some(kind) = module.written.prober { " " span class="quiet" { (kind.name()) } }
                }
            }
            @if let Some(hostname) = &record.hostname { div { dt { "Host name" } dd { (Foreign(hostname)) } } }
            div { dt { "Begun" } dd { (age(place.now, outcome.report.started_at())) } }
        }
        div class="actions" {
            form action={ (root) "probes/run" } method="get" {
                input type="hidden" name="module" value=(module.name);
                input type="hidden" name="target" value=(record.target);
                @if let Some(hostname) = &record.hostname { input type="hidden" name="hostname" value=(hostname); }
                button class="main" { "Probe again" }
            }
            a class="button" href={ (root) "logs?id=" (id) } { "As text" }
            a class="button" href={ (root) "api/v1/history?id=" (id) } { "As JSON" }
        }
    }
}

/// Why it failed: what happened, then what the two words of the metric mean.
fn failure(error: &ProbeError) -> Markup {
    html! {
        section class="card failure" aria-labelledby="failure" {
            h2 id="failure" { "Why it failed" }
            p class="why" { (Foreign(&error.chain())) }
            dl class="facts" {
                dt { "Phase " code { (error.phase.as_str()) } } dd { (error.phase.help()) }
                dt { "Reason " code { (error.reason.as_str()) } } dd { (error.reason.help()) }
            }
        }
    }
}

fn log(report: &Report) -> Markup {
    html! {
        @if report.events().is_empty() {
            p class="quiet" { "No lines. " code { "--log.prober=debug" } " keeps more of them." }
        } @else {
            div class="scroll" tabindex="0" role="region" aria-label="Log lines" {
                table class="log" {
                    thead { tr {
                        th scope="col" class="number" { "At" }
                        th scope="col" { "Level" }
                        th scope="col" { "What" }
                    } }
                    tbody { @for event in report.events() { (line(event)) } }
                }
            }
        }
    }
}

fn line(event: &Event) -> Markup {
    let level = event.level.as_str();
    html! {
        tr {
            td class="number" { (duration(event.offset)) }
            td { span class={ "level " (level) } { (level) } }
            td {
                (Foreign(event.message))
                @for (name, value) in &event.fields {
                    " " span class="field" { span class="quiet" { (name) "=" } (Foreign(value)) }
                }
            }
        }
    }
}

fn metrics(samples: &[Sample]) -> Markup {
    html! {
        div class="scroll" tabindex="0" role="region" aria-label="Metrics" {
            table class="metrics" {
                thead { tr { th scope="col" { "Metric" } th scope="col" class="number" { "Value" } } }
                tbody {
                    @for sample in samples {
                        tr {
                            td { span title=(sample.metric.facts().help) { (sample.metric.name()) } (labels(&sample.labels)) }
                            td class="number" {
                                (number(sample.value))
                                @if let Some(date) = date(sample) { br; span class="quiet" { (date) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn labels(labels: &Labels) -> Markup {
    html! {
        @for (at, (name, value)) in labels.iter().enumerate() {
            @if at == 0 { "{" } @else { ", " }
            span class="quiet" { (Foreign(name)) "=" } "\"" (Foreign(value)) "\""
        }
        @if !matches!(labels, Labels::None) { "}" }
    }
}

/// The date that a sample stands for, if it is one.
fn date(sample: &Sample) -> Option<String> {
    let name = sample.metric.name();
    let is_date = name.ends_with("_timestamp_seconds") || sample.metric == n::PROBE_SSL_EARLIEST_CERT_EXPIRY;
    is_date.then(|| moment(sample.value).map(clock)).flatten()
}
