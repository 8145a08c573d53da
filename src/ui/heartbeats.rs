//! The page of all heartbeats: what each is, when the next signal is due, and what it was last told.

use std::collections::BTreeSet;
use std::time::SystemTime;

use chrono::TimeDelta;
use maud::{Markup, html};

use super::text::{Foreign, age, clock, rough};
use super::{Place, heartbeat, page};
use crate::heartbeat::metrics;
use crate::heartbeat::record::State;
use crate::heartbeat::registry::{Declared, View};
use crate::heartbeat::schedule::{Schedule, Time};

/// What the reader asked for; empty members ask for everything.
#[derive(Debug, Default)]
pub struct Search {
    /// Part of namespace, name, tag, or of the value of a label, in any case.
    pub text: String,
    /// One state.
    pub state: Option<State>,
    /// One tag.
    pub tag: String,
}

impl Search {
    fn matches(&self, view: &View) -> bool {
        let definition = &view.declared.definition;
        let text = self.text.to_lowercase();
        let has_text = |part: &str| part.to_lowercase().contains(&text);
        self.state.is_none_or(|state| state == view.status.state)
            && (self.tag.is_empty() || definition.tags.contains(&self.tag))
            && (text.is_empty()
                || has_text(definition.key.as_str())
                || definition.tags.iter().any(|tag| has_text(tag))
                || definition.labels.values().any(|value| has_text(value)))
    }

    fn is_empty(&self) -> bool {
        self.text.is_empty() && self.state.is_none() && self.tag.is_empty()
    }
}

/// The page of the heartbeats in `views` that `search` lets through: those that need somebody first, then by
/// name.
pub fn heartbeats(place: Place, views: &[View], search: &Search) -> String {
    let mut wanted: Vec<&View> = views.iter().filter(|view| search.matches(view)).collect();
    wanted.sort_by(|a, b| {
        urgency(a.status.state).cmp(&urgency(b.status.state)).then_with(|| a.key().cmp(b.key()))
    });
    page(
        place,
        "Heartbeats",
        Some("Heartbeats"),
        &html! {
            h1 { "Heartbeats" }
            (tiles(views))
            (form(views, search))
            p class="count" {
                (wanted.len()) @if !search.is_empty() { " of " (views.len()) }
                @if wanted.len() == 1 { " heartbeat" } @else { " heartbeats" }
                "; those that are down come first."
                @if wanted.len() > MAX_ROWS { " The first " (MAX_ROWS) " are shown." }
            }
            @if !wanted.is_empty() { (table(place, &wanted)) }
        },
    )
}

/// Place of a state in the list.
fn urgency(state: State) -> usize {
    let order = [State::Down, State::Late, State::Running, State::New, State::Up, State::Paused];
    order.iter().position(|known| *known == state).unwrap_or(order.len())
}

/// How many there are of each state; each number leads to them.
fn tiles(views: &[View]) -> Markup {
    html! {
        dl class="tiles" {
            @for state in State::ALL {
                @let count = views.iter().filter(|view| view.status.state == state).count();
                div class=[(count > 0).then(|| tone(state)).flatten()] {
                    dt { a href={ "heartbeats?state=" (state.as_str()) } { (state.as_str()) } }
                    dd { (count) }
                }
            }
        }
    }
}

pub(super) fn tone(state: State) -> Option<&'static str> {
    match state {
        State::Down => Some("bad"),
        State::Late => Some("warn"),
        State::Up | State::Running => Some("good"),
        State::New | State::Paused => None,
    }
}

fn form(views: &[View], search: &Search) -> Markup {
    let all = views.iter().flat_map(|view| &view.declared.definition.tags).map(String::as_str);
    let mut tags: BTreeSet<&str> = all.collect();
    tags.extend(Some(search.tag.as_str()).filter(|tag| !tag.is_empty()));
    html! {
        form class="filter" method="get" role="search" aria-label="Heartbeats" {
            label { "Search"
                input name="search" type="search" value=(search.text) autocapitalize="none" spellcheck="false";
            }
            label { "State"
                select name="state" {
                    option value="" { "any" }
                    @for state in State::ALL {
                        option value=(state.as_str()) selected[search.state == Some(state)] { (state.as_str()) }
                    }
                }
            }
            @if !tags.is_empty() {
                label { "Tag"
                    select name="tag" {
                        option value="" { "any" }
                        @for tag in tags.into_iter().take(MAX_TAGS) {
                            option value=(tag) selected[search.tag == tag] { (Foreign(tag)) }
                        }
                    }
                }
            }
            div class="buttons" {
                button { "Filter" }
                @if !search.is_empty() { a class="button" href="heartbeats" { "Show all" } }
            }
        }
    }
}

