//! What the kernel says about this node. Values and units of the files in `/proc`: proc(5).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use super::disk;

/// What is looked at besides what every node has.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Mount points; none means all file systems on local devices.
    pub disks: Vec<PathBuf>,
    /// Names of processes.
    pub processes: Vec<String>,
}

/// One look at the node. Ratios are parts in use, 0 to 1.
#[derive(Debug, Default)]
pub struct Reading {
    /// All numbers of the report, by name.
    pub values: BTreeMap<String, f64>,
    /// What could not be read, one line each; its numbers are missing.
    pub failures: Vec<String>,
    /// Where the next look begins to count.
    pub cpu_times: Option<CpuTimes>,
    /// Of the processors' time.
    pub cpu_ratio: Option<f64>,
    /// Of the memory: what is not available.
    pub memory_ratio: Option<f64>,
    /// Of each disk, by mount point.
    pub disk_ratios: Vec<(String, f64)>,
    /// Wanted processes of which there is none.
    pub missing_processes: Vec<String>,
}

/// Processor time since the start of the node, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuTimes {
    busy: u64,
    total: u64,
}

impl Reading {
    /// Looks at everything; the processor's time counts from `since`. May wait for a disk.
    pub fn take(wanted: &Wanted, since: Option<CpuTimes>) -> Self {
        let mut reading = Self::default();
        if let Some((now, ratio)) =
            reading.note(CpuTimes::now().and_then(|now| Ok((now, now.ratio_since(since)?))))
        {
            reading.cpu_times = Some(now);
            reading.cpu_ratio = Some(ratio);
            reading.put("cpu_usage_ratio", ratio);
        }
        if let Some([total, available]) = reading.note(read("/proc/meminfo", memory)) {
            let ratio = 1.0 - available / total;
            reading.memory_ratio = Some(ratio);
            reading.put("memory_usage_ratio", ratio);
            reading.put("memory_available_bytes", available);
            reading.put("memory_total_bytes", total);
        }
        if let Some(loads) = reading.note(read("/proc/loadavg", load)) {
            for (name, load) in ["load1", "load5", "load15"].into_iter().zip(loads) {
                reading.put(name, load);
            }
        }
        let mounts = read("/proc/self/mounts", |text| Some(disk::mounts(text)));
        for (mount, space) in disk::spaces(&wanted.disks, mounts) {
            if let Some(space) = reading.note(space) {
                reading.put(&format!("disk_usage_ratio:{mount}"), space.usage_ratio);
                reading.put(&format!("disk_available_bytes:{mount}"), space.available_bytes);
                reading.disk_ratios.push((mount, space.usage_ratio));
            }
        }
        if !wanted.processes.is_empty()
            && let Some(counts) = reading.note(count_processes(Path::new("/proc"), &wanted.processes))
        {
            for (name, count) in wanted.processes.iter().zip(counts) {
                reading.put(&format!("process_count:{name}"), f64::from(count));
                if count == 0 {
                    reading.missing_processes.push(name.clone());
                }
            }
        }
        reading
    }

    /// A look that came to nothing.
    pub fn failed(why: String) -> Self {
        Self { failures: vec![why], ..Self::default() }
    }

    fn put(&mut self, name: &str, value: f64) {
        self.values.insert(name.to_owned(), value);
    }

    fn note<T>(&mut self, result: Result<T, String>) -> Option<T> {
        result.map_err(|why| self.failures.push(why)).ok()
    }
}

impl CpuTimes {
    /// As of now.
    ///
    /// # Errors
    /// A sentence about the file.
    pub fn now() -> Result<Self, String> {
        read("/proc/stat", Self::parse)
    }

    /// The first line: user, nice, system, idle, iowait, irq, softirq, steal. What follows is part of the first two.
    fn parse(stat: &str) -> Option<Self> {
        let mut words = stat.lines().next()?.split_ascii_whitespace();
        words.next().filter(|word| *word == "cpu")?;
        let ticks = words.take(8).map(str::parse).collect::<Result<Vec<u64>, _>>().ok()?;
        let idle = ticks.get(3)? + ticks.get(4)?;
        let total = ticks.iter().sum::<u64>();
        Some(Self { busy: total.checked_sub(idle)?, total })
    }

