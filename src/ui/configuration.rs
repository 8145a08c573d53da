//! The pages about the configuration: its modules, what is odd about it, and how the last reload went.

use maud::{Markup, html};

use super::text::{Foreign, age, encode, file};
use super::{Place, page};
use crate::config::reload::{Attempt, LoadError, Loaded, Snapshot};

/// What the page shows.
#[derive(Debug)]
pub struct Configuration<'a> {
    /// The configuration in force.
    pub snapshot: &'a Snapshot,
    /// Where it comes from.
    pub source: &'a str,
    /// How the last load went.
    pub attempt: &'a Attempt,
    /// Show only modules whose name contains this; empty for all.
    pub search: &'a str,
}

/// The modules and the state of the configuration.
pub fn configuration(place: Place, shown: &Configuration<'_>) -> String {
    let modules = &shown.snapshot.modules;
    let search = shown.search.to_lowercase();
    let wanted: Vec<&Loaded> =
        modules.values().filter(|loaded| loaded.module.name.to_lowercase().contains(&search)).collect();
    page(
        place,
        "Configuration",
        Some("Configuration"),
        &html! {
            h1 { "Configuration" }
            (state(place, shown))
            section aria-labelledby="modules" {
                h2 id="modules" { "Modules" }
                form class="filter" method="get" role="search" aria-label="Modules" {
                    label { "Name contains"
                        input name="search" type="search" value=(shown.search) autocapitalize="none" spellcheck="false";
                    }
                    div class="buttons" {
                        button { "Filter" }
                        @if !search.is_empty() { a class="button" href="configuration" { "Show all" } }
                    }
                }
                p class="count" {
                    (wanted.len()) @if !search.is_empty() { " of " (modules.len()) }
                    @if wanted.len() == 1 { " module." } @else { " modules." }
                    @if wanted.len() > MAX_ROWS { " The first " (MAX_ROWS) " are shown." }
                }
                @if !wanted.is_empty() { (table(&wanted)) }
            }
        },
    )
}

fn state(place: Place, shown: &Configuration<'_>) -> Markup {
    let attempt = shown.attempt;
    let warnings = &shown.snapshot.warnings;
    html! {
        dl class="tiles" {
            div class=(if attempt.result.is_ok() { "good" } else { "bad" }) {
                dt { "Last load" }
                dd { @if attempt.result.is_ok() { "Succeeded" } @else { "Failed" } }
            }
            div { dt { "Tried" } dd { (age(place.now, attempt.at)) } }
            @if attempt.result.is_err() {
                div { dt { "In force as of" } dd { (age(place.now, attempt.succeeded_at)) } }
            }
            div { dt { "Warnings" } dd { (warnings.len()) } }
            div { dt { "Read from" } dd { (Foreign(shown.source)) } }
        }
        div class="actions" { a class="button" href="config" { "The whole as YAML" } }
        @if let Err(LoadError(problems)) = &attempt.result {
            section class="card failure" aria-labelledby="problems" {
                h2 id="problems" { "Why the last reload failed" }
                p { "The configuration before it stays in force." }
                (lines(problems))
            }
        }
        @if !warnings.is_empty() {
            section class="card" aria-labelledby="warnings" {
                h2 id="warnings" { "Warnings" }
                (lines(warnings))
            }
        }
    }
}

fn lines(lines: &[String]) -> Markup {
    html! {
        ul class="lines" {
            @for line in lines.iter().take(MAX_LINES) { li { (Foreign(line)) } }
            @if lines.len() > MAX_LINES { li { "and " (lines.len() - MAX_LINES) " more, which are in the log" } }
        }
    }
}

/// Narrow screens show each row as a card, so the roles are spelled out.
fn table(modules: &[&Loaded]) -> Markup {
    html! {
        table class="cards modules" role="table" {
            thead role="rowgroup" { tr role="row" {
                th scope="col" role="columnheader" { "Module" }
                th scope="col" role="columnheader" { "Prober" }
                th scope="col" role="columnheader" class="less" { "Timeout" }
                th scope="col" role="columnheader" class="less number" { "Probes" }
                th scope="col" role="columnheader" class="less number" { "Failed" }
                th scope="col" role="columnheader" { "State" }
            } }
            tbody role="rowgroup" { @for loaded in modules.iter().take(MAX_ROWS) { (row(loaded)) } }
        }
    }
}

fn row(loaded: &Loaded) -> Markup {
    let module = &loaded.module;
    let [succeeded, failed] = loaded.counters.totals();
    html! {
        tr role="row" {
            th scope="row" role="rowheader" class="module" {
                a href={ "configuration?module=" (encode(&module.name)) } { (Foreign(&module.name)) }
            }
            td role="cell" class="prober" { (prober(loaded)) }
            td role="cell" class="less" { (timeout(loaded)) }
            td role="cell" class="less number" { (succeeded + failed) }
            td role="cell" class="less number" { (failed) }
            td role="cell" class="state" {
                @match &module.prober {
                    Ok(_) => span class="good" { "Ready" },
                    Err(why) => { strong { "Cannot work" } ": " (Foreign(why)) }
                }
            }
        }
        "\n"
    }
}

fn prober(loaded: &Loaded) -> Markup {
    let written = &loaded.module.written;
    html! {
        @match (written.prober, &written.unknown_prober) {
            (Some(kind), _) => (kind.name()),
            (None, Some(unknown)) => (Foreign(unknown)),
            (None, None) => span class="quiet" { "none" },
        }
    }
}

fn timeout(loaded: &Loaded) -> Markup {
    html! {
        @match loaded.module.timeout() {
            Some(limit) if !limit.is_zero() => (loaded.module.written.timeout.to_string()),
            _ => span class="quiet" { "the scrape's" },
        }
    }
}

/// The page of one module.
pub fn module(place: Place, loaded: &Loaded) -> String {
    let module = &loaded.module;
    let [succeeded, failed] = loaded.counters.totals();
    page(
        place,
        &format!("Module {}", module.name),
        None,
        &html! {
            h1 { "Module " (Foreign(&module.name)) }
            dl class="tiles" {
                div class=(if module.prober.is_ok() { "good" } else { "bad" }) {
                    dt { "State" }
                    dd { @if module.prober.is_ok() { "Ready" } @else { "Cannot work" } }
                }
                div { dt { "Prober" } dd { (prober(loaded)) } }
                div { dt { "Timeout" } dd { (timeout(loaded)) } }
                div { dt { "Probes" } dd { (succeeded + failed) } }
                div { dt { "Failed" } dd { (failed) } }
            }
            div class="actions" {
                a class="button" href={ "./?module=" (encode(&module.name)) } { "Recent probes with it" }
                a class="button" href="configuration" { "All modules" }
            }
            @if let Err(why) = &module.prober {
                section class="card failure" aria-labelledby="why" {
                    h2 id="why" { "Why it cannot work" }
                    p class="why" { (Foreign(why)) }
                }
            }
            section class="card" aria-labelledby="keys" {
                h2 id="keys" { "Keys" }
                p class="quiet" { "With defaults, and without secrets." }
                (file(&module.written.to_yaml()))
            }
        },
    )
}

/// Modules on one page; beyond that the search helps.
const MAX_ROWS: usize = 1000;
/// Warnings or problems on the page.
const MAX_LINES: usize = 100;
