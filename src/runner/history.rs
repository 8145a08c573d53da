//! The last probes, for the page and `/logs`; failures are kept longer.
//!
//! Records are kept as the runner made them and become text only when somebody asks.

use std::collections::VecDeque;
use std::mem::size_of;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Outcome;
use crate::metrics::samples::{Labels, Sample};
use crate::probers::Module;

/// One probe that is remembered.
#[derive(Debug)]
pub struct Record {
    /// Counts up from 0 over the life of the process.
    pub id: i64,
    /// The module as it was then.
    pub module: Arc<Module>,
    /// What was probed.
    pub target: String,
    /// The `hostname` parameter of the request.
    pub hostname: Option<String>,
    /// What came out.
    pub outcome: Outcome,
}

impl Record {
    /// A probe that has no id yet; [`History::add`] gives it one.
    pub fn new(module: Arc<Module>, target: String, hostname: Option<String>, outcome: Outcome) -> Self {
        Self { id: 0, module, target, hostname, outcome }
    }

    /// The module as YAML, without secrets, as it was for this probe: `hostname` is part of it.
    pub fn module_yaml(&self) -> String {
        match &self.hostname {
            Some(hostname) => self.module.written.with_hostname(hostname).to_yaml(),
            None => self.module.written.to_yaml(),
        }
    }

    /// About how much memory this takes, the shared module left out.
    fn bytes(&self) -> usize {
        let report = &self.outcome.report;
        let samples: usize = report
            .samples
            .as_slice()
            .iter()
            .map(|sample| {
                let labels = match &sample.labels {
                    Labels::Many(labels) => {
                        labels.iter().map(|(name, value)| LABEL_BYTES + name.len() + value.len()).sum()
                    }
                    Labels::None | Labels::One(..) => 0,
                };
                size_of::<Sample>() + labels
            })
            .sum();
        let events: usize = report
            .events()
            .iter()
            .flat_map(|event| &event.fields)
            .map(|(_, value)| LABEL_BYTES + value.len())
            .sum();
        let timeline = size_of_val(report.timeline());
        let texts = self.target.len() + self.hostname.as_ref().map_or(0, String::len);
        size_of::<Self>() + texts + samples + events + size_of_val(report.events()) + timeline
    }
}

