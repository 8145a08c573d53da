#!/usr/bin/env bash
# Checks the example configuration of Alertmanager: that it loads, and who gets which alert.
#
#   tests/check-routes.sh AMTOOL
set -euo pipefail
cd "$(dirname "$0")/.."

amtool=$1
config=alertmanager.example.yml

"$amtool" check-config "$config"

# Fails unless an alert with these labels goes to exactly these receivers.
goes_to() {
  local receivers=$1
  shift
  "$amtool" config routes test --config.file="$config" --verify.receivers="$receivers" "$@" >/dev/null 2>&1 || {
    echo "check-routes: $* does not go to $receivers" >&2
    exit 1
  }
}

goes_to sms,mail severity=critical about=target alertname=ProbeFailing job=http instance=a vantage=here
goes_to sms,mail severity=critical about=exporter alertname=ExporterDown
goes_to mail severity=warning about=certificate alertname=CertificateExpiresSoon
goes_to chat severity=info about=target alertname=ProbeSlowerThanUsual
goes_to sms,mail severity=critical about=heartbeat alertname=HeartbeatMissed namespace=batch heartbeat=backup
goes_to chat severity=info about=heartbeat alertname=HeartbeatLate
goes_to watchdog severity=none about=monitoring alertname=Watchdog
# Alerts of other rules.
goes_to mail alertname=HostOutOfMemory
goes_to mail severity=ticket
echo "check-routes: alerts go where they should"
