#!/usr/bin/env bash
# Run by a systemd: installs the package, and the service does what its unit promises.
set -euo pipefail
# The first sign of life: whoever reads it knows that what fails from here on is the unit.
echo "systemd $(systemctl --version | head -1 | cut -d" " -f2) is up"

unit=heartbeat_exporter.service
config=/etc/heartbeat_exporter/config.yml
die() {
  echo "under-systemd.sh: $*"
  systemctl --no-pager --full status $unit || true
  journalctl --no-pager --lines=30 --unit=$unit || true
  exit 1
}
get() { curl --silent --show-error --fail --max-time 20 "http://127.0.0.1:9115$1"; }
# is WHAT TEXT PATTERN: a line of the text is the pattern.
is() { grep -Eqx -- "$3" <<<"$2" || die "$1: $3 is not in: $(head -c 2000 <<<"$2")"; }
property() { systemctl show --property="$1" --value $unit; }

dpkg --install /mnt/heartbeat-exporter.deb >/tmp/log 2>&1 || { cat /tmp/log; die "it cannot be installed"; }
[ "$(property ActiveState)" = active ] || die "it does not run after the installation"
echo "installed and running"

pid=$(property MainPID)
status=$(<"/proc/$pid/status")
is "capabilities" "$status" 'CapEff:	0000000000002000'
is "bounding set" "$status" 'CapBnd:	0000000000002000'
is "no new privileges" "$status" 'NoNewPrivs:	1'
is "system call filter" "$status" 'Seccomp:	2'
is "user" "$(ps -o user= -p "$pid" | xargs)" '(heartbeat_exporter|heartbe\+|6[0-9]{4})'
[ "$(readlink "/proc/$pid/cwd")" = /var/lib/private/heartbeat_exporter ] || die "working directory $(readlink "/proc/$pid/cwd")"
[ "$(stat -c '%a %u' /var/lib/private/heartbeat_exporter)" = "700 $(stat -c %u "/proc/$pid")" ] ||
  die "$(ls -ld /var/lib/private/heartbeat_exporter)"
# As the process sees it: everything read-only but its own folder.
is "file system" "$(awk '$5 == "/" { print $6 }' "/proc/$pid/mountinfo")" 'ro,.*'
is "own folder" "$(awk '$5 == "/var/lib/private/heartbeat_exporter" { print $6 }' "/proc/$pid/mountinfo")" 'rw,.*'
echo "locked up: a user of its own, CAP_NET_RAW alone, one folder to write to"

is "ready" "$(get /-/ready)" '.*[Rr]eady.*|OK|Healthy'
# Nobody may use ping sockets in new namespaces, so this is a raw one.
is "group range" "$(xargs </proc/sys/net/ipv4/ping_group_range)" '1 0'
is "icmp" "$(get '/probe?module=icmp&target=127.0.0.1')" 'probe_success 1'
is "icmp over IPv6" "$(get '/probe?module=icmp&target=::1')" 'probe_success 1'
is "http" "$(get '/probe?module=http_2xx&target=http://127.0.0.1:9115/-/healthy')" 'probe_success 1'
is "name" "$(get '/probe?module=tcp_connect&target=localhost:9115')" 'probe_success 1'
metrics=$(get /metrics)
for name in process_cpu_seconds_total process_open_fds process_resident_memory_bytes process_start_time_seconds \
  heartbeat_exporter_open_sockets; do
  is "own metrics" "$metrics" "$name(\{.*\})? [1-9].*|$name(\{.*\})? 0\.[0-9]+"
done
# The filter of system calls must leave this one alone.
is "limit of files" "$(awk '/^Max open files/ { print $4, $5 }' "/proc/$pid/limits")" '4096 4096'
! journalctl --no-pager --unit=$unit | grep -E 'level=(WARN|ERROR)' || die "it warns about the sandbox"
echo "probes work in the sandbox: icmp, http, tcp, names"

systemctl reload $unit || die "a reload fails"
echo 'modules: {x: {prober: http, http: {nonsense: 1}}}' >$config.bad
cp $config $config.good
mv $config.bad $config
! systemctl reload $unit 2>/dev/null || die "a reload of a bad file is a success"
[ "$(property ActiveState) $(property MainPID)" = "active $pid" ] || die "a bad file ended it"
is "bad file" "$(get /metrics)" 'blackbox_exporter_config_last_reload_successful 0'
cp $config.good $config
systemctl reload $unit || die "a reload of the mended file fails"
is "mended file" "$(get /metrics)" 'blackbox_exporter_config_last_reload_successful 1'
[ "$(property MainPID)" = "$pid" ] || die "a reload started it anew"
echo "reloads: a bad file fails the reload and changes nothing"