/// Name and value of a label, or of a field of a log line, without their text.
const LABEL_BYTES: usize = size_of::<(std::borrow::Cow<'static, str>, String)>();

/// The last probes of the process.
#[derive(Debug)]
pub struct History {
    lists: Mutex<Lists>,
    limit: usize,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct Lists {
    next_id: i64,
    recent: List,
    /// Failures that fell out of `recent`.
    failures: List,
}

/// Oldest first.
#[derive(Debug, Default)]
struct List {
    records: VecDeque<(Arc<Record>, usize)>,
    bytes: usize,
}

impl List {
    fn push(&mut self, record: Arc<Record>, bytes: usize) {
        self.bytes += bytes;
        self.records.push_back((record, bytes));
    }

    /// Takes out the oldest if the list is over a limit.
    fn pop_surplus(&mut self, limit: usize, max_bytes: usize) -> Option<(Arc<Record>, usize)> {
        if self.records.len() <= limit && self.bytes <= max_bytes {
            return None;
        }
        let (record, bytes) = self.records.pop_front()?;
        self.bytes -= bytes;
        Some((record, bytes))
    }

    fn newest_first(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.records.iter().rev().map(|(record, _)| record)
    }
}

impl History {
    /// Remembers `limit` probes, and as many failures that are older.
    pub fn new(limit: usize) -> Self {
        Self { lists: Mutex::default(), limit, max_bytes: MAX_LIST_BYTES }
    }

    /// Remembers a probe under the next id.
    pub fn add(&self, mut record: Record) -> Arc<Record> {
        let bytes = record.bytes();
        // Dropped after the lock.
        let mut surplus = Vec::new();
        let mut lists = self.lock();
        record.id = lists.next_id;
        lists.next_id += 1;
        let record = Arc::new(record);
        lists.recent.push(Arc::clone(&record), bytes);
        while let Some((old, bytes)) = lists.recent.pop_surplus(self.limit, self.max_bytes) {
            if old.outcome.is_success() || self.limit == 0 {
                surplus.push(old);
            } else {
                lists.failures.push(old, bytes);
            }
        }
        while let Some((old, _)) = lists.failures.pop_surplus(self.limit, self.max_bytes) {
            surplus.push(old);
        }
        drop(lists);
        record
    }

    /// The probe with this id.
    pub fn by_id(&self, id: i64) -> Option<Arc<Record>> {
        self.find(|record| record.id == id)
    }

    /// The newest probe of this target, and of this module if one is named.
    pub fn by_target(&self, target: &str, module: Option<&str>) -> Option<Arc<Record>> {
        self.find(|record| {
            record.target == target && module.is_none_or(|module| record.module.name == module)
        })
    }

    /// All remembered probes: the recent ones newest first, then the older failures newest first.
    pub fn all(&self) -> Vec<Arc<Record>> {
        let lists = self.lock();
        lists.recent.newest_first().chain(lists.failures.newest_first()).cloned().collect()
    }

    fn find(&self, matches: impl Fn(&Record) -> bool) -> Option<Arc<Record>> {
        let lists = self.lock();
        let mut records = lists.recent.newest_first().chain(lists.failures.newest_first());
        records.find(|record| matches(record)).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Lists> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Memory each of the two lists may take, whatever its limit in probes: room for thousands of usual
/// probes, while a flood of huge log lines stays harmless.
const MAX_LIST_BYTES: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::logging::Level;
    use crate::runner::{Phase, ProbeError, Reason, Report};

    fn module(name: &str) -> Arc<Module> {
        let text = format!("modules:\n  {name}: {{prober: tcp}}\n");
        let file = crate::config::load(&text, &crate::config::LoadOptions { strict: false }).unwrap();
        Arc::clone(&crate::probers::compile_all(file)[name])
    }

    fn outcome(success: bool) -> Outcome {
        let failure = (!success).then(|| ProbeError::new(Phase::Connect, Reason::Refused, "no"));
        Outcome { report: Report::new(Level::Info), failure, duration: Duration::ZERO }
    }

    fn add(history: &History, module: &Arc<Module>, target: &str, success: bool) -> i64 {
        history.add(Record::new(Arc::clone(module), target.to_owned(), None, outcome(success))).id
    }

    fn ids(history: &History) -> Vec<i64> {
        history.all().iter().map(|record| record.id).collect()
    }

    #[test]
    fn failures_outlive_successes() {
        let module = module("m");
        let history = History::new(2);
        let steps: [(bool, &[i64]); 8] = [
            (false, &[0]),
            (true, &[1, 0]),
            (true, &[2, 1, 0]),
            (false, &[3, 2, 0]),
            (false, &[4, 3, 0]),
            (true, &[5, 4, 3, 0]),
            (true, &[6, 5, 4, 3]),
            (true, &[7, 6, 4, 3]),
        ];
        for (at, (success, want)) in steps.into_iter().enumerate() {
            let id = add(&history, &module, "", success);
            assert_eq!((id, ids(&history)), (at as i64, want.to_vec()));
        }
        assert_eq!(history.by_id(3).map(|record| record.id), Some(3));
        assert!(history.by_id(5).is_none() && history.by_id(-1).is_none());
    }

    #[test]
    fn a_limit_of_zero_keeps_nothing() {
        let history = History::new(0);
        for success in [true, false] {
            add(&history, &module("m"), "", success);
        }
        assert!(ids(&history).is_empty());
    }

    #[test]
    fn a_target_is_found_by_its_newest_probe() {
        let history = History::new(10);
        for (name, target) in [("a", "x"), ("b", "x"), ("a", "x"), ("a", "y")] {
            add(&history, &module(name), target, true);
        }
        let find = |target, module| history.by_target(target, module).map(|record| record.id);
        assert_eq!(find("x", None), Some(2));
        assert_eq!(find("x", Some("b")), Some(1));
        assert_eq!(find("y", Some("b")), None);
        assert_eq!(find("z", None), None);
    }

    #[test]
    fn memory_is_bounded_whatever_the_number_of_probes() {
        let mut history = History::new(1000);
        history.max_bytes = 20_000;
        let module = module("m");
        for id in 0..100 {
            add(&history, &module, &"t".repeat(4000), id % 2 == 0);
        }
        assert_eq!(ids(&history), [99, 98, 97, 96, 95, 93, 91, 89]);
        assert!(history.lock().recent.bytes <= 20_000 && history.lock().failures.bytes <= 20_000);
    }
}
