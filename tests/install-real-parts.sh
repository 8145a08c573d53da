#!/usr/bin/env bash
# Makes the programs available that the tests in tests/real talk to. For Debian and its like.
#
#   tests/install-real-parts.sh
#
# Installs from the distribution: nginx, caddy, unbound, redis, curl, tinyproxy, microsocks, openssl, iproute2,
# chromium, protoc, and aiosmtpd, gRPC, websockets, venv and YAML for Python. No service is started.
# Unpacks, without installing: Prometheus 2 (Debian 12) and Prometheus 3 (Debian unstable), each with promtool and the
# Alertmanager of its release, etcd (Debian unstable), and the schema of Grafana's dashboards (PyPI), below
# target/real-parts. Needs root or sudo and the network, unless everything is there already.
set -euo pipefail
cd "$(dirname "$0")/.."

parts=${CARGO_TARGET_DIR:-target}/real-parts
packages=(nginx caddy unbound curl tinyproxy microsocks redis-server openssl iproute2 util-linux chromium
  fonts-dejavu-core protobuf-compiler protobuf-compiler-grpc
  python3-aiosmtpd python3-grpcio python3-websockets python3-venv python3-yaml)
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
policy=/usr/sbin/policy-rc.d

die() { echo "install-real-parts: $*" >&2; exit 1; }

temporary=()
policy_kept=
# Leaves nothing behind but what was asked for.
clean_up() {
  if [ -n "$policy_kept" ]; then
    as_root rm -f "$policy"
    [ ! -e "$policy_kept/policy-rc.d" ] || as_root mv "$policy_kept/policy-rc.d" "$policy"
  fi
  rm -rf "${temporary[@]}"
}
trap clean_up EXIT

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo --non-interactive "$@"; fi
}

# Prints what the tests would miss, one name per line.
missing_programs() {
  local path=$PATH:/usr/sbin:/sbin program
  for program in nginx caddy unbound tinyproxy microsocks redis-server curl openssl chromium ip unshare nsenter \
    protoc grpc_python_plugin; do
    PATH=$path command -v "$program" >/dev/null || echo "$program"
  done
  /usr/bin/python3 -c 'import aiosmtpd.smtp' 2>/dev/null || echo python3-aiosmtpd
  /usr/bin/python3 -c 'import grpc, google.protobuf' 2>/dev/null || echo python3-grpcio
  /usr/bin/python3 -c 'import websockets' 2>/dev/null || echo python3-websockets
  /usr/bin/python3 -c 'import venv, ensurepip' 2>/dev/null || echo python3-venv
  /usr/bin/python3 -c 'import yaml' 2>/dev/null || echo python3-yaml
}

missing_prometheus() {
  local major
  for major in 2 3; do
    "$parts/prometheus$major/prometheus" --version 2>&1 | grep -q "version $major\." || echo "prometheus$major"
    local program
    for program in promtool prometheus-alertmanager amtool; do
      "$parts/prometheus$major/$program" --version >/dev/null 2>&1 || echo "$program$major"
    done
    [ -r "$parts/prometheus$major/templates/default.tmpl" ] || echo "templates$major"
  done
}

missing_schemas() {
  local major
  for major in 10 11; do
    "$parts/grafana$major/bin/python" -c 'import grafana_foundation_sdk' 2>/dev/null || echo "grafana$major"
  done
}

missing_etcd() {
  "$parts/etcd/etcd" --version >/dev/null 2>&1 || echo etcd
  ETCDCTL_API=3 "$parts/etcd/etcdctl" version >/dev/null 2>&1 || echo etcdctl
}

