//! The life of the process, in the order it happens: load, listen, serve, stop.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use hyper_util::server::graceful::GracefulShutdown;
use socket2::Socket;
use tokio::runtime::{self, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::cli::{DEFAULT_CONFIG_FILE, Flags};
use crate::config::reload::{Live, Source};
use crate::heartbeat::Current;
use crate::logging;
use crate::metrics::own::{self, Own};
use crate::net::Net;
use crate::notify::Notifier;
use crate::runner::history::History;
use crate::server::accept::{Doors, accept};
use crate::server::grpc::Calls;
use crate::server::listen::{self, Listener};
use crate::server::web_config::WebConfig;
use crate::server::{HeartbeatUsers, Outcomes, Paths, Server};

/// Runs the exporter until it is told to stop; the result is the status of the process.
pub fn main(flags: Flags) -> ExitCode {
    logging::init(flags.log_level, flags.log_format);
    let code = match run(flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed) => ExitCode::FAILURE,
    };
    logging::flush(LOG_PATIENCE);
    code
}

/// The process cannot start; why is in the log.
struct Failed;

/// Logs why the process cannot start.
fn fail(message: &'static str) -> impl FnOnce(String) -> Failed {
    move |why| {
        error!(err = why, "{message}");
        Failed
    }
}

fn run(flags: Flags) -> Result<(), Failed> {
    info!(version = own::VERSION, revision = own::REVISION, "Starting heartbeat_exporter");
    info!(compiler = own::COMPILER, platform = format!("{}/{}", own::OS, own::ARCH), "Build context");
    if let Some(bad) = &flags.bad_log_prober {
        warn!(value = bad, "--log.prober is not a level; info is used");
    }
    let own = Arc::new(Own::default());
    let source = match &flags.config_file {
        Some(path) => Source::File(path.clone()),
        None => Source::FileOrBuiltIn(DEFAULT_CONFIG_FILE.into()),
    };
    let live = Live::load(source, flags.config_strict, Arc::clone(&own)).map_err(|problems| {
        problems.log("Error loading config");
        Failed
    })?;
    if live.is_built_in() {
        warn!("There is no {DEFAULT_CONFIG_FILE} here; the built-in configuration is used");
    }
    live.log_warnings();
    if flags.config_check {
        logging::write(live.differences().iter().map(|line| format!("{line}\n")).collect());
        info!("Config file is ok exiting...");
        return Ok(());
    }
    info!("Loaded config file");

    // Before anyone can connect: whoever sees the port open may send a signal.
    let runtime = runtime().map_err(cannot_start)?;
    let signals = runtime.block_on(async { Signals::listen() }).map_err(cannot_start)?;

    let web = flags.web_config_file.as_deref().map(WebConfig::load).transpose().map_err(|problems| {
        problems.log("Error loading web configuration");
        Failed
    })?;
    let has_tls = web.as_ref().is_some_and(WebConfig::has_tls);
    let scheme = if has_tls { "https" } else { "http" };
    let first = flags.listen.first().filter(|_| !flags.systemd_socket);
    if flags.external_url.is_empty() && flags.listen.len() > 1 {
        info!(address = first, "The external URL is made from the first listen address");
    }
    let paths =
        Paths::new(&flags.external_url, &flags.route_prefix, first.map(String::as_str), scheme, &hostname())
            .map_err(fail("Cannot work out the external URL"))?;
    info!(url = paths.external_url(), prefix = paths.prefix(), "External URL");
    let sockets = if flags.systemd_socket { listen::from_systemd() } else { listen::open(&flags.listen) };
    let sockets = sockets.map_err(fail("Cannot listen"))?;
    let http2 = has_tls && web.as_ref().is_some_and(WebConfig::http2);
    info!(http2, "TLS is {}", if has_tls { "enabled" } else { "disabled" });
    raise_file_limit();

    let result = runtime.block_on(serve(flags, own, Arc::new(live), web, paths, sockets, signals));
    // What still runs has had its time.
    runtime.shutdown_background();
    result.map_err(cannot_start)
}

fn cannot_start(error: std::io::Error) -> Failed {
    fail("Cannot start")(error.to_string())
}

/// One worker for each processor; with a single one, no threads at all.
fn runtime() -> std::io::Result<Runtime> {
    let workers = available_parallelism().map_or(1, usize::from);
    let mut builder = match workers {
        1 => runtime::Builder::new_current_thread(),
        _ => runtime::Builder::new_multi_thread(),
    };
    builder.worker_threads(workers).enable_all().build()
}