# As docs/deployment.md says.
mkdir -p /run/systemd/system/$unit.d /etc/heartbeat_exporter/secrets
echo sesame >/etc/heartbeat_exporter/secrets/token
chmod 600 /etc/heartbeat_exporter/secrets/token
printf '[Service]\nLoadCredential=token:/etc/heartbeat_exporter/secrets/token\n' >/run/systemd/system/$unit.d/test.conf
cat >$config <<END
modules:
  by_root: {prober: http, http: {authorization: {credentials_file: /etc/heartbeat_exporter/secrets/token}}}
  by_systemd: {prober: http, http: {authorization: {credentials_file: /run/credentials/$unit/token}}}
END
systemctl daemon-reload
systemctl restart $unit
healthy=target=http://127.0.0.1:9115/-/healthy
is "a secret of root" "$(get "/probe?module=by_root&$healthy")" 'probe_failure_info\{phase="prepare",reason="file"\} 1'
is "a secret from systemd" "$(get "/probe?module=by_systemd&$healthy")" 'probe_success 1'
cp $config.good $config
rm -r /etc/heartbeat_exporter/secrets /run/systemd/system/$unit.d
systemctl daemon-reload
echo "secrets: handed over by systemd, and the file stays with root"

printf 'heartbeats: {services: {job: {every: 1h}}}\n' >>$config
systemctl restart $unit
curl --silent --show-error --fail --request POST http://127.0.0.1:9115/heartbeat/job >/dev/null || die "no heartbeat is taken"
systemctl restart $unit
is "heartbeats" "$(get /metrics)" 'heartbeat_state\{.*heartbeat="job".*state="up".*\} 1'
[ -s /var/lib/private/heartbeat_exporter/heartbeats.redb ] || die "heartbeats are kept elsewhere"
cp $config.good $config
echo "heartbeats: kept in the folder of the service, over a restart"

# The watchdog.
mkdir /run/systemd/system/$unit.d
printf '[Service]\nWatchdogSec=2\nRestartSec=0\n' >/run/systemd/system/$unit.d/test.conf
systemctl daemon-reload
systemctl restart $unit
pid=$(property MainPID)
sleep 4
[ "$(property MainPID) $(property NRestarts)" = "$pid 0" ] || die "it does not tell the watchdog that it is alive"
kill -STOP "$pid"
for _ in $(seq 100); do [ "$(property NRestarts)" = 0 ] || break; sleep 0.1; done
[ "$(property NRestarts)" = 1 ] || die "the watchdog did not see that it is stuck"
rm -r /run/systemd/system/$unit.d
systemctl daemon-reload
echo "watchdog: a stuck process is replaced"

systemctl stop $unit
[ "$(property Result)" = success ] || die "a stop is a failure: $(property Result)"
echo 'ARGS="--web.systemd-socket --web.external-url=http://localhost:9115/"' >/etc/default/heartbeat_exporter
systemctl start heartbeat_exporter.socket
[ "$(property ActiveState)" = inactive ] || die "it runs before somebody connects"
get /-/ready >/dev/null || die "no answer on the socket of systemd"
[ "$(property ActiveState)" = active ] || die "it does not run after somebody connected"
# The socket stays open while the service starts anew: nobody is refused.
systemctl restart $unit & get /-/ready >/dev/null || die "refused during a restart"
wait
systemctl stop heartbeat_exporter.socket $unit
echo "socket: the first connection starts it, a restart refuses nobody"

echo 'ARGS=""' >/etc/default/heartbeat_exporter
systemctl start $unit
pid=$(property MainPID)
dpkg --install --force-confold /mnt/heartbeat-exporter.deb >/dev/null 2>&1
[ "$(property ActiveState)" = active ] && [ "$(property MainPID)" != "$pid" ] || die "an upgrade does not restart it"
systemctl disable --quiet $unit
dpkg --install --force-confold /mnt/heartbeat-exporter.deb >/dev/null 2>&1
[ "$(systemctl is-enabled $unit)" = disabled ] || die "an upgrade enables what was disabled"
echo "upgrade: restarted, and what was disabled stays so"

dpkg --purge heartbeat-exporter >/dev/null 2>&1
[ "$(property LoadState)" = not-found ] || die "the unit is still there after a purge"
[ ! -e /var/lib/private/heartbeat_exporter ] && [ ! -e /var/lib/heartbeat_exporter ] || die "state is left after a purge"
! pgrep -x heartbeat_expor >/dev/null || die "it still runs after a purge"
echo "purged"
