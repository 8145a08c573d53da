//! The configuration in force: loaded at start, replaced as a whole by a reload.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
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

/// What runs because of the section `heartbeats`, and has to be ready before a new one is in force.
pub trait Dependent: Send + Sync + fmt::Debug {
    /// Prepares for a configuration with this section, or without.
    ///
    /// # Errors
    /// A sentence; everything stays as it is, and the configuration that was to come is refused.
    fn prepare(
        self: Arc<Self>,
        live: Arc<Live>,
        next: Option<Arc<Heartbeats>>,
    ) -> Pin<Box<dyn Future<Output = Result<Switch, String>> + Send>>;
}

/// Changes over to what was prepared. Dropped before it is polled, it leaves everything as it is.
pub type Switch = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Why the configuration is loaded again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// Somebody wants it.
    Request,
    /// A file that the text in force names may have changed.
    Values,
}

/// The configuration in force, and how to replace it.
#[derive(Debug)]
pub struct Live {
    source: Source,
    strict: bool,
    own: Arc<Own>,
    current: RwLock<Arc<Snapshot>>,
    /// The text of the last successful load.
    text: Mutex<Text>,
    attempt: Mutex<Attempt>,
    /// Why the values of placeholders cannot be read again, if they cannot.
    stale: Mutex<Option<LoadError>>,
    dependent: OnceLock<Arc<dyn Dependent>>,
    /// Makes loads take turns.
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
        let mut snapshot = compile(source.name(text.is_built_in), &text.text, strict)?;
        snapshot.count_in(&own);
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
            dependent: OnceLock::new(),
            queue: tokio::sync::Mutex::default(),
            triggered: Notify::new(),
        })
    }

    /// From now on no configuration is in force that `dependent` is not ready for. Only the first one counts.
    pub fn set_dependent(&self, dependent: Arc<dyn Dependent>) {
        let _ = self.dependent.set(dependent);
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
        let result = self.in_turn(Cause::Request).await;
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
        self.in_turn(Cause::Values).await
    }

    async fn in_turn(self: &Arc<Self>, cause: Cause) -> Result<(), LoadError> {
        let live = Arc::clone(self);
        // A client that goes away must not leave half a reload.
        let task = tokio::spawn(async move {
            let _turn = live.queue.lock().await;
            live.load_again(cause).await
        });
        task.await.unwrap_or_else(|_| {
            let error = LoadError::sudden_end();
            self.failed(&error);
            Err(error)
        })
    }

    async fn load_again(self: &Arc<Self>, cause: Cause) -> Result<(), LoadError> {
        let live = Arc::clone(self);
        // A large configuration takes a while, and running probes must not notice.
        let read = tokio::task::spawn_blocking(move || live.read_again(cause));
        let result = match read.await.unwrap_or_else(|_| Err(LoadError::sudden_end())) {
            Ok(Some((text, snapshot))) => self.change_over(text, snapshot).await.map(|()| true),
            Ok(None) => Ok(false),
            Err(problems) => Err(problems),
        };
        let mut stale = self.stale.lock().unwrap_or_else(PoisonError::into_inner);
        let before = stale.take();
        let (name, loaded) = match cause {
            Cause::Request => ("Error reloading config", "Reloaded config file"),
            Cause::Values => (
                "Error reloading config with changed values of its placeholders",
                "Reloaded config file with changed values of its placeholders",
            ),
        };
        match result {
            Ok(true) => {
                info!("{loaded}");
                self.log_warnings();
                Ok(())
            }
            Ok(false) => {
                if cause == Cause::Request || before.is_some() {
                    debug!("Configuration is unchanged");
                    self.succeeded(self.snapshot().warnings.len());
                }
                Ok(())
            }
            Err(problems) => {
                self.failed(&problems);
                if cause == Cause::Request || before.as_ref() != Some(&problems) {
                    problems.log(name);
                }
                *stale = Some(problems.clone()).filter(|_| cause == Cause::Values);
                Err(problems)
            }
        }
    }

    /// What is to be in force from now on; `None` if it is already.
    fn read_again(&self, cause: Cause) -> Result<Option<(Text, Snapshot)>, LoadError> {
        let last = self.text.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let text = match cause {
            Cause::Request => self.source.read(last.is_built_in)?,
            Cause::Values => last.clone(),
        };
        if text == last && self.snapshot().values.are_current() {
            return Ok(None);
        }
        let snapshot = compile(self.source.name(text.is_built_in), &text.text, self.strict)?;
        Ok(Some((text, snapshot)))
    }

    async fn change_over(self: &Arc<Self>, text: Text, mut snapshot: Snapshot) -> Result<(), LoadError> {
        let switch = match self.dependent.get() {
            None => None,
            Some(dependent) => {
                let next = snapshot.heartbeats.clone();
                let prepared = Arc::clone(dependent).prepare(Arc::clone(self), next).await;
                let name = || self.source.name(text.is_built_in);
                Some(prepared.map_err(|why| LoadError(vec![format!("{}: heartbeats: {why}", name())]))?)
            }
        };
        snapshot.count_in(&self.own);
        let warnings = snapshot.warnings.len();
        *self.text.lock().unwrap_or_else(PoisonError::into_inner) = text;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(snapshot);
        if let Some(switch) = switch {
            switch.await;
        }
        self.succeeded(warnings);
        Ok(())
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
    fn sudden_end() -> Self {
        Self(vec!["loading the configuration came to a sudden end".to_owned()])
    }

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

impl Snapshot {
    /// Counts the probes of these modules and of no others from now on.
    fn count_in(&mut self, own: &Own) {
        // Both are sorted by name.
        let counters = own.keep_modules(self.modules.keys().map(String::as_str));
        let counters: Vec<_> = counters.into_values().collect();
        for (loaded, counters) in self.modules.values_mut().zip(counters) {
            loaded.counters = counters;
        }
    }
}

fn compile(name: String, text: &str, strict: bool) -> Result<Snapshot, LoadError> {
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
    let modules =
        modules.into_iter().map(|(name, module)| (name, Loaded { module, counters: Arc::default() }));
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
