#!/usr/bin/env bash
# In a copy of the machine's files: starts systemd with nothing but under-systemd.sh, whose output is /mnt/boot.log.
set -euo pipefail

rm -rf /etc/systemd/system/*.wants /usr/lib/systemd/system/{sysinit,basic,local-fs,multi-user,network-online,sockets,timers}.target.wants
rm -f /etc/fstab /usr/sbin/policy-rc.d
mkdir -p /etc/systemd/system.conf.d
printf '[Manager]\nDefaultLimitNOFILE=1024:4096\n' >/etc/systemd/system.conf.d/test.conf
cat >/etc/systemd/system/under-systemd.service <<END
[Unit]
Requires=sysinit.target systemd-journald.service
After=sysinit.target systemd-journald.service
SuccessAction=exit-force
FailureAction=exit-force
FailureActionExitStatus=1

[Service]
Type=oneshot
TimeoutStartSec=90
ExecStart=/mnt/under-systemd.sh
StandardOutput=append:/mnt/boot.log
StandardError=append:/mnt/boot.log
END
touch /mnt/boot.log
chmod 666 /mnt/boot.log
# Says on the console nothing but what goes wrong before that, and ends when the service has.
exec /lib/systemd/systemd --system --unit=under-systemd.service --show-status=0 --log-level=err
