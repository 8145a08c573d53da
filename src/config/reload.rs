//! The configuration in force: loaded at start, replaced as a whole by a reload.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::SystemTime;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tracing::{debug, error, info, warn};

use super::differences::differences;
use super::{Heartbeats, LoadOptions, Values};
use crate::logging;
use crate::metrics::own::{ModuleCounters, Own};
use crate::probers::{self, Module};

/// One loaded configuration. Whoever holds it is not disturbed by a reload.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// By name.
    pub modules: BTreeMap<String, Loaded>,
    /// What reports in; `None` without the section.
    pub heartbeats: Option<Arc<Heartbeats>>,
    /// The whole configuration as `/config` shows it, without secrets.
    pub yaml: String,
    /// What is odd about it, each as `file:line:column: sentence`.
    pub warnings: Vec<String>,
    values: Values,
}

/// A module that can be probed with.
#[derive(Debug)]
pub struct Loaded {
    /// The module.
    pub module: Arc<Module>,
    /// What is counted about its probes.
    pub counters: Arc<ModuleCounters>,
}

/// Where the configuration comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// This file, which must exist.
    File(PathBuf),
    /// This file, or [`BUILT_IN`] as long as it does not exist.
    FileOrBuiltIn(PathBuf),
}

/// The configuration that is used when there is none: the example of the repository.
pub const BUILT_IN: &str = include_str!("../../config.example.yml");

/// Why a configuration was not loaded: one line for each problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadError(pub Vec<String>);

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

/// The last attempt to load the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// When it was over.
    pub at: SystemTime,
    /// What came out; after an error the configuration before it is in force.
    pub result: Result<(), LoadError>,
    /// When the configuration in force was loaded, or last found unchanged.
    pub succeeded_at: SystemTime,
}

/// The configuration in force, and how to replace it.
#[derive(Debug)]
pub struct Live {
    source: Source,
    strict: bool,
    own: Arc<Own>,
    current: RwLock<Arc<Snapshot>>,
    /// The text of the last successful load; its lock makes loads take turns.
    text: Mutex<Text>,
    attempt: Mutex<Attempt>,
    /// Why the values of placeholders cannot be read again, if they cannot.
    stale: Mutex<Option<LoadError>>,
    queue: tokio::sync::Mutex<()>,
    triggered: Notify,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Text {
    text: String,
    is_built_in: bool,
}

impl Live {
    /// Loads the configuration for the first time.
    ///
    /// # Errors
    /// All problems of the file; nothing is logged.
    pub fn load(source: Source, strict: bool, own: Arc<Own>) -> Result<Self, LoadError> {
        let text = source.read(true)?;
        let snapshot = compile(source.name(text.is_built_in), &text.text, strict, &own)?;
        let now = SystemTime::now();
        own.config.succeeded(now, snapshot.warnings.len());
        Ok(Self {
            source,
            strict,
            own,
            current: RwLock::new(Arc::new(snapshot)),
            text: Mutex::new(text),
            attempt: Mutex::new(Attempt { at: now, result: Ok(()), succeeded_at: now }),
            stale: Mutex::default(),
            queue: tokio::sync::Mutex::default(),
            triggered: Notify::new(),
        })
    }

    /// The configuration in force now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What came of the last attempt to load it.
    pub fn attempt(&self) -> Attempt {
        self.lock_attempt().clone()
    }

    fn lock_attempt(&self) -> MutexGuard<'_, Attempt> {
        self.attempt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is read: a path, or that it is built in.
    pub fn source_name(&self) -> String {
        self.source.name(self.is_built_in())
    }

    /// Whether no file was there and the built-in configuration is used.
    pub fn is_built_in(&self) -> bool {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).is_built_in
    }

    /// Loads the configuration again. Reloads take turns; an unchanged text is a success.
    ///
    /// # Errors
    /// All problems of the file, which are logged already; the old configuration stays in force.
    pub async fn reload(self: &Arc<Self>) -> Result<(), LoadError> {
        let result = self.in_turn(Self::reload_now).await;
        self.triggered.notify_waiters();
        result
    }

    /// Loads the text in force again if a file that its placeholders name has changed.
    ///
    /// # Errors
    /// As [`Live::reload`]; logged only when they are new.
    pub async fn refresh(self: &Arc<Self>) -> Result<(), LoadError> {
        if !self.snapshot().values.has_files() {
            return Ok(());
        }
        self.in_turn(Self::refresh_now).await
    }

    async fn in_turn(self: &Arc<Self>, load: fn(&Self) -> Result<(), LoadError>) -> Result<(), LoadError> {
        let _turn = self.queue.lock().await;
        let live = Arc::clone(self);
        // A large configuration takes a while, and running probes must not notice.
        let result = tokio::task::spawn_blocking(move || load(&live)).await;
        result.unwrap_or_else(|_| {
            let error = LoadError(vec!["loading the configuration came to a sudden end".to_owned()]);
            self.failed(&error);
            Err(error)
        })
    }

