//! Definitions made at run time: as JSON from and to clients, and as the store keeps them.
//!
//! A definition has the keys of a service in the configuration. Tokens and UUIDs come in and never go
//! out: what is kept of them is their hash, here and in the store. So a definition that is changed
//! keeps those that the change does not name.

use chrono::TimeDelta;
use rand::Rng as _;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Key;
use super::registry::{Declared, TokenHash};
use super::schedule::Schedule;
use crate::config;
use crate::config::duration::SignedDuration;

/// A JSON object.
pub type Object = Map<String, Value>;

/// How an object stands to the definition that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// In its place.
    Replace,
    /// On top of it, as a JSON merge patch (RFC 7396).
    Merge,
}

/// A new heartbeat. Without an `id`, it gets one of its own.
///
/// # Errors
/// A sentence for each mistake, on lines of their own.
pub fn create(key: Key, mut object: Object) -> Result<Declared, String> {
    object.entry("id").or_insert_with(|| random_id().into());
    read(key, &object)
}

/// What becomes of `old`. Its `id`, `uuid` and `token` stay unless `object` names them; `null` removes them.
///
/// # Errors
/// As [`create`].
pub fn change(old: &Declared, object: Object, how: Change) -> Result<Declared, String> {
    let named = |name: &str| object.contains_key(name);
    let (names_id, names_uuid, names_token) = (named("id"), named("uuid"), named("token"));
    let mut whole = object;
    if how == Change::Merge {
        if old.hidden.is_some() {
            return Err(
                "values of this definition come from placeholders: replace all of it, with PUT".to_owned()
            );
        }
        let mut merged = describe(old);
        merge(&mut merged, whole);
        whole = merged;
    }
    let mut declared = read(old.definition.key.clone(), &whole)?;
    if !names_id {
        declared.id.clone_from(&old.id);
    }
    if !names_uuid {
        declared.uuid = old.uuid;
    }
    if !names_token {
        declared.token = old.token;
    }
    Ok(declared)
}

/// RFC 7396 §2.
fn merge(target: &mut Object, patch: Object) {
    for (name, value) in patch {
        match value {
            Value::Null => drop(target.remove(&name)),
            Value::Object(patch) => {
                let inner = target.entry(name).or_insert(Value::Null);
                if !inner.is_object() {
                    *inner = json!({});
                }
                if let Value::Object(inner) = inner {
                    merge(inner, patch);
                }
            }
            value => drop(target.insert(name, value)),
        }
    }
}

fn read(key: Key, object: &Object) -> Result<Declared, String> {
    // JSON without line breaks is YAML; the same reader judges both.
    let text = Value::from(object.clone()).to_string();
    let service = config::read_service(&text).map_err(|problems| {
        let messages: Vec<&str> =
            problems.errors.iter().map(|problem| problem.message.trim_start()).collect();
        messages.join("\n")
    })?;
    if !service.namespace.is_empty() && service.namespace != key.namespace() {
        return Err("namespace is not that of the address".to_owned());
    }
    let definition = service.definition(key).map_err(|(name, why)| match name {
        "" => format!("the heartbeat cannot be used: {why}"),
        name => format!("{name} {why}"),
    })?;
    Ok(Declared::written(definition, &service.addresses()))
}

/// The definition with the keys of the configuration, as the file has it; without tokens and UUIDs.
pub fn describe(declared: &Declared) -> Object {
    let definition = &declared.definition;
    let mut out = Object::new();
    let mut add = |name: &str, value: Value| {
        out.insert(name.to_owned(), value);
    };
    let zone = match &definition.schedule {
        Schedule::Every(period) => {
            add("every", duration(*period));
            None
        }
        Schedule::Cron(cron) => {
            add("cron", cron.as_str().into());
            Some(cron.zone())
        }
        Schedule::Calendar(calendar) => {
            add("calendar", calendar.as_str().into());
            Some(calendar.zone())
        }
        Schedule::Window(window) => {
            let [at, until] = window.written();
            add("at", at.into());
            add("until", until.into());
            Some(window.zone())
        }
    };
    if let Some(zone) = zone {
        add("tz", zone.name().into());
    }
    add("grace", duration(definition.grace));
    if definition.tolerate_missed > 0 {
        add("tolerate_missed", definition.tolerate_missed.into());
    }
    if let Some(limit) = definition.max_runtime {
        add("max_runtime", duration(limit));
    }
    if !definition.early.is_zero() {
        add("early", duration(definition.early));
    }
    if definition.alert_on_data {
        add("alert_on_data", true.into());
    }
    if let Some(runs) = definition.stuck_after {
        add("stuck_after", runs.into());
    }
    if definition.post_only {
        add("methods", "POST".into());
    }
    if let Some(keywords) = &definition.keywords {
        let lists =
            [("failure", &keywords.failure), ("success", &keywords.success), ("start", &keywords.start)];
        let lists = lists.into_iter().filter(|(_, words)| !words.is_empty());
        let mut written: Object =
            lists.map(|(name, words)| (name.to_owned(), words.join(",").into())).collect();
        written.insert("default".to_owned(), if keywords.fails_without { "fail" } else { "ignore" }.into());
        add("keywords", written.into());
    }
    if definition.manual_resume {
        add("manual_resume", true.into());
    }
    if let Some(id) = &declared.id {
        add("id", id.as_str().into());
    }
    if !definition.values.is_empty() {
        add("values", definition.values.clone().into());
    }
    if !definition.tags.is_empty() {
        add("tags", definition.tags.clone().into());
    }
    if !definition.labels.is_empty() {
        add("labels", json!(definition.labels));
    }
    if let Some(adaptive) = &definition.adaptive {
        // It came from a whole number.
        add("adaptive", json!({ "threshold": adaptive.threshold as i64, "floor": duration(adaptive.floor) }));
    }
    if let Some(probe) = &definition.on_miss {
        add("on_miss", json!({ "module": probe.module, "target": probe.target, "attempts": probe.attempts }));
    }
    if let Some(hidden) = &declared.hidden {
        hidden.cover(&mut out);
    }
    out
}