/// Narrow screens show each row as a card, so the roles are spelled out.
fn table(place: Place, views: &[&View]) -> Markup {
    html! {
        table class="cards beats" role="table" {
            thead role="rowgroup" {
                tr role="row" {
                    @for name in ["State", "Heartbeat", "Schedule", "Last signal", "Deadline", "Tags"] {
                        th scope="col" role="columnheader" { (name) }
                    }
                }
            }
            tbody role="rowgroup" {
                @for view in views.iter().take(MAX_ROWS) { (row(place, view)) }
            }
        }
    }
}

fn row(place: Place, view: &View) -> Markup {
    let (definition, status) = (&view.declared.definition, &view.status);
    let (written, zone) = written(&view.declared);
    let last = view.record.last_signal();
    let deadline = [status.deadline, status.run_deadline].into_iter().flatten().min();
    html! {
        tr role="row" {
            td role="cell" class="state" {
                span class={ "state-name " (tone(status.state).unwrap_or("quiet")) } { (status.state.as_str()) }
                @if let Some(reason) = status.reason { " " span class="quiet" { (reason.as_str()) } }
            }
            td role="cell" class="name" {
                a href=(heartbeat::address(&definition.key)) { (Foreign(definition.key.as_str())) }
            }
            td role="cell" class="schedule" {
                (Foreign(&written)) @if !zone.is_empty() { " " span class="quiet" { (zone) } }
            }
            td role="cell" class="last" {
                @match last {
                    Some((signal, at)) => { (signal.as_str()) ", " (age(place.now, SystemTime::from(at))) }
                    None => span class="quiet" { "none yet" },
                }
            }
            td role="cell" class="deadline" {
                @if let Some(deadline) = deadline { (until(place.now, deadline)) }
            }
            td role="cell" class="tags" {
                @for tag in &definition.tags { a class="tag" href={ "heartbeats?tag=" (super::text::encode(tag)) } { (Foreign(tag)) } " " }
            }
        }
        "\n"
    }
}

/// A schedule and its zone, if it has one.
pub(super) fn written(declared: &Declared) -> (String, &str) {
    match declared.definition.schedule {
        Schedule::Every(period) => (every(period), ""),
        _ => metrics::schedule(declared),
    }
}

/// A period in its largest unit that leaves no rest.
fn every(period: TimeDelta) -> String {
    let seconds = period.as_seconds_f64();
    let (unit, name) = [(3600.0, "h"), (60.0, "min"), (1.0, "s")]
        .into_iter()
        .find(|(unit, _)| seconds % unit == 0.0)
        .unwrap_or((1.0, "s"));
    format!("every {} {name}", seconds / unit)
}

/// A deadline, seen from now.
pub(super) fn until(now: SystemTime, deadline: Time) -> Markup {
    let deadline = SystemTime::from(deadline);
    html! {
        @match deadline.duration_since(now) {
            Ok(left) => span title=(clock(deadline)) { "in " (rough(left.as_secs())) },
            Err(_) => (age(now, deadline)),
        }
    }
}

/// Rows of the table; beyond that the search helps.
const MAX_ROWS: usize = 500;
/// Tags to choose from.
const MAX_TAGS: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods() {
        let cases = [
            (7_200_000, "every 2 h"),
            (5_400_000, "every 90 min"),
            (61_000, "every 61 s"),
            (1_500, "every 1.5 s"),
        ];
        for (millis, want) in cases {
            assert_eq!(every(TimeDelta::milliseconds(millis)), want);
        }
    }
}
