//! The start page: a form to probe with, and the remembered probes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use maud::{Markup, html};

use super::text::{Foreign, age, duration};
use super::{Place, page};
use crate::probers::Module;
use crate::runner::history::Record;

/// Which of the remembered probes to show.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Name of the module.
    pub module: Option<String>,
    /// Part of the target, in any case.
    pub target: Option<String>,
    /// Whether the probe succeeded.
    pub success: Option<bool>,
}

impl Filter {
    fn matches(&self, record: &Record) -> bool {
        self.module.as_ref().is_none_or(|module| *module == record.module.name)
            && self.success.is_none_or(|success| success == record.outcome.is_success())
            && self.target.as_ref().is_none_or(|part| contains(&record.target, part))
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn contains(text: &str, part: &str) -> bool {
    text.to_lowercase().contains(&part.to_lowercase())
}

/// The start page with the probes of `records` that `filter` lets through, in their order.
pub fn start<'a>(
    place: Place,
    modules: impl Iterator<Item = &'a Module>,
    records: &[Arc<Record>],
    filter: &Filter,
) -> String {
    let wanted: Vec<&Record> =
        records.iter().map(Arc::as_ref).filter(|record| filter.matches(record)).collect();
    page(
        place,
        "Probes",
        Some("Probes"),
        &html! {
            section class="card" aria-labelledby="probe" {
                h1 id="probe" { "Probe a target" }
                (probe_form(modules))
            }
            section aria-labelledby="recent" {
                h2 id="recent" { "Recent Probes" }
                @if !records.is_empty() { (filter_form(records, filter)) }
                p class="count" { (count(records, &wanted, filter)) }
                @if !wanted.is_empty() { (table(place, &wanted)) }
            }
        },
    )
}

/// Every button sends the same fields to another page, so none of this needs a script.
fn probe_form<'a>(modules: impl Iterator<Item = &'a Module>) -> Markup {
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    // What names no prober can only be refused.
    for (module, prober) in modules.filter_map(|module| Some((module, module.written.prober?))) {
        groups.entry(prober.name()).or_default().push(&module.name);
    }
    html! {
        form class="probe" action="probes/run" method="get" {
            label { "Module"
                select name="module" {
                    @for (prober, names) in &groups {
                        optgroup label=(prober) {
                            @for name in names {
                                option value=(name) selected[*name == USUAL_MODULE] { (Foreign(name)) }
                            }
                        }
                    }
                }
            }
            label class="wide" { "Target"
                input name="target" placeholder="Such as https://prometheus.io" required autocomplete="off"
                    autocapitalize="none" spellcheck="false";
            }
            label { "Host name"
                input name="hostname" placeholder="Optional" autocomplete="off" autocapitalize="none" spellcheck="false";
            }
            div class="buttons" {
                button class="main" { "Probe" }
                button formaction="probe" { "Metrics" }
                button formaction="probe" name="debug" value="true" { "Debug text" }
            }
        }
    }
}

/// The module of requests that name none.
const USUAL_MODULE: &str = "http_2xx";

fn filter_form(records: &[Arc<Record>], filter: &Filter) -> Markup {
    let mut modules: BTreeSet<&str> = records.iter().map(|record| record.module.name.as_str()).collect();
    modules.extend(filter.module.as_deref());
    html! {
        form class="filter" method="get" role="search" aria-label="Recent probes" {
            label { "Module"
                select name="module" {
                    option value="" { "any" }
                    @for module in modules {
                        option value=(module) selected[filter.module.as_deref() == Some(module)] { (Foreign(module)) }
                    }
                }
            }
            label { "Target contains"
                input name="target" type="search" value=(filter.target.as_deref().unwrap_or_default())
                    autocapitalize="none" spellcheck="false";
            }
            label { "Result"
                select name="outcome" {
                    option value="" { "any" }
                    option value="success" selected[filter.success == Some(true)] { "success" }
                    option value="failure" selected[filter.success == Some(false)] { "failure" }
                }
            }
            div class="buttons" {
                button { "Filter" }
                @if !filter.is_empty() { a class="button" href="./" { "Show all" } }
            }
        }
    }
}

fn count(records: &[Arc<Record>], wanted: &[&Record], filter: &Filter) -> Markup {
    let failed = wanted.iter().filter(|record| !record.outcome.is_success()).count();
    html! {
        @if records.is_empty() {
            "No probes yet."
        } @else {
            (wanted.len())
            @if !filter.is_empty() { " of " (records.len()) }
            " remembered " @if wanted.len() == 1 { "probe" } @else { "probes" } ", "
            @if failed == 0 { "none of them failed" } @else { b { (failed) } " failed" }
            "; the newest come first, and failures are kept longer."
            @if wanted.len() > MAX_ROWS { " The first " (MAX_ROWS) " are shown." }
        }
    }
}

/// A table of probes; narrow screens show each row as a card, so the roles are spelled out.
pub(super) fn table(place: Place, records: &[&Record]) -> Markup {
    html! {
        table class="cards probes" role="table" {
            thead role="rowgroup" {
                tr role="row" {
                    @for name in ["Module", "Target", "Result", "Reason", "Duration", "When", "Debug"] {
                        th scope="col" role="columnheader" class=[(name == "Duration").then_some("number")] { (name) }
                    }
                }
            }
            tbody role="rowgroup" {
                @for record in records.iter().take(MAX_ROWS) { (row(place, record)) }
            }
        }
    }
}

fn row(place: Place, record: &Record) -> Markup {
    let outcome = &record.outcome;
    html! {
        tr role="row" {
            td role="cell" class="module" { (Foreign(&record.module.name)) }
            td role="cell" class="target" {
                a href={ (place.root) "probes/" (record.id) } { (Foreign(&record.target)) }
            }
            td role="cell" class="result" {
                @if outcome.is_success() { span class="good" { "Success" } } @else { strong { "Failure" } }
            }
            td role="cell" class="reason" {
                @if let Some(error) = &outcome.failure {
                    span title=(error.reason.help()) { (error.phase.as_str()) ": " (error.reason.as_str()) }
                }
            }
            td role="cell" class="number" { (duration(outcome.duration)) }
            td role="cell" class="when" { (age(place.now, outcome.report.started_at())) }
            td role="cell" class="links" { a href={ (place.root) "logs?id=" (record.id) } { "Logs" } }
        }
        "\n"
    }
}

/// Rows of one table; beyond that nobody reads, and the filter helps.
const MAX_ROWS: usize = 500;
