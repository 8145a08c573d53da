//! The clocks of this machine, and what they tell about time in which nobody could see: steps of the
//! wall clock, suspends, and stalls of this process.

use std::time::Duration;

use chrono::{TimeDelta, Utc};

use super::schedule::Time;

/// Reads the clocks.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// All of them, at one moment.
    fn read(&self) -> Reading;
}

/// What the clocks show.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// The time of day; somebody may set it.
    pub wall: Time,
    /// Time since the boot, suspends included (`CLOCK_BOOTTIME`).
    pub boot: Duration,
    /// Time since the boot without suspends (`CLOCK_MONOTONIC`).
    pub awake: Duration,
}

/// The clocks of the kernel.
#[derive(Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn read(&self) -> Reading {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let boot = libc::CLOCK_BOOTTIME;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let boot = libc::CLOCK_MONOTONIC;
        Reading { wall: Utc::now(), boot: kernel_time(boot), awake: kernel_time(libc::CLOCK_MONOTONIC) }
    }
}

fn kernel_time(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec, which outlives the call.
    #[expect(unsafe_code, reason = "std has no clock that counts suspends")]
    let code = unsafe { libc::clock_gettime(clock, &raw mut time) };
    if code != 0 {
        return Duration::ZERO;
    }
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), nanos)
}

/// Which boot of the machine this is; empty where the system does not tell.
pub fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// Why nobody could see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The wall clock was set forward: the time between was never there.
    Clock,
    /// This receiver did not run.
    Down,
    /// The machine slept, or this process was stopped or starved.
    Pause,
}

impl Cause {
    /// In the order of the values of the label `cause`.
    pub const ALL: [(Self, &'static str); 3] =
        [(Self::Clock, "clock"), (Self::Down, "down"), (Self::Pause, "pause")];
}

/// What a look at the clocks found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Trouble {
    /// The wall clock was set by this much; it showed `to` afterwards.
    Step {
        /// Positive when it was set forward.
        by: TimeDelta,
        /// What it shows now.
        to: Time,
    },
    /// Nobody could see from `from` to `to`, by the wall clock as it is now.
    Blind {
        /// The last moment at which all was well.
        from: Time,
        /// Now.
        to: Time,
    },
}

/// Compares the clocks, look by look; steps and pauses shorter than the limits below go unseen.
#[derive(Debug)]
pub struct Watch {
    last: Reading,
    /// Wall clock minus time since the boot, since the last step.
    offset: TimeDelta,
}

/// The time between two looks.
pub const TICK: Duration = Duration::from_secs(1);
/// A wall clock that differs more than this from what it should show was set.
pub(super) const STEP: TimeDelta = TimeDelta::seconds(1);
/// A longer time between two looks is a pause; Cassandra's failure detector has the same limit.
pub const PAUSE: Duration = Duration::from_secs(5);
/// A suspend longer than this is a pause, however short the time between two looks.
const SUSPEND: Duration = Duration::from_millis(500);

impl Watch {
    /// Starts with what the clocks show now.
    pub fn new(now: Reading) -> Self {
        Self { last: now, offset: offset(&now) }
    }

    /// Wall clock minus time since the boot, as it should be.
    pub(super) fn offset(&self) -> TimeDelta {
        self.offset
    }

    /// Looks again. A step comes before a blind time, and the two do not count the same seconds.
    pub fn look(&mut self, now: Reading) -> [Option<Trouble>; 2] {
        let last = std::mem::replace(&mut self.last, now);
        let elapsed = now.boot.saturating_sub(last.boot);
        let asleep = elapsed.saturating_sub(now.awake.saturating_sub(last.awake));
        let by = offset(&now) - self.offset;
        let step = (by.abs() >= STEP).then(|| {
            self.offset = offset(&now);
            Trouble::Step { by, to: now.wall }
        });
        let blind = (elapsed > PAUSE || asleep > SUSPEND).then(|| {
            let length = TimeDelta::from_std(elapsed).unwrap_or_default();
            Trouble::Blind { from: now.wall.checked_sub_signed(length).unwrap_or(now.wall), to: now.wall }
        });
        [step, blind]
    }
}

/// Between the wall clock and the time since the boot.
pub fn offset(reading: &Reading) -> TimeDelta {
    let boot = TimeDelta::from_std(reading.boot).unwrap_or_default();
    reading.wall - Time::UNIX_EPOCH - boot
}