async fn serve(
    flags: Flags,
    own: Arc<Own>,
    live: Arc<Live>,
    web: Option<WebConfig>,
    paths: Paths,
    sockets: Vec<Socket>,
    Signals { mut hangup, mut stop }: Signals,
) -> std::io::Result<()> {
    let net = Arc::new(Net::new());
    let heartbeats = Arc::new(Current::new(hostname(), Arc::clone(&net)));
    heartbeats.start(&live).await.map_err(io::Error::other)?;
    let server = Arc::new(Server {
        live: Arc::clone(&live),
        net,
        heartbeats: Arc::clone(&heartbeats),
        heartbeat_users: HeartbeatUsers::default(),
        calls: Calls::default(),
        history: History::new(flags.history_limit),
        own: Arc::clone(&own),
        outcomes: Outcomes::new(flags.probe_outcomes),
        web,
        paths,
        timeout_offset: flags.timeout_offset,
        log_prober: flags.log_prober,
        log_format: flags.log_format,
    });

    let graceful = Arc::new(GracefulShutdown::new());
    let doors = Arc::new(Doors::default());
    let notifier = Arc::new(Notifier::from_env());
    let (mut tasks, mut listeners) = (JoinSet::new(), JoinSet::new());
    for socket in sockets {
        let listener = Listener::new(socket)?;
        info!(address = %listener.address(), "Listening on");
        let (server, doors, graceful) = (Arc::clone(&server), Arc::clone(&doors), Arc::clone(&graceful));
        listeners.spawn(accept(listener, server, doors, graceful));
    }
    if let Some(interval) = notifier.alive_interval() {
        tasks.spawn(tell_alive(Arc::clone(&notifier), interval));
    }
    tasks.spawn(watch_delay(own));
    match (flags.auto_reload, flags.refresh) {
        (Some(interval), _) => drop(tasks.spawn(reload_now_and_then(Arc::clone(&live), interval))),
        (None, Some(interval)) => drop(tasks.spawn(refresh_now_and_then(Arc::clone(&live), interval))),
        (None, None) => {}
    }
    let reloads = Arc::clone(&notifier);
    tasks.spawn(async move {
        while hangup.recv().await.is_some() {
            reloads.reloading();
            // Logged where it happens.
            let _ = live.reload().await;
            reloads.ready();
        }
    });

    notifier.ready();
    let name = stop.received().await;
    notifier.stopping();
    info!(signal = name, "Stopping; running probes may finish");
    doors.close();
    tasks.shutdown().await;
    while listeners.join_next().await.is_some() {}
    server.calls.end();
    if let Some(graceful) = Arc::into_inner(graceful) {
        tokio::select! {
            () = graceful.shutdown() => {}
            () = tokio::time::sleep(flags.shutdown_grace) => warn!("Probes were still running at the end of the grace period"),
            name = stop.received() => info!(signal = name, "Stopping at once"),
        }
    }
    heartbeats.close().await;
    Ok(())
}

/// The signals this process understands; from here on none of them kills it.
struct Signals {
    hangup: Signal,
    stop: Stop,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        let stop =
            Stop { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? };
        Ok(Self { hangup: signal(SignalKind::hangup())?, stop })
    }
}

/// The signals that end the process.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    async fn received(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

async fn reload_now_and_then(live: Arc<Live>, interval: Duration) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(interval) => {
                // Logged where it happens.
                let _ = live.reload().await;
            }
            () = live.reloaded() => {}
        }
    }
}

async fn refresh_now_and_then(live: Arc<Live>, interval: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        // Logged where it happens.
        let _ = live.refresh().await;
    }
}

/// A runtime that does not get round to this is stuck, and systemd starts a new process.
async fn tell_alive(notifier: Arc<Notifier>, interval: Duration) {
    loop {
        notifier.alive();
        tokio::time::sleep(interval).await;
    }
}

/// Measures how late timers fire, which is what probes suffer when this process or its machine is busy.
async fn watch_delay(own: Arc<Own>) {
    loop {
        for _ in 0..DELAY_TICKS {
            let due = Instant::now() + DELAY_TICK;
            tokio::time::sleep_until(due.into()).await;
            own.scheduling_delay.observe(due.elapsed());
        }
        own.scheduling_delay.rotate();
    }
}

/// The kernel counts every probe's socket, and the soft limit is often 1024. Go programs raise it as well.
fn raise_file_limit() {
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        warn!(err = %error, "Cannot raise the limit of open files");
    }
}

fn hostname() -> String {
    let from_kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = from_kernel.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    match name.trim() {
        "" => "localhost".to_owned(),
        name => name.to_owned(),
    }
}

/// How long the end of the process waits for a reader of its log.
const LOG_PATIENCE: Duration = Duration::from_secs(1);
/// Time between two looks at the lateness of timers.
const DELAY_TICK: Duration = Duration::from_millis(500);
/// Looks in a window; what is published is the worst of the last one to two windows, 15 to 30 s.
const DELAY_TICKS: u32 = 30;
