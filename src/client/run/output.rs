//! The job's output on its way through, and the end of it for the report.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::signals::{self, Patience, Signals, is_same_open_file, ready};
use super::tail::Tail;

/// The streams of one job.
#[derive(Debug)]
pub struct Output {
    tail: Arc<Mutex<Tail>>,
    pumps: Vec<Pump>,
}

/// A thread that moves one stream, and what we have of it.
#[derive(Debug)]
struct Pump {
    /// One byte asks it to take what the job has written so far; the end asks it to stop.
    control: PipeWriter,
    /// Answers to that byte.
    emptied: mpsc::Receiver<()>,
    /// Ends with the thread.
    over: PipeReader,
    thread: JoinHandle<Option<Stream>>,
}

/// Where bytes come from and where they go.
#[derive(Debug)]
struct Stream {
    from: PipeReader,
    to: File,
}

impl Output {
    /// Makes the command write to us. Both streams share one pipe if ours lead to the same place, so that the
    /// order of what the job writes stays as it is.
    ///
    /// # Errors
    /// Out of descriptors or threads; then the command keeps our own streams.
    pub fn capture(command: &mut Command, limit: usize) -> io::Result<Self> {
        Self::try_capture(command, limit).inspect_err(|_| {
            command.stdout(Stdio::inherit()).stderr(Stdio::inherit());
        })
    }

    fn try_capture(command: &mut Command, limit: usize) -> io::Result<Self> {
        let stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        let tail = Arc::new(Mutex::new(Tail::new(limit)));
        let (from, end) = io::pipe()?;
        let pumps = if lead_to_one_place(&stdout, &stderr) {
            command.stdout(end.try_clone()?).stderr(end);
            vec![Pump::start(Stream { from, to: stdout }, &tail)?]
        } else {
            command.stdout(end);
            let (from_stderr, end) = io::pipe()?;
            command.stderr(end);
            vec![
                Pump::start(Stream { from, to: stdout }, &tail)?,
                Pump::start(Stream { from: from_stderr, to: stderr }, &tail)?,
            ]
        };
        Ok(Self { tail, pumps })
    }

    /// The end of what the job has written until now. If nobody reads our own output, what waits there may be
    /// missing, since the report must not wait for it.
    pub fn tail(&self) -> Vec<u8> {
        for pump in &self.pumps {
            // A thread that is gone has taken everything.
            let _ = (&pump.control).write_all(&[1]);
        }
        let end = Instant::now() + EMPTYING_PATIENCE;
        for pump in &self.pumps {
            let _ = pump.emptied.recv_timeout(end.saturating_duration_since(Instant::now()));
        }
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).to_vec()
    }

    /// Lets go of the streams. Processes that outlive the job may still hold them; then another process takes
    /// over, as our end must neither wait for theirs nor break their output.
    pub fn leave(self, signals: &Signals) {
        for Pump { control, over, thread, .. } in self.pumps {
            drop(control);
            if signals.wait_for(&over).is_err() {
                return;
            }
            if let Ok(Some(stream)) = thread.join() {
                stream.hand_over();
            }
        }
    }
}

/// Whether it makes no difference which of the two a byte is written to.
fn lead_to_one_place(one: &File, other: &File) -> bool {
    let (Ok(a), Ok(b)) = (one.metadata(), other.metadata()) else { return false };
    // Two positions in one file are two places.
    (a.dev(), a.ino()) == (b.dev(), b.ino())
        && (!a.is_file() || is_same_open_file(one.as_fd(), other.as_fd()))
}

impl Pump {
    fn start(stream: Stream, tail: &Arc<Mutex<Tail>>) -> io::Result<Self> {
        let (told, control) = io::pipe()?;
        let (over, alive) = io::pipe()?;
        let (answer, emptied) = mpsc::channel();
        let tail = Arc::clone(tail);
        let thread = thread::Builder::new().name("output".to_owned()).spawn(move || {
            let left = stream.pump(told, &answer, &tail);
            drop(alive);
            left
        })?;
        Ok(Self { control, emptied, over, thread })
    }
}

impl Stream {
    /// Moves bytes until the stream ends, and returns it if it was told to stop before that.
    fn pump(mut self, mut told: PipeReader, answer: &mpsc::Sender<()>, tail: &Mutex<Tail>) -> Option<Self> {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            // A poll that fails has no memory; reading waits as well.
            let [is_there, is_told] =
                ready([self.from.as_fd(), told.as_fd()], Patience::Endless).unwrap_or([true, false]);
            if is_told {
                let goes_on = matches!(told.read(&mut [0]), Ok(1));
                let mut taken = 0;
                while taken < MAX_PIPE_BYTES
                    && let Ok([true]) = ready([self.from.as_fd()], Patience::None)
                {
                    taken += self.step(&mut buffer, tail)?;
                }
                if !goes_on {
                    return Some(self);
                }
                let _ = answer.send(());
            } else if is_there {
                self.step(&mut buffer, tail)?;
            }
        }
    }

    /// Moves what is there; `None` when the stream is at its end or nobody wants its bytes any more. Dropping
    /// our end lets the next write of the job fail as if it wrote to our output itself.
    fn step(&mut self, buffer: &mut [u8], tail: &Mutex<Tail>) -> Option<usize> {
        let length = match self.from.read(buffer) {
            Ok(0) => return None,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(_) => return None,
        };
        let bytes = buffer.get(..length)?;
        tail.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
        write(&mut self.to, bytes).ok()?;
        Some(length)
    }

    /// Leaves the rest to a process of its own, or, if there cannot be one, stays until the end.
    fn hand_over(mut self) {
        if self.spawn_successor().is_err() {
            let _ = copy(&mut self.from, &mut self.to);
        }
    }

    fn spawn_successor(&self) -> io::Result<Child> {
        Command::new("/proc/self/exe")
            .arg0("heartbeat_exporter")
            .arg(PASS_ON)
            .current_dir("/")
            .stdin(self.from.try_clone()?)
            .stdout(self.to.try_clone()?)
            .stderr(Stdio::null())
            .spawn()
    }
}

/// The other side of [`Output::leave`]: moves standard input to standard output.
pub fn pass_on() -> ExitCode {
    // Whoever ends the processes that write gets to read what they say last; after that there is nothing to do.
    let _signals = Signals::take();
    let streams = io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .and_then(|from| Ok((File::from(from), File::from(io::stdout().as_fd().try_clone_to_owned()?))));
    match streams.and_then(|(mut from, mut to)| copy(&mut from, &mut to)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn copy(from: &mut impl io::Read, to: &mut File) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => write(to, buffer.get(..length).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Writes everything, also if another process has made the file non-blocking.
fn write(to: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(length) => bytes = bytes.get(length..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => signals::writable(to.as_fd())?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// First argument of the process that [`Output::leave`] starts; not for people.
pub const PASS_ON: &str = "pass-output-on";
/// How long the report waits for somebody to read our output.
const EMPTYING_PATIENCE: Duration = Duration::from_secs(1);
/// Bytes moved at once: as many as a pipe holds by default.
const BUFFER_BYTES: usize = 64 << 10;
/// Most that a pipe holds (`/proc/sys/fs/pipe-max-size`): after so many, all that the job wrote has been seen.
const MAX_PIPE_BYTES: usize = 1 << 20;
