//! `agent`: how this node is, now and then.

mod disk;
mod limits;
mod node;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use self::node::{CpuTimes, Reading, Wanted};
use super::flags::AgentFlags;
use super::receiver::Receiver;
use super::report::{Report, Signal};
use super::tell;

/// Reports until it is told to stop, or once. Status 0 means that whatever had to be reported was.
pub fn main(flags: AgentFlags) -> ExitCode {
    let receiver = match Receiver::new(&flags.receiver) {
        Ok(receiver) => receiver,
        Err(why) => {
            tell(why);
            return ExitCode::FAILURE;
        }
    };
    let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tell(format_args!("cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let is_fine = runtime.block_on(live(flags, receiver));
    // A look at a disk that does not answer is not waited for.
    runtime.shutdown_background();
    if is_fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn live(flags: AgentFlags, receiver: Receiver) -> bool {
    let (mut terminate, mut interrupt) =
        match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
            (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
            (Err(error), _) | (_, Err(error)) => {
                tell(format_args!("cannot start: {error}"));
                return false;
            }
        };
    let once = flags.once;
    let mut agent = Agent::new(flags, receiver);
    let work = async { if once { agent.report_once().await } else { agent.report_for_ever().await } };
    tokio::select! {
        is_fine = work => is_fine,
        _ = terminate.recv() => !once,
        _ = interrupt.recv() => !once,
    }
}

struct Agent {
    flags: AgentFlags,
    receiver: Receiver,
    wanted: Arc<Wanted>,
    /// Processor times at the last reading, from which the next one counts.
    cpu: Option<CpuTimes>,
    /// A reading that takes too long; there is never a second one beside it.
    stuck: Option<JoinHandle<Reading>>,
    sequence: Option<u64>,
    incarnation: Option<String>,
    /// What was printed last, so that it is printed once.
    told: Option<String>,
}

impl Agent {
    fn new(flags: AgentFlags, receiver: Receiver) -> Self {
        let wanted = Arc::new(Wanted { disks: flags.disks.clone(), processes: flags.processes.clone() });
        // The processes that cron starts are one sender, so there only a boot begins a new life, and none of
        // them knows how many came before.
        let incarnation = node::boot_id().map(|boot| match node::start_time().filter(|_| !flags.once) {
            Some(start) => format!("{boot}/{start}"),
            None => boot,
        });
        Self {
            wanted,
            cpu: CpuTimes::now().ok(),
            stuck: None,
            sequence: (!flags.once).then_some(0),
            incarnation,
            told: None,
            flags,
            receiver,
        }
    }

    async fn report_once(&mut self) -> bool {
        sleep(self.delay()).await;
        sleep(CPU_WINDOW).await;
        self.report(REPORT_PATIENCE).await
    }

    async fn report_for_ever(&mut self) -> bool {
        let begun = Instant::now() + CPU_WINDOW;
        let mut due = begun;
        loop {
            sleep_until(due + self.delay()).await;
            let _told = self.report(REPORT_PATIENCE.min(self.flags.interval)).await;
            // What is overdue is left out: reports say how things are, not how they were.
            let now = Instant::now();
            while due <= now {
                due += self.flags.interval;
            }
        }
    }

    fn delay(&self) -> Duration {
        self.flags.jitter.mul_f64(rand::random_range(0.0..1.0))
    }

    /// Reads and reports; whether everything could be read and the report arrived.
    async fn report(&mut self, patience: Duration) -> bool {
        let mut reading = self.read().await;
        let mut report = Report {
            sequence: self.sequence,
            incarnation: self.incarnation.clone(),
            values: std::mem::take(&mut reading.values),
            ..Report::default()
        };
        self.sequence = self.sequence.map(|sequence| sequence + 1);
        let beyond = limits::beyond(&self.flags, &reading);
        if !beyond.is_empty() {
            report.data = format!("{}:{}", self.address().await, beyond.join(","));
        }
        let failures = reading.failures;
        if !failures.is_empty() {
            report.signal = Signal::Fail;
            // A failure with data would be two signals; the text has both.
            let data = std::mem::take(&mut report.data);
            let lines = failures.iter().chain([&data]).filter(|line| !line.is_empty());
            report.message = lines.cloned().collect::<Vec<_>>().join("\n").into_bytes();
        }
        let sent = self.receiver.deliver(&report, patience).await;
        let mut problems = failures;
        problems.extend(sent.err().map(|why| format!("the report did not arrive: {why}")));
        let problem = (!problems.is_empty()).then(|| problems.join("; "));
        match &problem {
            Some(problem) if self.told.as_ref() != Some(problem) => tell(problem),
            None if self.told.is_some() => tell("reports arrive again"),
            _ => {}
        }
        self.told = problem;
        self.told.is_none()
    }

    async fn read(&mut self) -> Reading {
        let mut task = self.stuck.take().unwrap_or_else(|| {
            let (wanted, since) = (Arc::clone(&self.wanted), self.cpu);
            spawn_blocking(move || Reading::take(&wanted, since))
        });
        match timeout(READING_PATIENCE, &mut task).await {
            Ok(Ok(reading)) => {
                self.cpu = reading.cpu_times.or(self.cpu);
                reading
            }
            Ok(Err(error)) => Reading::failed(format!("cannot look at this node: {error}")),
            Err(_) => {
                self.stuck = Some(task);
                Reading::failed("this node did not answer in time; a disk may hang".to_owned())
            }
        }
    }

    /// What the text calls this node; colons of an address are in brackets.
    async fn address(&self) -> String {
        if let Some(address) = &self.flags.address {
            return address.clone();
        }
        match self.receiver.local_address().await {
            Some(std::net::IpAddr::V6(address)) => format!("[{address}]"),
            Some(address) => address.to_string(),
            None => node::first_line("/proc/sys/kernel/hostname").unwrap_or_default(),
        }
    }
}

/// Time over which the first reading looks at the processor.
const CPU_WINDOW: Duration = Duration::from_secs(1);
/// Longest time of a reading.
const READING_PATIENCE: Duration = Duration::from_secs(10);
/// Longest time until a report has arrived, or will not.
const REPORT_PATIENCE: Duration = Duration::from_secs(60);