fn duration(span: TimeDelta) -> Value {
    // It came from a number of nanoseconds.
    SignedDuration::from_nanos(span.num_nanoseconds().unwrap_or(i64::MAX)).to_string().into()
}

/// An address that is short enough to be typed.
pub fn random_id() -> String {
    let mut random = rand::rng();
    let digit = |_| char::from(DIGITS[random.random_range(0..DIGITS.len())]);
    (0..ID_LENGTH).map(digit).collect()
}

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 916 million ids.
const ID_LENGTH: usize = 5;

/// A definition in the store.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    definition: Object,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uuid_sha256: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token_sha256: Option<String>,
}

/// For the store.
pub fn write(declared: &Declared) -> Box<[u8]> {
    let kept = Kept {
        definition: describe(declared),
        uuid_sha256: declared.uuid.map(TokenHash::to_hex),
        token_sha256: declared.token.map(TokenHash::to_hex),
    };
    // Maps with keys that are text, and whole numbers: nothing in it that JSON refuses.
    serde_json::to_vec(&kept).unwrap_or_default().into()
}

/// From the store.
///
/// # Errors
/// A sentence, for anything that [`write()`] did not write.
pub fn parse(key: &Key, written: &[u8]) -> Result<Declared, String> {
    let kept: Kept = serde_json::from_slice(written).map_err(|error| error.to_string())?;
    let hash = |text: Option<String>| match text {
        None => Ok(None),
        Some(text) => TokenHash::from_hex(&text).map(Some).ok_or("a hash cannot be read"),
    };
    let mut declared = read(key.clone(), &kept.definition)?;
    declared.uuid = hash(kept.uuid_sha256)?;
    declared.token = hash(kept.token_sha256)?;
    Ok(declared)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Object {
        value.as_object().unwrap().clone()
    }

    fn key() -> Key {
        Key::new("batch", "job").unwrap()
    }

    #[test]
    fn definitions_come_back_as_they_went_in() {
        let cases = [
            json!({"every": "2h0m0s", "grace": "5m0s"}),
            json!({"every": "1m30.5s", "grace": "1ns", "tolerate_missed": 3, "max_runtime": "8760h0m0s"}),
            json!({"cron": "*/5 1-3 * * MON", "tz": "Europe/Berlin", "grace": "30m0s", "early": "10s"}),
            json!({"calendar": "Mon..Fri *-*-* 02:30:00", "tz": "UTC", "grace": "1m0s"}),
            json!({"at": "16:05:00", "until": "24:00:00", "tz": "Asia/Shanghai", "grace": "0s"}),
            json!({"at": "23:59:59", "until": "00:00:07", "tz": "UTC", "grace": "1s", "alert_on_data": true}),
            json!({
                "every": "10s", "grace": "1s", "id": "60y4E", "values": ["rows"], "tags": ["a b", "ü\"\\\n", "${env:HOME}"],
                "labels": {"team": "infra: #1"}, "stuck_after": 3, "manual_resume": true,
                "keywords": {"failure": "ERROR,out of memory", "start": "ü", "default": "fail"}, "adaptive": {"threshold": 10, "floor": "250ms"},
                "on_miss": {"module": "http_2xx", "target": "https://x/?a={b}", "attempts": 2},
            }),
        ];
        for case in cases {
            let mut case = object(case);
            case.entry("id").or_insert("x".into());
            let declared = create(key(), case.clone()).unwrap();
            assert_eq!(describe(&declared), case);
            let mut with_secrets = declared;
            with_secrets.token = Some(TokenHash::of("s3cret"));
            with_secrets.uuid = Some(TokenHash::of_uuid("5C1F"));
            let written = write(&with_secrets);
            assert_eq!(parse(&key(), &written), Ok(with_secrets));
            let text = String::from_utf8_lossy(&written);
            assert!(!text.contains("s3cret") && !text.to_lowercase().contains("5c1f\""), "{text}");
        }
    }

    #[test]
    fn mistakes_are_all_told() {
        let cases = [
            (json!({}), "the heartbeat cannot be used: it needs exactly one of every, cron, calendar and at"),
            (
                json!({"every": "1h", "cron": "* * * * *"}),
                "the heartbeat cannot be used: it needs exactly one of every, cron, calendar and at",
            ),
            (json!({"every": "1ms"}), "every must be at least a second, got 1ms"),
            (
                json!({"every": "1h", "grace": "0s"}),
                "grace must be positive: no signal comes to the nanosecond",
            ),
            (json!({"every": "1h", "token": "a b"}), "token must be at most 128 letters, digits and -_.~"),
            (json!({"every": "1h", "namespace": "other"}), "namespace is not that of the address"),
            (
                json!({"every": "1h", "labels": {"namespace": "x"}}),
                "labels has \"namespace\", which is no label name or taken",
            ),
        ];
        for (case, want) in cases {
            assert_eq!(create(key(), object(case.clone())).unwrap_err(), want, "{case}");
        }
        let several = json!({"every": 5, "grce": "1m", "tags": "x"});
        let errors = create(key(), object(several)).unwrap_err();
        let names: Vec<bool> = ["every", "grce", "tags"]
            .iter()
            .map(|name| errors.lines().any(|line| line.contains(name)))
            .collect();
        assert_eq!((errors.lines().count(), names), (3, vec![true; 3]), "{errors}");
    }

    #[test]
    fn a_change_keeps_what_it_does_not_name() {
        let first = json!({
            "every": "1h", "grace": "5m", "id": "abc", "uuid": "u", "token": "t", "tags": ["x"],
            "labels": {"a": "1", "b": "2"},
        });
        let old = create(key(), object(first)).unwrap();
        assert_eq!((old.uuid, old.token), (Some(TokenHash::of("u")), Some(TokenHash::of("t"))));
        let secrets = |declared: &Declared| {
            (declared.id.clone(), declared.uuid.is_some(), declared.token == Some(TokenHash::of("t")))
        };

        let merged =
            change(&old, object(json!({"labels": {"a": null, "c": "3"}, "tags": null})), Change::Merge);
        let merged = merged.unwrap();
        let want = json!({"every": "1h0m0s", "grace": "5m0s", "id": "abc", "labels": {"b": "2", "c": "3"}});
        assert_eq!(describe(&merged), object(want));
        assert_eq!(secrets(&merged), (Some("abc".to_owned()), true, true));

        let other = json!({"every": null, "cron": "0 5 * * *", "uuid": null, "token": "new", "id": null});
        let merged = change(&old, object(other), Change::Merge).unwrap();
        assert_eq!((merged.id, merged.uuid, merged.token), (None, None, Some(TokenHash::of("new"))));
        assert_eq!(merged.definition.schedule.kind(), "cron");

        let replaced = change(&old, object(json!({"every": "2h"})), Change::Replace).unwrap();
        let want = json!({"every": "2h0m0s", "grace": "5m0s", "id": "abc"});
        assert_eq!(describe(&replaced), object(want));
        assert_eq!(secrets(&replaced), (Some("abc".to_owned()), true, true));
        let replaced =
            change(&old, object(json!({"every": "2h", "id": null, "token": null})), Change::Replace).unwrap();
        assert_eq!((replaced.id, replaced.uuid.is_some(), replaced.token), (None, true, None));
    }

    #[test]
    fn ids_are_short() {
        let ids: std::collections::BTreeSet<String> = (0..100).map(|_| random_id()).collect();
        assert!(ids.len() > 90, "{ids:?}");
        assert!(ids.iter().all(|id| id.len() == 5 && id.bytes().all(|byte| byte.is_ascii_alphanumeric())));
    }

    #[test]
    fn the_store_may_hold_anything() {
        for bad in [&b""[..], b"{}", b"[]", b"{\"definition\":{\"every\":\"1h\"},\"token_sha256\":\"00\"}"] {
            assert!(parse(&key(), bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }
}
