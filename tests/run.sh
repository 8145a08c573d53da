#!/usr/bin/env bash
# All tests. Needs Debian or its like, and root or sudo: see tests/install-real-parts.sh.
set -euo pipefail
cd "$(dirname "$0")/.."

tests/install-real-parts.sh

echo "run: unit and integration tests"
cargo test --locked

# Tests that make network namespaces or open raw sockets run as root.
if [ "$(id -u)" != 0 ]; then
  host=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
  export "CARGO_TARGET_${host}_RUNNER=sudo --non-interactive --preserve-env"
fi
echo "run: tests against real servers, in network namespaces, with Prometheus 2 and 3 and Chromium"
cargo test --locked --lib --tests -- --ignored --test-threads=2

echo "run: alerting rules, example configurations of Prometheus and Alertmanager"
/usr/bin/python3 tests/check-alerts.py
parts=${CARGO_TARGET_DIR:-target}/real-parts
for major in 2 3; do
  "$parts/prometheus$major/promtool" check config prometheus.example.yml
  "$parts/prometheus$major/promtool" check rules alerting-rules/*.yml
  "$parts/prometheus$major/promtool" test rules alerting-rules/tests/*.yml
  tests/check-routes.sh "$parts/prometheus$major/amtool"
done

echo "run: dashboards"
/usr/bin/python3 dashboards/generate.py --check
for schema in "$parts"/grafana*; do "$schema/bin/python" tests/check-dashboards.py dashboards/*.json; done

echo "run: documentation"
tests/check-docs.py "${CARGO_TARGET_DIR:-target}/debug/heartbeat_exporter"

echo "run: units, packages, images and charts"
tests/check-packaging.sh

echo "run: all tests passed"
