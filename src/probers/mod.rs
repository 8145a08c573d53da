//! The [`Prober`] trait and the list of all probers.
//!
//! A new prober is one file here and two lines below: its `mod` and its entry in the list.

mod dns;
mod grpc;
mod http;
mod icmp;
mod stream;
mod target;
mod tcp;
pub(crate) mod tls_client;
mod tls_handshake;
mod tls_report;
mod unix;
mod websocket;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{self, ProberKind};
use crate::runner::{Phase, ProbeError, Reason, Report, Run};

/// A kind of probe, ready to run: everything that can be decided without a target is decided.
pub trait Prober: Sized {
    /// Makes a prober from its module; everything in there is validated already.
    ///
    /// # Errors
    /// A sentence that says why no probe of this module can work.
    fn compile(module: &config::Module) -> Result<Self, String>;

    /// Runs once against `run.target` and writes what it learns into `report` as soon as it knows it.
    ///
    /// The runner drops the future at the deadline; probers that have something to say even then
    /// put their own [`Run::within`] around their network part.
    fn probe(
        &self,
        run: &Run<'_>,
        report: &mut Report,
    ) -> impl Future<Output = Result<(), ProbeError>> + Send;

    /// Writes what a probe of a module that cannot work still has to tell: the families that are
    /// always there, at their start values, and the address of the target.
    fn decline(
        module: &config::Module,
        run: &Run<'_>,
        report: &mut Report,
    ) -> impl Future<Output = Result<(), ProbeError>> + Send;

    /// Why this module cannot be asked to use `hostname`, if it cannot; answered with status 400.
    fn hostname_conflict(&self, _hostname: &str) -> Option<String> {
        None
    }

    /// Whether `target` has the form this prober needs.
    ///
    /// A target that has not is decoded once more before it is used, since some clients encode twice.
    fn accepts(&self, _target: &str) -> bool {
        true
    }
}

macro_rules! probers {
    ($($kind:ident: $prober:ty,)+) => {
        /// A prober of any kind.
        #[derive(Debug)]
        pub enum AnyProber { $(#[doc = stringify!($kind)] $kind(Box<$prober>)),+ }

        impl AnyProber {
            fn compile(kind: ProberKind, module: &config::Module) -> Result<Self, String> {
                match kind {
                    $(ProberKind::$kind => <$prober as Prober>::compile(module).map(|p| Self::$kind(Box::new(p))),)+
                }
            }

            async fn decline(
                kind: ProberKind,
                module: &config::Module,
                run: &Run<'_>,
                report: &mut Report,
            ) -> Result<(), ProbeError> {
                match kind {
                    $(ProberKind::$kind => Box::pin(<$prober as Prober>::decline(module, run, report)).await,)+
                }
            }

            /// See [`Prober::probe`].
            pub async fn probe(&self, run: &Run<'_>, report: &mut Report) -> Result<(), ProbeError> {
                // Boxed, so that a connection at rest, or a small prober, does not keep room for the largest.
                match self { $(Self::$kind(prober) => Box::pin(prober.probe(run, report)).await),+ }
            }

            /// See [`Prober::hostname_conflict`].
            pub fn hostname_conflict(&self, hostname: &str) -> Option<String> {
                match self { $(Self::$kind(prober) => prober.hostname_conflict(hostname)),+ }
            }

            /// See [`Prober::accepts`].
            pub fn accepts(&self, target: &str) -> bool {
                match self { $(Self::$kind(prober) => prober.accepts(target)),+ }
            }
        }
    };
}

probers! {
    Dns: dns::Dns,
    Grpc: grpc::Grpc,
    Http: http::Http,
    Icmp: icmp::Icmp,
    Tcp: tcp::Tcp,
    Unix: unix::Unix,
    Websocket: websocket::Websocket,
}

/// One module of the configuration, ready to run.
#[derive(Debug)]
pub struct Module {
    /// Its key below `modules:`.
    pub name: String,
    /// As written, for `/config` and the debug page.
    pub written: config::Module,
    /// What runs, or why nothing can: such a module loads, warns, and fails its probes.
    pub prober: Result<AnyProber, String>,
}

impl Module {
    /// Compiles one module of a loaded file.
    pub fn compile(name: String, written: config::Module) -> Self {
        let prober = match (written.prober, &written.unusable) {
            (_, Some(reason)) => Err(reason.to_string()),
            (Some(kind), None) => AnyProber::compile(kind, &written),
            (None, None) => Err("the module is empty".to_owned()),
        };
        let prober = prober.map_err(|why| written.redacted(why));
        Self { name, written, prober }
    }

    /// The module's own limit on the duration of a probe; `None` or zero: none.
    pub fn timeout(&self) -> Option<Duration> {
        self.written.timeout.to_std()
    }

    /// Runs once against `run.target`, see [`Prober::probe`].
    ///
    /// # Errors
    /// Why the probe failed; for a module that cannot work, why it cannot.
    pub async fn probe(&self, run: &Run<'_>, report: &mut Report) -> Result<(), ProbeError> {
        let error = match self.runnable() {
            Ok(prober) => return prober.probe(run, report).await,
            Err(error) => error,
        };
        if let Some(kind) = self.written.prober {
            AnyProber::decline(kind, &self.written, run, report).await?;
        }
        Err(error)
    }

    /// The prober, or the error every probe of this module ends with.
    pub fn runnable(&self) -> Result<&AnyProber, ProbeError> {
        self.prober.as_ref().map_err(|why| ProbeError::new(Phase::Prepare, Reason::Config, why.as_str()))
    }
}

/// All modules of one configuration, by name.
pub type Modules = BTreeMap<String, Arc<Module>>;

/// Compiles all modules of a loaded file.
pub fn compile_all(file: config::File) -> Modules {
    let compile =
        |(name, written): (String, config::Module)| (name.clone(), Arc::new(Module::compile(name, written)));
    file.modules.into_iter().map(compile).collect()
}
