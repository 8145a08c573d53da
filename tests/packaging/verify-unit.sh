#!/usr/bin/env bash
# In a copy of the machine's files: systemd finds no mistake in the units, and the service is well locked up.
set -euo pipefail

units=/usr/lib/systemd/system
dpkg --install /mnt/heartbeat-exporter.deb >/dev/null 2>&1
# It tells about unknown keys, but its status is 0.
said=$(systemd-analyze verify $units/heartbeat_exporter.service $units/heartbeat_exporter.socket 2>&1 |
  grep heartbeat_exporter || true)
[ -z "$said" ] || { echo "verify-unit.sh: $said" >&2; exit 1; }
judgement=$(systemd-analyze security --no-pager --offline=true --threshold="$1" $units/heartbeat_exporter.service) ||
  { echo "$judgement"; exit 1; }
echo "  ${judgement##*→ }"
