#!/usr/bin/env bash
# In a copy of the machine's files: the program as the image and the manifests start it. Another user, no capability,
# no new privileges, nothing writable, and ping sockets by net.ipv4.ping_group_range.
set -euo pipefail

die() { echo "as-container.sh: $*" >&2; cat /tmp/log >&2; exit 1; }
get() { curl --silent --fail --max-time 20 "http://127.0.0.1:9115$1"; }

mount -o remount,ro /
start() {
  setpriv --reuid=65532 --regid=65532 --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all --ambient-caps=-all \
    /mnt/heartbeat_exporter --config.file=/mnt/config.yml --config.enable-auto-reload >/tmp/log 2>&1 &
  pid=$!
  for _ in $(seq 100); do get /-/ready >/dev/null && return; sleep 0.1; done
  die "it does not become ready"
}

start
grep -qx 'CapEff:	0000000000000000' /proc/$pid/status || die "it has capabilities"
get '/probe?module=http_2xx&target=http://127.0.0.1:9115/-/healthy' | grep -x 'probe_success 1' >/dev/null || die "http fails"
get '/probe?module=icmp&target=127.0.0.1' | grep '^probe_failure_info{.*reason="permission"' >/dev/null ||
  die "icmp without any right: $(get '/probe?module=icmp&target=127.0.0.1' | grep -v '^#')"
echo '65532 65532' >/proc/sys/net/ipv4/ping_group_range
for target in 127.0.0.1 ::1; do
  get "/probe?module=icmp&target=$target" | grep -x 'probe_success 1' >/dev/null || die "icmp to $target fails with ping sockets"
done
kill $pid
wait $pid || die "SIGTERM is a failure"
echo "  http and icmp work without any privilege"
