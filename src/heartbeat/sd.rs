//! Which heartbeats a request asks for, and what it is told: Prometheus HTTP service discovery and JSON.

use serde_json::{Map, Value, json};

use super::Key;
use super::metrics::schedule;
use super::record::State;
use super::registry::{Origin, Registry, View};
use super::schedule::Time;

/// Conditions that all must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// One of these namespaces, or any.
    pub namespaces: Vec<String>,
    /// One of these states, or any.
    pub states: Vec<State>,
    /// All of these tags.
    pub tags: Vec<String>,
    /// All of these labels.
    pub labels: Vec<(String, String)>,
}

impl Filter {
    /// Reads the parameters `namespace`, `state`, `tag` and `label` (`name=value`), each as often as wanted;
    /// the first three also take lists with commas. Other parameters are left to others.
    ///
    /// # Errors
    /// A sentence.
    pub fn parse(parameters: impl Iterator<Item = (String, String)>) -> Result<Self, String> {
        let mut filter = Self::default();
        let words = |list: &str| {
            list.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect::<Vec<_>>()
        };
        for (name, value) in parameters {
            match name.as_str() {
                "namespace" => filter.namespaces.extend(words(&value)),
                "tag" | "tags" => filter.tags.extend(words(&value)),
                "state" => {
                    for word in words(&value) {
                        let known = State::ALL.into_iter().find(|state| state.as_str() == word);
                        filter.states.push(known.ok_or_else(|| format!("there is no state {word:?}"))?);
                    }
                }
                "label" => {
                    let (name, value) =
                        value.split_once('=').ok_or("label must be a name, an equals sign and a value")?;
                    filter.labels.push((name.to_owned(), value.to_owned()));
                }
                _ => {}
            }
        }
        Ok(filter)
    }

    /// Whether a heartbeat of this name may be meant.
    pub fn may_match(&self, key: &Key) -> bool {
        self.namespaces.is_empty() || self.namespaces.iter().any(|namespace| namespace == key.namespace())
    }

    /// Whether this one is.
    pub fn matches(&self, view: &View) -> bool {
        let definition = &view.declared.definition;
        self.may_match(&definition.key)
            && (self.states.is_empty() || self.states.contains(&view.status.state))
            && self.tags.iter().all(|tag| definition.tags.contains(tag))
            && self.labels.iter().all(|(name, value)| definition.labels.get(name) == Some(value))
    }

    /// The heartbeats that are meant, sorted by name.
    pub fn select(&self, registry: &Registry, now: Time) -> Vec<View> {
        let mut views = registry.views(now, |key| self.may_match(key));
        views.retain(|view| self.matches(view));
        views
    }
}

/// Targets for `/probe?module=heartbeat`, as Prometheus' `http_sd_configs` reads them.
pub fn targets(views: &[View]) -> Value {
    views.iter().map(target).collect()
}

fn target(view: &View) -> Value {
    let definition = &view.declared.definition;
    let mut labels = Map::new();
    let mut add = |name: &str, value: &str| {
        labels.insert(format!("__meta_heartbeat_{name}"), value.into());
    };
    add("namespace", definition.key.namespace());
    add("name", definition.key.name());
    add("state", view.status.state.as_str());
    add("kind", definition.schedule.kind());
    if !definition.tags.is_empty() {
        // Commas at both ends, as Prometheus has it elsewhere: a pattern can look for `,tag,`.
        add("tags", &format!(",{},", definition.tags.join(",")));
    }
    for (name, value) in &definition.labels {
        add(&format!("label_{name}"), value);
    }
    json!({ "targets": [definition.key.as_str()], "labels": labels })
}

/// One heartbeat, without anything that gives access to it.
pub fn describe(view: &View) -> Value {
    let definition = &view.declared.definition;
    let (record, status) = (&view.record, &view.status);
    let (schedule, zone) = schedule(&view.declared);
    let shown =
        |(name, value): (&String, &f64)| Some((view.declared.value_name(name)?.to_owned(), (*value).into()));
    let values: Map<String, Value> = record.values.iter().filter_map(shown).collect();
    let last: Map<String, Value> = record
        .last
        .iter()
        .filter_map(|(signal, at)| Some((signal.as_str().to_owned(), seconds(at?))))
        .collect();
    json!({
        "namespace": definition.key.namespace(),
        "name": definition.key.name(),
        "origin": match view.origin {
            Origin::File => "file",
            Origin::Api => "api",
            Origin::Template => "provision",
        },
        "state": status.state.as_str(),
        "reason": status.reason.map(super::record::Reason::as_str),
        "schedule": { "kind": definition.schedule.kind(), "text": schedule, "tz": zone },
        "grace_seconds": definition.grace.as_seconds_f64(),
        "tags": definition.tags,
        "labels": definition.labels,
        "created_timestamp_seconds": seconds(record.created),
        "state_change_timestamp_seconds": seconds(record.changed),
        "expected_timestamp_seconds": status.expected.map(seconds),
        "deadline_timestamp_seconds": status.deadline.map(seconds),
        "run_deadline_timestamp_seconds": status.run_deadline.map(seconds),
        "paused_until_timestamp_seconds": record.pause.and_then(|pause| pause.until).map(seconds),
        "runs_in_progress": record.runs.len(),
        "last_timestamp_seconds": last,
        "last_exit_code": record.exit_code,
        "last_run_duration_seconds": record.run_seconds,
        "values": values,
        "text": record.text,
        "episode": record.episode.map(|episode| json!({
            "id": episode.id,
            "reason": episode.reason.as_str(),
            "since_timestamp_seconds": seconds(episode.since),
            "until_timestamp_seconds": episode.until.map(seconds),
            "probe_success": episode.probe_success,
        })),
    })
}

fn seconds(time: Time) -> Value {
    (time.timestamp_micros() as f64 / 1e6).into()
}
