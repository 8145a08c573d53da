#!/usr/bin/env bash
# Makes a Debian package of a program that is already built.
#
#   packaging/debian/build.sh [PROGRAM] [FOLDER]
#
# PROGRAM is target/release/heartbeat_exporter unless given, FOLDER takes the package and is target/debian.
# The package is for the architecture of this machine, or DEB_HOST_ARCH. DEBFULLNAME and DEBEMAIL name its
# maintainer, SOURCE_DATE_EPOCH its time. Needs dpkg-dev, cargo and Python 3.11; does not need root.
set -euo pipefail
cd "$(dirname "$0")/../.."

target=${CARGO_TARGET_DIR:-target}
program=${1:-$target/release/heartbeat_exporter}
output=${2:-$target/debian}
package=heartbeat-exporter
name=heartbeat_exporter
maintainer="${DEBFULLNAME:-heartbeat_exporter} <${DEBEMAIL:-packages@heartbeat-exporter.invalid}>"
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)}

die() { echo "build.sh: $*" >&2; exit 1; }

for tool in dpkg-deb dpkg-shlibdeps strip cargo python3; do
  command -v "$tool" >/dev/null || die "$tool is missing; dpkg-dev, binutils, cargo and python3 are needed"
done
[ -x "$program" ] || die "$program is not there; build it with cargo build --release --locked"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)-1
architecture=${DEB_HOST_ARCH:-$(dpkg --print-architecture)}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/debian/$package

# put MODE SOURCE PATH
put() { install -D -m "$1" "$2" "$root/$3"; }
# Without time and name inside, so that the same source gives the same package.
put_compressed() { mkdir -p "$root/$(dirname "$2")"; gzip -9n <"$1" >"$root/$2"; chmod 644 "$root/$2"; }

put 755 "$program" usr/bin/$name
# Names of functions stay, for backtraces.
strip --strip-debug --remove-section=.comment --remove-section=.note "$root/usr/bin/$name"

put 644 config.example.yml etc/$name/config.yml
put 644 packaging/systemd/$name.default etc/default/$name
put 644 packaging/systemd/$name.service usr/lib/systemd/system/$name.service
put 644 packaging/systemd/$name.socket usr/lib/systemd/system/$name.socket

put_compressed packaging/$name.1 usr/share/man/man1/$name.1.gz
put 644 packaging/completions/$name usr/share/bash-completion/completions/$name
put 644 packaging/completions/_$name usr/share/zsh/vendor-completions/_$name
put 644 packaging/completions/$name.fish usr/share/fish/vendor_completions.d/$name.fish

documents=usr/share/doc/$package
put 644 packaging/debian/copyright $documents/copyright
put_compressed CHANGELOG.md $documents/changelog.gz
packaging/third-party-licences.py >"$work/licences"
put_compressed "$work/licences" $documents/third-party-licences.txt.gz
for document in README.md CONFIGURATION.md METRICS.md docs/*.md docs/runbooks/*.md; do put 644 "$document" "$documents/$document"; done
for example in {config,prometheus,alertmanager,web}.example.yml alerting-rules/*.yml dashboards/*.json proto/*.proto; do
  put 644 "$example" "$documents/examples/$example"
done
cat >"$work/changelog" <<END
$package ($version) unstable; urgency=medium

  * See /$documents/changelog.gz.

 -- $maintainer  $(date -uRd "@$epoch")
END
put_compressed "$work/changelog" $documents/changelog.Debian.gz
put 644 packaging/debian/lintian-overrides usr/share/lintian/overrides/$package

# What the program needs of the C library, read from its symbols.
mkdir "$root/DEBIAN"
printf 'Source: %s\n\nPackage: %s\nArchitecture: any\n' $package $package >"$work/debian/control"
depends=$(cd "$work" && dpkg-shlibdeps -O "debian/$package/usr/bin/$name" | sed -n 's/^shlibs:Depends=//p')
[ -n "$depends" ] || die "dpkg-shlibdeps found no dependency of $program"

cat >"$root/DEBIAN/control" <<END
Package: $package
Version: $version
Architecture: $architecture
Maintainer: $maintainer
Installed-Size: $(du -ks --exclude=DEBIAN "$root" | cut -f1)
Depends: $depends
Recommends: ca-certificates
Section: net
Priority: optional
Description: Prometheus exporter for probes and heartbeats
 Probes targets over HTTP, TCP, DNS, ICMP, gRPC, WebSocket and Unix sockets
 when Prometheus asks, and says whether they are up, how fast they answer, and
 why not if they do not. It takes the flags, the configuration and the requests
 of blackbox_exporter and answers with the same metrics.
 .
 The service runs as a user of its own that exists only while it runs, with
 CAP_NET_RAW as its only privilege.
END
(cd "$root" && find etc -type f | sort | sed 's|^|/|') >"$root/DEBIAN/conffiles"
(cd "$root" && find usr -type f -print0 | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
for script in postinst prerm postrm; do
  install -m 755 "packaging/debian/$script" "$root/DEBIAN/$script"
done
find "$root" -type d -exec chmod 755 {} +
find "$root" -exec touch --no-dereference --date="@$epoch" {} +

mkdir -p "$output"
SOURCE_DATE_EPOCH=$epoch dpkg-deb --root-owner-group ${DPKG_DEB_OPTIONS:-} --build "$root" "$output" >&2
echo "$output/${package}_${version}_$architecture.deb"
