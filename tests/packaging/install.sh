#!/usr/bin/env bash
# In a copy of the machine's files, without systemd: the package brings what it should and leaves nothing.
set -euo pipefail

die() { echo "install.sh: $*" >&2; exit 1; }
# Where packages put things. mandb and ldconfig keep their own books.
everything() { find /etc /usr/bin /usr/lib/systemd /usr/share /var/lib -xdev ! -path '/var/lib/dpkg*' ! -path '/etc/ld.so.cache' | sort; }

everything >/tmp/before
dpkg --install /mnt/heartbeat-exporter.deb >/tmp/log 2>&1 || { cat /tmp/log >&2; die "it cannot be installed"; }
installed=(
  /usr/bin/heartbeat_exporter
  /usr/lib/systemd/system/heartbeat_exporter.service
  /usr/lib/systemd/system/heartbeat_exporter.socket
  /usr/share/doc/heartbeat-exporter/copyright
  /usr/share/doc/heartbeat-exporter/third-party-licences.txt.gz
  /usr/share/doc/heartbeat-exporter/examples/prometheus.example.yml
  /usr/share/man/man1/heartbeat_exporter.1.gz
  /usr/share/bash-completion/completions/heartbeat_exporter
  /usr/share/zsh/vendor-completions/_heartbeat_exporter
  /usr/share/fish/vendor_completions.d/heartbeat_exporter.fish
)
for path in "${installed[@]}"; do [ -s "$path" ] || die "$path is missing"; done
[ "$(dpkg-query -W -f='${Conffiles}' heartbeat-exporter | awk '{ print $1 }' | xargs)" = \
  "/etc/default/heartbeat_exporter /etc/heartbeat_exporter/config.yml" ] || die "other files of /etc than expected"
heartbeat_exporter --config.file=/etc/heartbeat_exporter/config.yml --config.check 2>/tmp/log ||
  { cat /tmp/log >&2; die "its own configuration does not load"; }
gzip -dc /usr/share/doc/heartbeat-exporter/third-party-licences.txt.gz | grep '^rustls ' >/dev/null || die "no licence of rustls"
[ -L /etc/systemd/system/multi-user.target.wants/heartbeat_exporter.service ] || die "the service is not enabled"
[ ! -e /etc/systemd/system/sockets.target.wants/heartbeat_exporter.socket ] || die "the socket is enabled"

# Changes of the administrator outlive the package, until it is purged.
echo '# mine' >>/etc/heartbeat_exporter/config.yml
mkdir -p /var/lib/private/heartbeat_exporter && touch /var/lib/private/heartbeat_exporter/heartbeats.redb
dpkg --remove heartbeat-exporter >/dev/null 2>&1
[ ! -e /usr/bin/heartbeat_exporter ] || die "the program is still there after its removal"
grep -q '^# mine' /etc/heartbeat_exporter/config.yml || die "a changed configuration went with the package"
[ -e /var/lib/private/heartbeat_exporter/heartbeats.redb ] || die "heartbeats went with the package"
dpkg --purge heartbeat-exporter >/dev/null 2>&1
everything | grep -vx /var/lib/private >/tmp/after
grep -vx /var/lib/private /tmp/before | diff - /tmp/after || die "the above is left of it after a purge"
echo "  installed, removed and purged"
