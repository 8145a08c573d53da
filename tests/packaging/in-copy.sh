#!/usr/bin/env bash
# Runs a program as root in a copy of this machine's files, with processes, network and control groups of its own.
#
#   in-copy.sh FOLDER PROGRAM [ARGUMENT]...
#
# The copy is an overlay in memory: whatever is written goes away with it. FOLDER is the same in both, as /mnt.
# PROGRAM is process 1. Needs root or sudo.
set -euo pipefail

if [ "${1:-}" != --inside ]; then
  as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo --non-interactive)
  "${as_root[@]}" bash "$0" --inside "$(realpath "$1")" "${@:2}"
  exit
fi

if [ "$2" != --namespaces ]; then
  over=$(mktemp -d)
  groups=()
  clean_up() {
    rmdir "$over"
    for group in "${groups[@]}"; do find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true; done
  }
  trap clean_up EXIT
  # A control group below which a systemd may make its own.
  for top in /sys/fs/cgroup /sys/fs/cgroup/unified; do
    [ "$(stat -f -c %T $top 2>/dev/null)" = cgroup2fs ] || continue
    groups+=("$(mktemp -d $top/packaging-test.XXXXXX)")
  done
  (
    for group in "${groups[@]}"; do echo $BASHPID >"$group/cgroup.procs"; done
    exec unshare --mount --pid --net --ipc --uts --cgroup --fork --kill-child --propagation private \
      bash "$0" --inside --namespaces "$over" "${@:2}"
  )
  exit
fi

shift 2
over=$1
folder=$2
shift 2
mount -t tmpfs -o mode=755 tmpfs "$over"
mkdir "$over"/{changes,work,root}
mount -t overlay -o "lowerdir=/,upperdir=$over/changes,workdir=$over/work" overlay "$over/root"
cd "$over/root"
mount -t proc proc proc
# Only the network of these namespaces can be changed, not the machine.
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount --bind proc/sys/net proc/sys/net
mount -o remount,bind,rw proc/sys/net
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
for place in run tmp; do mount -t tmpfs -o mode=1777 tmpfs $place; done
chmod 755 run
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do touch dev/$device && mount --bind /dev/$device dev/$device; done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount --bind "$folder" mnt
ip link set lo up
# The old root goes away, so that the new one is nobody's folder.
pivot_root . .
umount --lazy .
# A systemd in a container relies on that, to hand secrets to its services.
mount --make-rshared /

exec chroot . env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 container=packaging-test "$@"