    /// Returns after the next reload, whoever asked for it.
    ///
    /// A reload counts from this call on, not only from the first poll.
    pub fn reloaded(&self) -> Notified<'_> {
        self.triggered.notified()
    }

    /// Logs the warnings about the configuration in force.
    pub fn log_warnings(&self) {
        for warning in &self.snapshot().warnings {
            warn!("{warning}");
        }
    }

    /// What modules do other than in blackbox_exporter, each as `file:line:column: sentence`.
    pub fn differences(&self) -> Vec<String> {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        let name = self.source.name(text.is_built_in);
        differences(&text.text).iter().map(|difference| format!("{name}:{difference}")).collect()
    }

    fn reload_now(&self) -> Result<(), LoadError> {
        let mut last = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = self.source.read(last.is_built_in).and_then(|text| {
            if text == *last && self.snapshot().values.are_current() {
                return Ok(None);
            }
            let snapshot = compile(self.source.name(text.is_built_in), &text.text, self.strict, &self.own)?;
            Ok(Some((text, snapshot)))
        });
        *self.stale.lock().unwrap_or_else(PoisonError::into_inner) = None;
        match loaded {
            Ok(None) => {
                debug!("Configuration is unchanged");
                let warnings = self.snapshot().warnings.len();
                self.succeeded(warnings);
            }
            Ok(Some((text, snapshot))) => {
                *last = text;
                self.replace(snapshot);
                info!("Reloaded config file");
                self.log_warnings();
            }
            Err(problems) => {
                self.failed(&problems);
                problems.log("Error reloading config");
                return Err(problems);
            }
        }
        Ok(())
    }

    fn refresh_now(&self) -> Result<(), LoadError> {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stale = self.stale.lock().unwrap_or_else(PoisonError::into_inner);
        let (snapshot, name) = (self.snapshot(), self.source.name(text.is_built_in));
        if snapshot.values.are_current() {
            if stale.take().is_some() {
                self.succeeded(snapshot.warnings.len());
            }
            return Ok(());
        }
        match compile(name, &text.text, self.strict, &self.own) {
            Ok(snapshot) => {
                *stale = None;
                self.replace(snapshot);
                info!("Reloaded config file with changed values of its placeholders");
                self.log_warnings();
                Ok(())
            }
            Err(problems) => {
                self.failed(&problems);
                if stale.as_ref() != Some(&problems) {
                    problems.log("Error reloading config with changed values of its placeholders");
                    *stale = Some(problems.clone());
                }
                Err(problems)
            }
        }
    }

    fn replace(&self, snapshot: Snapshot) {
        let warnings = snapshot.warnings.len();
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(snapshot);
        self.succeeded(warnings);
    }

    fn succeeded(&self, warnings: usize) {
        let now = SystemTime::now();
        self.own.config.succeeded(now, warnings);
        *self.lock_attempt() = Attempt { at: now, result: Ok(()), succeeded_at: now };
    }

    fn failed(&self, problems: &LoadError) {
        self.own.config.failed();
        let mut attempt = self.lock_attempt();
        attempt.at = SystemTime::now();
        attempt.result = Err(problems.clone());
    }
}

impl LoadError {
    /// Writes each problem as a line of its own to stderr, and one log line.
    pub fn log(&self, message: &'static str) {
        logging::write(self.0.iter().map(|line| format!("{line}\n")).collect());
        let first = self.0.first().map_or("", String::as_str);
        error!(err = first, problems = self.0.len(), "{message}");
    }
}

impl Source {
    fn path(&self) -> &Path {
        match self {
            Self::File(path) | Self::FileOrBuiltIn(path) => path,
        }
    }

    fn name(&self, is_built_in: bool) -> String {
        if is_built_in { "built-in configuration".to_owned() } else { self.path().display().to_string() }
    }

    /// `may_be_built_in`: whether a missing file is made up for; not once a file was loaded.
    fn read(&self, may_be_built_in: bool) -> Result<Text, LoadError> {
        match read(self.path()) {
            Ok(text) => Ok(Text { text, is_built_in: false }),
            Err(error)
                if error.kind() == io::ErrorKind::NotFound
                    && may_be_built_in
                    && matches!(self, Self::FileOrBuiltIn(_)) =>
            {
                Ok(Text { text: BUILT_IN.to_owned(), is_built_in: true })
            }
            Err(error) => Err(LoadError(vec![format!("{}: {error}", self.name(false))])),
        }
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other(format!("larger than {MAX_FILE_BYTES} bytes")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
        io::Error::other(format!("line {line} is not UTF-8"))
    })
}

