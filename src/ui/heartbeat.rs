//! The page of one heartbeat: what it is and why, what is expected next, what it was told, and its definition.

use std::time::Duration;

use chrono_tz::Tz;
use maud::{Markup, html};

use super::heartbeats::{tone, until, written};
use super::text::{Foreign, age, clock, duration, encode, file, number};
use super::{Place, page};
use crate::heartbeat::record::{Episode, Reason, State};
use crate::heartbeat::registry::{Message, View};
use crate::heartbeat::schedule::Time;
use crate::heartbeat::{Key, Signal};

/// What the page shows besides the heartbeat itself.
#[derive(Debug)]
pub struct Shown<'a> {
    /// The heartbeat.
    pub view: &'a View,
    /// How it came to be, as a sentence, and what is written about it without secrets.
    pub definition: (&'a str, &'a str),
    /// Its last message.
    pub message: LastMessage,
}

/// The last message, for those who may read it.
#[derive(Debug)]
pub enum LastMessage {
    /// It is for users, and this request comes from none.
    ForUsers,
    /// The store does not tell now.
    Unknown,
    /// There is none.
    None,
    /// This one.
    Some(Message),
}

/// Where the page of a heartbeat is, seen from the start page. Names may be `..`, so they are no part of the path.
pub(super) fn address(key: &Key) -> String {
    format!("heartbeats?name={}", encode(key.as_str()))
}

/// The page of a heartbeat.
pub fn heartbeat(place: Place, shown: &Shown<'_>) -> String {
    let view = shown.view;
    let key = view.key().to_string();
    page(
        place,
        &format!("Heartbeat {key}"),
        None,
        &html! {
            h1 { "Heartbeat " (Foreign(&key)) }
            (summary(place, view))
            div class="actions" {
                a class="button" href="heartbeats" { "All heartbeats" }
                a class="button" href={ "probe?module=heartbeat&target=" (encode(&key)) } { "Metrics" }
                a class="button" href={ "api/v1/heartbeats/" (key) } { "As JSON, for users" }
            }
            @if let Some(reason) = view.status.reason { (failure(place, view, reason)) }
            section class="card" aria-labelledby="expected" {
                h2 id="expected" { "What is expected" }
                (expected(place, view))
            }
            @if !view.record.runs.is_empty() {
                section class="card" aria-labelledby="runs" {
                    h2 id="runs" { "Open runs" }
                    (runs(place, view))
                }
            }
            section class="card" aria-labelledby="signals" {
                h2 id="signals" { "Signals" }
                (signals(place, view))
            }
            section class="card" aria-labelledby="message" {
                h2 id="message" { "Last message" }
                (message(place, &key, &shown.message))
            }
            section class="card" aria-labelledby="changes" {
                h2 id="changes" { "Changes" }
                (changes(place, view))
            }
            section class="card" aria-labelledby="definition" {
                h2 id="definition" { "Definition" }
                p class="quiet" { (shown.definition.0) }
                @if !shown.definition.1.is_empty() { (file(shown.definition.1)) }
            }
        },
    )
}

fn summary(place: Place, view: &View) -> Markup {
    let (record, status) = (&view.record, &view.status);
    let deadline = [status.deadline, status.run_deadline].into_iter().flatten().min();
    let (schedule, zone) = written(&view.declared);
    html! {
        dl class="tiles" {
            div class=[tone(status.state)] {
                dt { "State" }
                dd {
                    (status.state.as_str())
                    @if let Some(reason) = status.reason { " " span class="quiet" { (reason.as_str()) } }
                }
            }
            div { dt { "Since" } dd { (age(place.now, record.changed.into())) } }
            @if let Some(expected) = status.expected { div { dt { "Next expected" } dd { (until(place.now, expected)) } } }
            @if let Some(deadline) = deadline { div { dt { "Deadline" } dd { (until(place.now, deadline)) } } }
            div {
                dt { "Schedule" }
                dd { (Foreign(&schedule)) @if !zone.is_empty() { " " span class="quiet" { (zone) } } }
            }
        }
    }
}

/// What the reason means, and since when.
fn failure(place: Place, view: &View, reason: Reason) -> Markup {
    let help = match reason {
        Reason::Failed => "The last run reported a failure.",
        Reason::Data => "The last check-in carried data, which counts as a failure here.",
        Reason::Overrun => "A run should have ended by now, and has not reported its end.",
        Reason::Missed => "Nothing was received by the deadline.",
        Reason::Stuck => "It reports success again and again, but its progress has not changed.",
        Reason::RegistryLost => "Its key in etcd has vanished.",
    };
    html! {
        section class="card failure" aria-labelledby="failure" {
            h2 id="failure" { "Why it is down" }
            p { (help) }
            @if let Some(episode) = view.record.open_episode() { (facts(place, episode)) }
        }
    }
}

