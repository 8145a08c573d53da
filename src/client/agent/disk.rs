//! How full the file systems are.

#![allow(unsafe_code, reason = "statvfs has no safe wrapper in the standard library")]

use std::collections::BTreeSet;
use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::path::PathBuf;

/// One line of `/proc/self/mounts` (fstab(5)), escapes undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    device: String,
    point: String,
    kind: String,
}

/// Space of a file system as an ordinary user sees it, as df(1) counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Space {
    /// Used part, 0 to 1; what is reserved for root does not count.
    pub usage_ratio: f64,
    /// Bytes that can still be written.
    pub available_bytes: f64,
}

/// The mounts in a table; lines that are not as they should be are passed over.
pub fn mounts(table: &str) -> Vec<Mount> {
    let parse = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (device, point, kind) = (words.next()?, words.next()?, words.next()?);
        Some(Mount { device: unescape(device), point: unescape(point), kind: kind.to_owned() })
    };
    table.lines().filter_map(parse).collect()
}

/// Space of the wanted mount points, or of all that are worth it. What is wanted and not mounted is an error,
/// as the directory below it would tell about another disk.
pub fn spaces(
    wanted: &[PathBuf],
    mounts: Result<Vec<Mount>, String>,
) -> Vec<(String, Result<Space, String>)> {
    let mounts = match mounts {
        Ok(mounts) => mounts,
        Err(why) => return vec![("/".to_owned(), Err(why))],
    };
    if wanted.is_empty() {
        return local(&mounts).into_iter().map(|point| (point.to_owned(), space(point))).collect();
    }
    let look = |path: &PathBuf| {
        let written = path.to_string_lossy();
        let point = match written.trim_end_matches('/') {
            "" => "/",
            point => point,
        };
        let is_mounted = mounts.iter().any(|mount| mount.point == point);
        let space = if is_mounted { space(point) } else { Err(format!("{point} is not a mount point")) };
        (point.to_owned(), space)
    };
    wanted.iter().map(look).collect()
}

/// The first mount point of each local device that can fill up.
fn local(mounts: &[Mount]) -> Vec<&str> {
    let mut seen = BTreeSet::new();
    let mut points: Vec<_> = mounts
        .iter()
        .filter(|mount| {
            let is_image = IMAGES.contains(&mount.kind.as_str());
            let is_local = mount.device.starts_with("/dev/") || POOLED.contains(&mount.kind.as_str());
            // The root of a container has no device of its own.
            is_local && !is_image || mount.point == "/" && mount.kind == "overlay"
        })
        .filter(|mount| seen.insert(mount.device.as_str()))
        .map(|mount| mount.point.as_str())
        .collect();
    points.sort_unstable();
    points
}

fn space(point: &str) -> Result<Space, String> {
    let complain = |error: io::Error| format!("cannot look at {point}: {error}");
    let path = CString::new(point).map_err(|error| complain(error.into()))?;
    let mut stat = MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: the path ends with a zero byte, and `stat` has the size the call expects.
    let result = unsafe { libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) };
    if result != 0 {
        return Err(complain(io::Error::last_os_error()));
    }
    // SAFETY: the call has filled it; all zeroes would be valid as well.
    let stat = unsafe { stat.assume_init() };
    let used = stat.f_blocks.saturating_sub(stat.f_bfree) as f64;
    let available = stat.f_bavail as f64;
    if used + available == 0.0 {
        return Err(format!("{point} has no size"));
    }
    Ok(Space { usage_ratio: used / (used + available), available_bytes: available * stat.f_frsize as f64 })
}

/// Undoes `\040` and its like.
fn unescape(word: &str) -> String {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let octal = after
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match octal {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// File systems that are always full.
const IMAGES: [&str; 4] = ["squashfs", "iso9660", "erofs", "udf"];
/// File systems whose device is a name.
const POOLED: [&str; 2] = ["zfs", "bcachefs"];

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
proc /proc proc rw 0 0
/dev/sda2 / ext4 rw 0 0
tmpfs /run tmpfs rw 0 0
/dev/sda2 /var/lib/docker ext4 rw 0 0
/dev/sdb1 /mnt/my\\040disk\\134x xfs rw 0 0
/dev/loop3 /snap/core/1 squashfs ro 0 0
/dev/sr0 /media iso9660 ro 0 0
nas:/export /home nfs4 rw 0 0
tank/data /data zfs rw 0 0
overlay /var/lib/merged overlay rw 0 0

broken
";

    #[test]
    fn disks_are_what_can_fill_up_here() {
        assert_eq!(local(&mounts(TABLE)), ["/", "/data", r"/mnt/my disk\x"]);
        assert_eq!(local(&mounts("overlay / overlay rw 0 0\n")), ["/"]);
        assert_eq!(unescape(r"\040\\9\04"), r" \\9\04");
    }

    #[test]
    fn what_is_wanted_must_be_mounted() {
        let table = "x / ext4\nx /none-such ext4\n";
        let wanted = ["/".into(), "/etc/".into(), "/none-such".into()];
        let got = spaces(&wanted, Ok(mounts(table)));
        let names: Vec<_> = got.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["/", "/etc", "/none-such"]);
        let root = got[0].1.as_ref().unwrap();
        assert!((0.0..=1.0).contains(&root.usage_ratio) && root.available_bytes >= 0.0, "{root:?}");
        assert_eq!(got[1].1, Err("/etc is not a mount point".to_owned()));
        let missing = got[2].1.as_ref().unwrap_err();
        assert_eq!(missing, "cannot look at /none-such: No such file or directory (os error 2)");
        assert_eq!(spaces(&[], Err("why".to_owned())), [("/".to_owned(), Err("why".to_owned()))]);
    }
}
