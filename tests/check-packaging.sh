#!/usr/bin/env bash
# Checks what is in packaging/, and the Dockerfile. For Debian and its like.
#
#   tests/check-packaging.sh [PROGRAM]
#
# PROGRAM is target/debug/heartbeat_exporter unless given, which is built if need be. Installs what is missing: Debian
# packages, and Python packages into target/packaging-tools. Needs root or sudo, and the network for the installation.
#
#   Dockerfile         hadolint; built by buildah between stand-ins for both base images, and run without any right
#   Helm chart         rendered by Helm's own engine with several sets of values
#   manifests          against the schemas of Kubernetes, those of the Prometheus operator against the keys it knows
#   Debian package     built, looked at by lintian, installed and purged in a copy of this machine's files
#   systemd unit       verified, judged, and run by a systemd of its own in namespaces: reload, watchdog, socket, upgrade
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
tools=$target/packaging-tools
here=tests/packaging
# Of systemd-analyze security, times ten: 0 is locked up, 100 is wide open.
exposure_limit=20

die() { echo "check-packaging: $*" >&2; exit 1; }
step() { echo "check-packaging: $*"; }
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo --non-interactive "$@"; fi
}

install_tools() {
  local missing=() pair
  for pair in dpkg-shlibdeps:dpkg-dev strip:binutils lintian:lintian systemd-analyze:systemd unshare:util-linux \
    setpriv:util-linux ip:iproute2 curl:curl getcap:libcap2-bin buildah:buildah; do
    PATH=$PATH:/usr/sbin:/sbin command -v "${pair%:*}" >/dev/null || missing+=("${pair#*:}")
  done
  [ -x /lib/systemd/systemd ] || missing+=(systemd)
  /usr/bin/python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
  if [ ${#missing[@]} -gt 0 ]; then
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0)
    as_root "${apt[@]}" update >&2 && as_root "${apt[@]}" install --no-install-recommends --no-upgrade -y "${missing[@]}" >&2 ||
      die "cannot install ${missing[*]}; is there a network, and root or sudo?"
  fi
  # Installed again when the list has changed.
  if ! cmp -s $here/requirements.txt "$tools/requirements.txt"; then
    rm -rf "$tools"
    /usr/bin/python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet --disable-pip-version-check --require-hashes --requirement $here/requirements.txt >&2 ||
      die "cannot install the Python packages of $here/requirements.txt; is there a network?"
    cp $here/requirements.txt "$tools/requirements.txt"
  fi
}

step "tools"
install_tools
program=${1:-}
if [ -z "$program" ]; then
  cargo build --locked
  program=$target/debug/heartbeat_exporter
fi
# What the copies of this machine's files see as /mnt.
work=$(mktemp -d)
trap 'as_root rm -rf "$work"' EXIT
# Other users read it as well.
chmod 755 "$work"
cp $here/*.sh "$work/"

step "Dockerfile"
"$tools/bin/hadolint" Dockerfile

step "Helm chart and manifests"
"$tools/bin/python" $here/manifests.py "$program"

step "Debian package"
# Compressed little: this one is for nobody.
deb=$(DPKG_DEB_OPTIONS="-Zgzip -z1" packaging/debian/build.sh "$program" "$work")
mv "$deb" "$work/heartbeat-exporter.deb"
lintian --allow-root --fail-on error,warning "$work/heartbeat-exporter.deb"
$here/in-copy.sh "$work" /mnt/install.sh

step "systemd unit"
$here/in-copy.sh "$work" /mnt/verify-unit.sh $exposure_limit
if timeout --kill-after=5 150 $here/in-copy.sh "$work" /mnt/boot.sh; then
  sed 's/^/  /' "$work/boot.log"
elif [ -s "$work/boot.log" ]; then
  sed 's/^/  /' "$work/boot.log"
  die "the unit does not do what it should under systemd"
else
  # Containers without cgroups of their own, for one.
  echo "  NOT RUN: systemd does not start in namespaces here, so the unit was only verified"
fi

step "image"
strip --strip-debug -o "$work/heartbeat_exporter" "$program"
# What git knows, and what it would add.
mkdir "$work/source"
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$work/source"
$here/in-copy.sh "$work" /mnt/as-container.sh

step "all passed in $SECONDS s"