fn facts(place: Place, episode: &Episode) -> Markup {
    html! {
        dl class="facts" {
            dt { "Reason " code { (episode.reason.as_str()) } }
            dd { "episode " (episode.id) " of this heartbeat" }
            dt { "Began" } dd { (past(place, episode.since)) }
            @if let Some(end) = episode.until { dt { "Ended" } dd { (past(place, end)) } }
            @if let Some(success) = episode.probe_success {
                dt { "Follow-up probe" }
                dd { @if success { "succeeded: the target answers" } @else { "failed as well" } }
            }
        }
    }
}

/// A moment that has passed.
fn past(place: Place, time: Time) -> Markup {
    html! { (clock(time.into())) ", " (age(place.now, time.into())) }
}

fn expected(place: Place, view: &View) -> Markup {
    let (definition, record, status) = (&view.declared.definition, &view.record, &view.status);
    // A zone from a placeholder is not shown.
    let zone = definition.schedule.zone().filter(|_| view.declared.hidden(&["tz"]).is_none());
    let moments = [
        ("Next signal", status.expected),
        ("Deadline", status.deadline),
        ("End of the first open run", status.run_deadline),
    ];
    html! {
        @if moments.iter().all(|(_, moment)| moment.is_none()) {
            p class="quiet" {
                @match status.state {
                    State::Paused => "Nothing for now.",
                    State::New => "Anything: until the first signal, silence is no failure.",
                    _ => "Nothing any more: the schedule has no further time.",
                }
            }
        }
        dl class="facts" {
            @for (name, moment) in moments {
                @if let Some(moment) = moment { dt { (name) } dd { (both(place, moment, zone)) } }
            }
            @if let Some(pause) = record.pause {
                dt { "Paused since" } dd { (past(place, pause.since)) }
                dt { "Until" }
                dd { @match pause.until { Some(end) => (both(place, end, zone)), None => "somebody resumes it" } }
            }
            dt { "Grace" } dd { (seconds(definition.grace.as_seconds_f64())) }
            @if definition.tolerate_missed > 0 { dt { "Times that may be missed in a row" } dd { (definition.tolerate_missed) } }
            dt { "A run may take" } dd { (seconds(definition.run_limit().as_seconds_f64())) }
            @if let Some(timeout) = status.adaptive_timeout {
                dt { "Silence allowed, as learnt" } dd { (seconds(timeout.as_seconds_f64())) }
            }
            @if !definition.tags.is_empty() {
                dt { "Tags" }
                dd { @for tag in &definition.tags { a class="tag" href={ "heartbeats?tag=" (encode(tag)) } { (Foreign(tag)) } " " } }
            }
            @for (name, value) in &definition.labels { dt { "Label " code { (Foreign(name)) } } dd { (Foreign(value)) } }
        }
    }
}

/// A moment as seen from now, in UTC, and in the zone of its schedule.
fn both(place: Place, moment: Time, zone: Option<Tz>) -> Markup {
    html! {
        (until(place.now, moment)) br; (clock(moment.into()))
        @if let Some(zone) = zone.filter(|zone| *zone != Tz::UTC) {
            br; (moment.with_timezone(&zone).format("%Y-%m-%d %H:%M:%S %Z")) " " span class="quiet" { (zone.name()) }
        }
    }
}

fn runs(place: Place, view: &View) -> Markup {
    html! {
        div class="scroll" tabindex="0" role="region" aria-label="Open runs" {
            table {
                thead { tr { th scope="col" { "Run" } th scope="col" { "Began" } } }
                tbody {
                    @for (run, start) in &view.record.runs {
                        tr {
                            td class="target" { @if run.is_empty() { span class="quiet" { "without an id" } } @else { (Foreign(run)) } }
                            td { (past(place, *start)) }
                        }
                    }
                }
            }
        }
    }
}

