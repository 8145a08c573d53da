//! The thread that talks to the receiver, so that the job waits for nobody.

use std::io::{self, PipeReader};
use std::pin::pin;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime;
use tokio::sync::oneshot;

use super::signals::Signals;
use crate::client::flags::ReceiverFlags;
use crate::client::receiver::Receiver;
use crate::client::report::Report;

/// Reports the beginning, and waits for the end.
#[derive(Debug)]
pub struct Reporter {
    finish: oneshot::Sender<Report>,
    /// Ends with the thread.
    over: PipeReader,
    thread: JoinHandle<Result<(), String>>,
}

impl Reporter {
    /// Starts the thread; `start` is sent at once.
    ///
    /// # Errors
    /// There cannot be another thread.
    pub fn spawn(flags: ReceiverFlags, start: Option<Report>) -> Result<Self, String> {
        let cannot = |error: io::Error| format!("cannot start a thread: {error}");
        let (over, alive) = io::pipe().map_err(cannot)?;
        let (finish, finished) = oneshot::channel();
        let thread = thread::Builder::new().name("reporter".to_owned()).spawn(move || {
            let result = talk(&flags, start, finished);
            drop(alive);
            result
        });
        Ok(Self { finish, over, thread: thread.map_err(cannot)? })
    }

    /// Sends the last report and waits until it has arrived, or will not.
    ///
    /// # Errors
    /// Why it did not arrive.
    pub fn finish(self, report: Report, signals: &Signals) -> Result<(), String> {
        // A thread that is gone says why below.
        let _ = self.finish.send(report);
        signals.wait_for(&self.over).map_err(|name| format!("{name} came first"))?;
        self.thread.join().unwrap_or_else(|_| Err("its thread panicked".to_owned()))
    }
}

fn talk(
    flags: &ReceiverFlags,
    start: Option<Report>,
    mut finished: oneshot::Receiver<Report>,
) -> Result<(), String> {
    let receiver = Receiver::new(flags)?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| error.to_string())?.block_on(async {
        let mut last = None;
        if let Some(start) = start {
            let mut sent = pin!(receiver.deliver(&start, START_PATIENCE));
            tokio::select! {
                // If it failed, the last report will tell, and if that arrives, it says more than the first.
                _ = &mut sent => {}
                report = &mut finished => {
                    last = Some(report);
                    // A start that overtakes nothing is worth a moment: it must not arrive after the end.
                    let _ = tokio::time::timeout(LATE_START_PATIENCE, sent).await;
                }
            }
        }
        let report = match last {
            Some(report) => report,
            None => finished.await,
        };
        match report {
            Ok(report) => receiver.deliver(&report, FINISH_PATIENCE).await,
            Err(_) => Ok(()),
        }
    })
}

/// How long the beginning is worth reporting.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How long the end waits for the beginning.
const LATE_START_PATIENCE: Duration = Duration::from_secs(1);
/// Longest time by which reporting makes the whole longer than the job.
const FINISH_PATIENCE: Duration = Duration::from_secs(60);