    fn ratio_since(self, before: Option<Self>) -> Result<f64, String> {
        let before = before.ok_or("there is no earlier look at the processor to compare with")?;
        // The kernel's sums may step back by some ticks (proc(5), iowait).
        match self.total.saturating_sub(before.total) {
            0 => Err("/proc/stat stands still".to_owned()),
            total => Ok((self.busy.saturating_sub(before.busy) as f64 / total as f64).min(1.0)),
        }
    }
}

/// Total and available bytes.
fn memory(meminfo: &str) -> Option<[f64; 2]> {
    let bytes = |key: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(key))?;
        Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? as f64 * 1024.0)
    };
    Some([bytes("MemTotal:").filter(|total| *total > 0.0)?, bytes("MemAvailable:")?])
}

/// Load over one, five and fifteen minutes.
fn load(loadavg: &str) -> Option<[f64; 3]> {
    let mut words = loadavg.split_ascii_whitespace().map_while(|word| word.parse().ok());
    Some([words.next()?, words.next()?, words.next()?])
}

/// How many processes have each name; this one and those that have ended do not count.
fn count_processes(proc: &Path, names: &[String]) -> Result<Vec<u32>, String> {
    let complain = |error: io::Error| format!("cannot list processes: {error}");
    let own = std::process::id().to_string();
    let mut counts = vec![0; names.len()];
    for entry in fs::read_dir(proc).map_err(complain)? {
        let entry = entry.map_err(complain)?;
        let id = entry.file_name();
        if id == *own || !id.as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        // A process may end while we look at it.
        let Some(process) = Process::read(&entry.path()) else { continue };
        for (name, count) in names.iter().zip(&mut counts) {
            *count += u32::from(process.is_called(name));
        }
    }
    Ok(counts)
}

/// The names of a process that runs.
#[derive(Debug)]
struct Process {
    /// The kernel's name for it, at most [`MAX_COMM_BYTES`].
    comm: OsString,
    /// The last part of the first word of its command line; empty for threads of the kernel.
    program: OsString,
}

impl Process {
    fn read(folder: &Path) -> Option<Self> {
        let stat = read_limited(&folder.join("stat")).ok()?;
        let (begin, end) =
            (stat.iter().position(|byte| *byte == b'(')?, stat.iter().rposition(|byte| *byte == b')')?);
        let comm = stat.get(begin + 1..end)?;
        if matches!(stat.get(end + 2)?, b'Z' | b'X') {
            return None;
        }
        let line = read_limited(&folder.join("cmdline")).ok()?;
        let first = line.split(|byte| *byte == 0).next().unwrap_or_default();
        let program = first.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        Some(Self { comm: OsString::from_vec(comm.to_vec()), program: OsString::from_vec(program.to_vec()) })
    }

    fn is_called(&self, name: &str) -> bool {
        self.program == name || (name.len() <= MAX_COMM_BYTES && self.comm == name)
    }
}

/// Random id of this boot of the node.
pub fn boot_id() -> Option<String> {
    first_line("/proc/sys/kernel/random/boot_id")
}