fn signals(place: Place, view: &View) -> Markup {
    let record = &view.record;
    let counts = &record.counts;
    let rare = [
        ("Came twice", counts.ignored),
        ("Came too early to count", counts.early),
        ("Times missed", counts.missed),
        ("Sequence numbers that never came", counts.gaps),
        ("Came in the wrong order", counts.reordered),
        ("Restarts of the sender", counts.restarts),
        ("False alarms", counts.false_alarms),
    ];
    html! {
        table {
            thead { tr {
                th scope="col" { "Signal" } th scope="col" class="number" { "Received" } th scope="col" { "Last" }
            } }
            tbody {
                @for signal in Signal::ALL {
                    tr {
                        th scope="row" { (signal.as_str()) }
                        td class="number" { (counts.signals.get(signal)) }
                        td {
                            @match record.last.get(signal) {
                                Some(last) => (past(place, last)),
                                None => span class="quiet" { "never" },
                            }
                        }
                    }
                }
            }
        }
        dl class="facts" {
            @if let Some(code) = record.exit_code { dt { "Last exit status" } dd { (code) } }
            @if let Some(took) = record.run_seconds { dt { "Last run took" } dd { (seconds(took)) } }
            @if let Some(sequence) = record.sequence { dt { "Last sequence number" } dd { (sequence) } }
            @if let Some(incarnation) = &record.incarnation { dt { "Life of the sender" } dd { (Foreign(incarnation)) } }
            @if let Some((token, runs)) = &record.progress {
                dt { "Progress" } dd { (Foreign(token)) @if *runs > 1 { ", the same in " (runs) " runs" } }
            }
            @for (name, value) in &record.values {
                @if let Some(name) = view.declared.value_name(name) {
                    dt { "Value " code { (Foreign(name)) } } dd { (number(*value)) }
                }
            }
            @for (name, count) in rare { @if count > 0 { dt { (name) } dd { (count) } } }
        }
        @if !record.text.is_empty() {
            p { "What the last end of a run told:" }
            (file(&record.text))
        }
    }
}

fn message(place: Place, key: &str, message: &LastMessage) -> Markup {
    html! {
        @match message {
            LastMessage::ForUsers => p class="quiet" {
                "Messages are for users of " code { "heartbeats.users" } " or of the web configuration, who find them at "
                a href={ "api/v1/heartbeats/" (key) "/messages" } { "this address" } "."
            },
            LastMessage::Unknown => p class="quiet" { "The store does not answer now." },
            LastMessage::None => p class="quiet" { "None so far." },
            LastMessage::Some(message) => {
                p class="quiet" {
                    "Signal " (message.signal.as_str())
                    @if let Some(run) = &message.run { ", run " (Foreign(run)) }
                    ", " (age(place.now, message.received.into()))
                    @if message.body.len() > MAX_MESSAGE_BYTES { "; its first " (MAX_MESSAGE_BYTES) " bytes" }
                    "."
                }
                // What is no UTF-8 is shown as far as it is.
                @let bytes = message.body.get(..MAX_MESSAGE_BYTES).unwrap_or(&message.body);
                (file(&String::from_utf8_lossy(bytes)))
            }
        }
    }
}

fn changes(place: Place, view: &View) -> Markup {
    let record = &view.record;
    html! {
        dl class="facts" {
            dt { "Made" } dd { (past(place, record.created)) }
            dt { "Last change" } dd { "to " (record.state.as_str()) ", " (past(place, record.changed)) }
            @for (state, count) in record.counts.changes.iter() {
                dt { "Became " (state.as_str()) } dd { (count) @if count == 1 { " time" } @else { " times" } }
            }
        }
        @if let Some(episode) = record.episode.as_ref().filter(|episode| episode.until.is_some()) {
            p { "The last time it was down:" }
            (facts(place, episode))
        }
    }
}

/// A length of time as people write it, to the second where it is longer than one.
fn seconds(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    let parts =
        [(whole / 86_400, "d"), (whole / 3600 % 24, "h"), (whole / 60 % 60, "min"), (whole % 60, "s")];
    if seconds < 1.0 {
        return duration(Duration::try_from_secs_f64(seconds).unwrap_or_default());
    }
    let text: Vec<_> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n} {unit}")).collect();
    text.join(" ")
}

/// Bytes shown of a message; the contracts keep little more.
const MAX_MESSAGE_BYTES: usize = 10_000;

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn lengths_of_time() {
        let cases = [
            (0.0, "0 ms"),
            (0.25, "250.0 ms"),
            (1.0, "1 s"),
            (59.6, "1 min"),
            (5400.0, "1 h 30 min"),
            (90_061.0, "1 d 1 h 1 min 1 s"),
        ];
        for (length, want) in cases {
            assert_eq!(seconds(length), want);
        }
    }

    #[test]
    fn moments_are_in_utc_and_in_their_zone() {
        let now = SystemTime::UNIX_EPOCH;
        let place = Place { root: "", has_heartbeats: true, now };
        let moment: Time = "1970-01-03T12:00:00Z".parse().unwrap();
        let utc = "<span title=\"1970-01-03 12:00:00 UTC\">in 2 days</span><br>1970-01-03 12:00:00 UTC";
        for (zone, more) in [
            (None, ""),
            (Some(Tz::UTC), ""),
            (
                Some(Tz::Europe__Berlin),
                "<br>1970-01-03 13:00:00 CET <span class=\"quiet\">Europe/Berlin</span>",
            ),
        ] {
            assert_eq!(both(place, moment, zone).into_string(), format!("{utc}{more}"));
        }
    }
}
