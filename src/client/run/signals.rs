//! Signals on their way to the job, and waiting for files at the same time.

#![allow(
    unsafe_code,
    reason = "signal masks, signalfd and poll have no safe wrapper in the standard library"
)]

use std::fs::File;
use std::io::{self, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::ptr;

use libc::{c_int, pid_t};

/// The signals of this process, as a file. Nothing else reacts to them any more.
#[derive(Debug)]
pub struct Signals {
    queue: File,
    before: libc::sigset_t,
    /// Those that whoever started us wants to be ignored.
    ignored: Vec<c_int>,
}

/// One signal that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrived {
    number: c_int,
    /// Sent by the kernel: the terminal, which tells all processes in the foreground, the job included.
    is_from_kernel: bool,
    sender: u32,
}

impl Signals {
    /// Takes over all signals that somebody sends to tell a job something, and the end of children.
    ///
    /// Call it before any thread is started; threads inherit it.
    ///
    /// # Errors
    /// Out of file descriptors or memory; then nothing has changed.
    pub fn take() -> io::Result<Self> {
        let set = set_of(&SENT_ON, libc::SIGCHLD);
        // SAFETY: `set` is initialised and outlives the call.
        let queue = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if queue < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and belongs to nobody else.
        let queue = File::from(unsafe { OwnedFd::from_raw_fd(queue) });
        let mut ignored: Vec<_> = SENT_ON.into_iter().filter(|signal| is_ignored(*signal)).collect();
        if is_ignored(libc::SIGCHLD) {
            ignored.push(libc::SIGCHLD);
            // Otherwise the kernel would not keep the exit status of the job.
            // SAFETY: no handler is involved.
            unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
        }
        let mut before = MaybeUninit::uninit();
        // SAFETY: both sets outlive the call, which initialises `before`; it only fails for a wrong first argument.
        let before = unsafe {
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, before.as_mut_ptr());
            before.assume_init()
        };
        Ok(Self { queue, before, ignored })
    }

    /// Makes the command begin with the signals as we found them.
    pub fn give_back(&self, command: &mut Command) {
        let (before, children_ignored) = (self.before, self.ignored.contains(&libc::SIGCHLD));
        let restore = move || {
            // SAFETY: both functions are async-signal-safe, and `before` is a valid set.
            unsafe {
                libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut());
                if children_ignored {
                    libc::signal(libc::SIGCHLD, libc::SIG_IGN);
                }
            }
            Ok(())
        };
        // SAFETY: the closure neither allocates nor takes a lock.
        unsafe { command.pre_exec(restore) };
    }

    /// Waits for the next signal.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn next(&self) -> io::Result<Arrived> {
        loop {
            ready([self.queue.as_fd()], Patience::Endless)?;
            if let Some(arrived) = self.pending()? {
                return Ok(arrived);
            }
        }
    }

    /// Waits until there is something to read from `file`, its end included.
    ///
    /// # Errors
    /// The name of the signal that wants the process to end before that.
    pub fn wait_for(&self, file: impl AsFd) -> Result<(), &'static str> {
        loop {
            // A poll that fails has no memory; then the caller's own read does the waiting.
            let [is_there, signalled] =
                ready([file.as_fd(), self.queue.as_fd()], Patience::Endless).unwrap_or([true, false]);
            if is_there {
                return Ok(());
            }
            if signalled
                && let Ok(Some(arrived)) = self.pending()
                && !self.ignored.contains(&arrived.number)
                && let Some((_, name)) = STOPPING.iter().find(|(number, _)| *number == arrived.number)
            {
                return Err(name);
            }
        }
    }

    fn pending(&self) -> io::Result<Option<Arrived>> {
        let mut record = [0; size_of::<libc::signalfd_siginfo>()];
        match (&self.queue).read_exact(&mut record) {
            Ok(()) => Ok(Arrived::parse(&record)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Arrived {
    /// Reads `struct signalfd_siginfo` (signalfd(2)), which begins with number, errno, code and sender.
    fn parse(record: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_ne_bytes(record.get(at..at + 4)?.try_into().ok()?));
        let code = word(8)?.cast_signed();
        Some(Self {
            number: word(0)?.cast_signed(),
            is_from_kernel: code == libc::SI_KERNEL,
            sender: word(12)?,
        })
    }

    /// A child ended, stopped or went on.
    pub fn is_about_children(self) -> bool {
        self.number == libc::SIGCHLD
    }

    /// Sends it to the job, unless the job has it already: from the terminal, or because it sent it itself to
    /// its whole group.
    pub fn send_on(self, job: u32) {
        if self.is_from_kernel || self.sender == job {
            return;
        }
        let Ok(job) = pid_t::try_from(job) else { return };
        // SAFETY: no memory is involved, and the job has not been waited for, so the number is still its own.
        // The only error is a job that has ended, and that is what we wait for.
        unsafe { libc::kill(job, self.number) };
    }
}

/// How long to wait for files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Only look.
    None,
    /// Until something happens.
    Endless,
}

/// Which of the files can be read without waiting; at their end and after an error they can.
///
/// # Errors
/// Those of the operating system; interruptions are none.
pub fn ready<const N: usize>(files: [BorrowedFd<'_>; N], patience: Patience) -> io::Result<[bool; N]> {
    poll(files, libc::POLLIN, patience)
}

/// Waits until `file` takes more.
///
/// # Errors
/// Those of the operating system; interruptions are none.
pub fn writable(file: BorrowedFd<'_>) -> io::Result<()> {
    poll([file], libc::POLLOUT, Patience::Endless).map(drop)
}

fn poll<const N: usize>(
    files: [BorrowedFd<'_>; N],
    events: libc::c_short,
    patience: Patience,
) -> io::Result<[bool; N]> {
    let mut polled = files.map(|file| libc::pollfd { fd: file.as_raw_fd(), events, revents: 0 });
    let milliseconds = if patience == Patience::None { 0 } else { -1 };
    loop {
        // SAFETY: the array has as many elements as we say and outlives the call.
        if unsafe { libc::poll(polled.as_mut_ptr(), N as libc::nfds_t, milliseconds) } >= 0 {
            return Ok(polled.map(|file| file.revents != 0));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Whether both are the same open file, with one position (kcmp(2)). `false` also if the kernel does not tell.
pub fn is_same_open_file(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> bool {
    let us = std::process::id();
    // SAFETY: the call takes five numbers and touches no memory of ours.
    let order =
        unsafe { libc::syscall(libc::SYS_kcmp, us, us, KCMP_FILE, one.as_raw_fd(), other.as_raw_fd()) };
    order == 0
}

fn is_ignored(signal: c_int) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: nothing is set, and what is read is as large as the call expects; all zeroes is a valid value.
    unsafe {
        libc::sigaction(signal, ptr::null(), action.as_mut_ptr());
        action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

fn set_of(signals: &[c_int], and: c_int) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the first call initialises the set; the numbers are valid.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        let mut set = set.assume_init();
        for signal in signals.iter().chain([&and]) {
            libc::sigaddset(&raw mut set, *signal);
        }
        set
    }
}

/// What people and supervisors send to a job. Those of job control stay with the kernel, which stops and
/// continues us together with the job.
const SENT_ON: [c_int; 6] =
    [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGUSR1, libc::SIGUSR2];

/// Those that end what we still do once the job is done.
const STOPPING: [(c_int, &str); 4] = [
    (libc::SIGHUP, "SIGHUP"),
    (libc::SIGINT, "SIGINT"),
    (libc::SIGQUIT, "SIGQUIT"),
    (libc::SIGTERM, "SIGTERM"),
];

/// From linux/kcmp.h.
const KCMP_FILE: c_int = 0;