/// Ten thousand modules of a hundred lines each.
const MAX_FILE_BYTES: u64 = 64 << 20;

fn compile(name: String, text: &str, strict: bool, own: &Own) -> Result<Snapshot, LoadError> {
    let mut file = super::load(text, &LoadOptions { strict })
        .map_err(|problems| LoadError(problems.report(&name).lines().map(str::to_owned).collect()))?;
    let yaml = file.to_yaml();
    let values = file.values.clone();
    let mut warnings: Vec<String> = file.warnings.iter().map(|warning| format!("{name}:{warning}")).collect();
    let heartbeats = file.heartbeats.take().map(Arc::from);
    let modules = probers::compile_all(file);
    let mut broken = Vec::new();
    for module in modules.values() {
        if let (Err(why), None, Some(_)) = (&module.prober, &module.written.unusable, module.written.prober) {
            broken.push(format!("{name}: module {:?} cannot work: {why}", module.name));
        }
    }
    if strict && !broken.is_empty() {
        return Err(LoadError(broken));
    }
    warnings.append(&mut broken);
    let mut counters = own.keep_modules(modules.keys().map(String::as_str));
    let modules = modules.iter().map(|(name, module)| {
        let counters = counters.remove(name.as_str()).unwrap_or_default();
        (name.clone(), Loaded { module: Arc::clone(module), counters })
    });
    Ok(Snapshot { modules: modules.collect(), heartbeats, yaml, warnings, values })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct TempFile(PathBuf);

    impl TempFile {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("heartbeat-{name}-{}.yml", std::process::id())))
        }
        fn write(&self, text: &str) {
            std::fs::write(&self.0, text).unwrap();
        }
    }

    impl Drop for TempFile {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    fn names(live: &Live) -> Vec<String> {
        live.snapshot().modules.keys().cloned().collect()
    }

    #[tokio::test]
    async fn a_bad_file_leaves_the_old_configuration_in_force() {
        let file = TempFile::new("bad");
        file.write("modules:\n  a: {prober: tcp}\n");
        let live = Arc::new(Live::load(Source::File(file.0.clone()), false, Arc::default()).unwrap());
        assert_eq!(names(&live), ["a"]);
        let before = live.snapshot();
        assert_eq!(live.reload().await, Ok(()));
        assert!(Arc::ptr_eq(&before, &live.snapshot()), "an unchanged text is not parsed");

        file.write("modules:\n  a: {prober: tcp, nonsense: 1}\n");
        let problems = live.reload().await.unwrap_err();
        assert_eq!(problems.0.len(), 1);
        assert!(problems.0[0].starts_with(&format!("{}:2:", file.0.display())), "{problems}");
        assert_eq!(names(&live), ["a"]);
        let attempt = live.attempt();
        assert_eq!(attempt.result, Err(problems));
        assert!(attempt.succeeded_at < attempt.at);

        file.write("modules:\n  b: {prober: tcp}\n");
        assert_eq!(live.reload().await, Ok(()));
        assert_eq!(names(&live), ["b"]);
        assert_eq!(before.modules.len(), 1, "a running probe keeps its module");
        let attempt = live.attempt();
        assert_eq!((attempt.result, attempt.succeeded_at), (Ok(()), attempt.at));

        std::fs::remove_file(&file.0).unwrap();
        let problems = live.reload().await.unwrap_err();
        assert_eq!(problems.0, [format!("{}: No such file or directory (os error 2)", file.0.display())]);
        assert_eq!(names(&live), ["b"]);
    }

    #[tokio::test]
    async fn the_built_in_configuration_steps_back_once_there_is_a_file() {
        let file = TempFile::new("default");
        let live =
            Arc::new(Live::load(Source::FileOrBuiltIn(file.0.clone()), false, Arc::default()).unwrap());
        assert!(live.is_built_in());
        assert!(live.snapshot().modules.contains_key("http_2xx"));
        assert_eq!(live.reload().await, Ok(()));
        file.write("modules:\n  b: {prober: tcp}\n");
        assert_eq!(live.reload().await, Ok(()));
        assert_eq!((live.is_built_in(), names(&live)), (false, vec!["b".to_owned()]));
        std::fs::remove_file(&file.0).unwrap();
        assert!(live.reload().await.is_err());
    }

    #[test]
    fn what_is_no_text_is_refused() {
        let file = TempFile::new("latin");
        std::fs::write(&file.0, b"modules:\n  \xe9: 1\n").unwrap();
        let problems = Live::load(Source::File(file.0.clone()), false, Arc::default()).unwrap_err();
        assert_eq!(problems.0, [format!("{}: line 2 is not UTF-8", file.0.display())]);
    }
}