install_programs() {
  command -v apt-get >/dev/null || die "there is no apt-get here; install by hand: ${packages[*]}"
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || die "neither root nor sudo: cannot install ${packages[*]}"
    sudo --non-interactive true 2>/dev/null || die "sudo asks for a password: run this as root to install ${packages[*]}"
  fi
  # Packages of servers start their service unless a policy forbids it. A policy that is there already
  # is put back afterwards.
  policy_kept=$(mktemp -d)
  temporary+=("$policy_kept")
  [ ! -e "$policy" ] || as_root mv "$policy" "$policy_kept/policy-rc.d"
  printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
  as_root chmod 755 "$policy"

  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0)
  as_root "${apt[@]}" update >&2 || die "apt-get update failed; is there a network?"
  local program fresh=()
  for program in nginx caddy unbound tinyproxy microsocks redis-server; do
    dpkg-query -W "$program" >/dev/null 2>&1 || fresh+=("$program.service")
  done
  as_root "${apt[@]}" install --no-install-recommends --no-upgrade -y "${packages[@]}" >&2 ||
    die "cannot install ${packages[*]}"
  # Nor shall they start with the next boot.
  if [ ${#fresh[@]} -gt 0 ] && command -v systemctl >/dev/null; then
    as_root systemctl --quiet disable "${fresh[@]}" >&2 || true
  fi
}

# The address of the Debian archive, from this machine's own configuration of apt.
archive() {
  local uri
  uri=$(awk '$1 == "URIs:" { print $2 }' /etc/apt/sources.list.d/*.sources 2>/dev/null | grep -v security | head -n 1 || true)
  [ -n "$uri" ] || uri=$(sed -nE 's/^deb +(\[[^]]*\] +)?([^ ]+) .*/\2/p' /etc/apt/sources.list \
    /etc/apt/sources.list.d/*.list 2>/dev/null | grep -v security | head -n 1 || true)
  [ -n "$uri" ] || die "no Debian archive is configured on this machine, so Prometheus and etcd cannot be downloaded"
  echo "$uri"
}

# What is there already is downloaded again with the rest.
unpack_programs() {
  [ -r "$keyring" ] || die "$keyring is missing; install debian-archive-keyring"
  local uri apt_dir unpacked
  uri=$(archive)
  mkdir -p "$parts"
  apt_dir=$(mktemp -d "$(realpath "$parts")/apt.XXXXXX")
  temporary+=("$apt_dir")
  mkdir -p "$apt_dir"/{lists,cache/archives}/partial
  local suite
  for suite in bookworm sid; do
    echo "deb [signed-by=$keyring] $uri $suite main"
  done >"$apt_dir/sources.list"
  # A private state directory: the machine's own lists and pins stay as they are.
  local apt=(apt-get -qq -o "Dir::Etc::sourcelist=$apt_dir/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o Dir::Etc::preferencesparts=/dev/null -o "Dir::State::Lists=$apt_dir/lists" -o "Dir::Cache=$apt_dir/cache"
    -o Acquire::Languages=none -o APT::Update::Error-Mode=any -o "APT::Sandbox::User=$(id -un)")
  "${apt[@]}" update >&2 || die "cannot read the Debian archive at $uri; is there a network?"

  local major
  for major in 2 3; do
    unpacked=$apt_dir/root$major
    mkdir -p "$apt_dir/deb$major" "$unpacked"
    # promtool has a package of its own in newer releases.
    case $major in
      2) set -- prometheus/bookworm prometheus-alertmanager/bookworm ;;
      3) set -- prometheus/sid promtool/sid prometheus-alertmanager/sid ;;
    esac
    (cd "$apt_dir/deb$major" && "${apt[@]}" download "$@") >&2 || die "cannot download Prometheus $major from $uri"
    local deb
    for deb in "$apt_dir/deb$major"/*.deb; do dpkg-deb -x "$deb" "$unpacked"; done
    mkdir -p "$parts/prometheus$major"
    mv -f "$unpacked"/usr/bin/{prometheus,promtool,prometheus-alertmanager,amtool} "$parts/prometheus$major/"
    # Alertmanager has the path of these built in; the test puts them there in a mount namespace of its own.
    rm -rf "$parts/prometheus$major/templates"
    mv "$unpacked/usr/share/prometheus/alertmanager" "$parts/prometheus$major/templates"
  done

  unpacked=$apt_dir/root-etcd
  mkdir -p "$apt_dir/deb-etcd" "$unpacked" "$parts/etcd"
  (cd "$apt_dir/deb-etcd" && "${apt[@]}" download etcd-server/sid etcd-client/sid) >&2 ||
    die "cannot download etcd from $uri"
  for deb in "$apt_dir/deb-etcd"/*.deb; do dpkg-deb -x "$deb" "$unpacked"; done
  mv -f "$unpacked"/usr/bin/{etcd,etcdctl} "$parts/etcd/"
}

# The types Grafana itself generates for its dashboards, of the oldest and the newest release they are published for
# among those the dashboards are meant for.
install_schemas() {
  local major wheel
  for major in 10 11; do
    case $major in
      10) wheel='1769699796!10.4.0 --hash=sha256:e3e9e59effc17fa7a3bacaed40dcea2ecc39d6cc4c37dc7b494968afaf35a7b4' ;;
      11) wheel='1769699379!11.6.0 --hash=sha256:92d7a8144eba0fa802e728fb70e63d74b056fb1195ff116d812ad7a4ccfa5eca' ;;
    esac
    /usr/bin/python3 -m venv --clear "$parts/grafana$major"
    echo "grafana-foundation-sdk==$wheel" >"$parts/grafana$major/requirements.txt"
    "$parts/grafana$major/bin/pip" --quiet --disable-pip-version-check install --no-deps --require-hashes \
      -r "$parts/grafana$major/requirements.txt" >&2 || die "cannot install the schema of Grafana $major from PyPI"
  done
}

[ -z "$(missing_programs)" ] || install_programs
[ -z "$(missing_prometheus; missing_etcd)" ] || unpack_programs
[ -z "$(missing_schemas)" ] || install_schemas
still_missing=$(missing_programs; missing_prometheus; missing_etcd; missing_schemas)
[ -z "$still_missing" ] || die "still missing:" $still_missing
echo "install-real-parts: nginx, caddy, unbound, redis, curl, tinyproxy, microsocks, openssl, chromium, ip, aiosmtpd, gRPC," \
  "websockets, Prometheus 2 and 3, Alertmanager, etcd and Grafana's schemas are there"