/// When this process started, in ticks since the boot.
pub fn start_time() -> Option<u64> {
    let stat = read_limited(Path::new("/proc/self/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    // The name may hold anything, parentheses too; after it this is field 22, counted from 3.
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(22 - 3)?.parse().ok()
}

/// The first line of a small file, if it has one.
pub fn first_line(path: &str) -> Option<String> {
    let bytes = read_limited(Path::new(path)).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    text.lines().next().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty())
}

fn read<T>(path: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, String> {
    let bytes = read_limited(Path::new(path)).map_err(|error| format!("cannot read {path}: {error}"))?;
    parse(&String::from_utf8_lossy(&bytes)).ok_or_else(|| format!("{path} is not as expected"))
}

fn read_limited(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Bytes read of a file in `/proc`. Only lists of very many mounts are longer.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Longest name in `comm` (TASK_COMM_LEN, less its end).
const MAX_COMM_BYTES: usize = 15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_what_passed_between_two_looks() {
        let line = "cpu  100 10 50 800 40 3 7 0 90 9\ncpu0 1 2\n";
        assert_eq!(CpuTimes::parse(line), Some(CpuTimes { busy: 170, total: 1010 }));
        for bad in ["", "cpu", "cpu 1 2 3 4", "cpux 1 2 3 4 5", "cpu 1 2 3 4 -5", "intr 1 2 3 4 5"] {
            assert_eq!(CpuTimes::parse(bad), None, "{bad}");
        }
        let at = |busy, total| CpuTimes { busy, total };
        let cases = [
            (Some(at(170, 1010)), at(195, 1110), Ok(0.25)),
            (Some(at(170, 1010)), at(160, 1110), Ok(0.0)),
            (Some(at(170, 1010)), at(180, 1010), Err("/proc/stat stands still")),
            (None, at(1, 2), Err("there is no earlier look at the processor to compare with")),
        ];
        for (before, now, want) in cases {
            assert_eq!(now.ratio_since(before), want.map_err(str::to_owned), "{before:?}");
        }
    }

    #[test]
    fn memory_and_load_are_read_whole_or_not_at_all() {
        let meminfo = "MemTotal:        4096 kB\nMemFree: 1 kB\nMemAvailable:    1024 kB\n";
        assert_eq!(memory(meminfo), Some([4_194_304.0, 1_048_576.0]));
        for bad in [
            "",
            "MemTotal: 4096 kB\n",
            "MemTotal: 0 kB\nMemAvailable: 0 kB\n",
            "MemTotal: x kB\nMemAvailable: 1 kB",
        ] {
            assert_eq!(memory(bad), None, "{bad}");
        }
        assert_eq!(load("0.01 1.25 10.00 1/234 5678\n"), Some([0.01, 1.25, 10.0]));
        assert_eq!(load("0.01 1.25\n"), None);
    }

    #[test]
    fn processes_are_found_by_what_people_call_them() {
        let proc = tempfile::tempdir().unwrap();
        let add = |id: &str, stat: &str, cmdline: &str| {
            fs::create_dir(proc.path().join(id)).unwrap();
            fs::write(proc.path().join(id).join("stat"), stat).unwrap();
            fs::write(proc.path().join(id).join("cmdline"), cmdline).unwrap();
        };
        add("1", "1 (nginx) S 0 1", "nginx: master process /usr/sbin/nginx\0");
        add("2", "2 (nginx) R 1 1", "nginx: worker process\0");
        add("3", "3 (a-name-that-is-) S 0 1", "/usr/bin/a-name-that-is-long\0--flag\0");
        add("4", "4 (kthreadd) S 0 1", "");
        add("5", "5 (gone) Z 1 1", "");
        add("6", "6 (odd) (name) S 1 1", "odd\0");
        add("self", "7 (self) S 1 1", "self\0");
        fs::create_dir(proc.path().join("8")).unwrap();
        let cases = [
            ("nginx", 2),
            ("a-name-that-is-long", 1),
            ("a-name-that-is-other", 0),
            ("kthreadd", 1),
            ("gone", 0),
            ("odd) (name", 1),
            ("self", 0),
            ("ngin", 0),
        ];
        let names: Vec<_> = cases.iter().map(|(name, _)| (*name).to_owned()).collect();
        let counts: Vec<_> = cases.iter().map(|(_, count)| *count).collect();
        assert_eq!(count_processes(proc.path(), &names), Ok(counts));
        let missing = proc.path().join("none");
        assert!(count_processes(&missing, &names).unwrap_err().starts_with("cannot list processes: "));
    }
}
