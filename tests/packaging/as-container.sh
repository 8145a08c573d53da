#!/usr/bin/env bash
# In a copy of the machine's files: builds the image, and runs it as the manifests do. Another user, no capability, no
# new privileges, nothing writable, and ping sockets by net.ipv4.ping_group_range.
#
# All steps of the Dockerfile are taken, but between stand-ins: instead of the image of Rust, a shell and a cargo that
# puts the program there, which is built already; instead of the base image, the libraries that the program names.
set -euo pipefail

log=/tmp/log
die() { echo "as-container.sh: $*" >&2; cat $log >&2; exit 1; }
get() { curl --silent --fail --max-time 20 "http://127.0.0.1:9115$1"; }
image() { buildah --storage-driver vfs --root /tmp/images --runroot /tmp/images-run "$@"; }

# libraries FOLDER PROGRAM: what the linker would load, at the same places.
libraries() { ldd "$2" | grep -o '/[^ ]*' | while read -r path; do install -D "$path" "$1$path"; done; }
mkdir -p /tmp/rust/{usr/bin,tmp} /tmp/base/{etc,tmp,proc,dev}
for name in sh cp mkdir env; do
  install "$(realpath "$(command -v $name)")" /tmp/rust/usr/bin/$name
  libraries /tmp/rust /tmp/rust/usr/bin/$name
done
ln -s usr/bin /tmp/rust/bin
install /mnt/heartbeat_exporter /tmp/rust/program
cat >/tmp/rust/usr/bin/cargo <<'END'
#!/bin/sh
mkdir -p target/release && cp /program target/release/heartbeat_exporter
END
printf '#!/bin/sh\necho licences\n' >/tmp/rust/usr/bin/python3
chmod 755 /tmp/rust/usr/bin/*
libraries /tmp/base /mnt/heartbeat_exporter

for name in rust base; do
  container=$(image from scratch)
  { image copy "$container" /tmp/$name / && image commit "$container" localhost/$name; } >$log 2>&1 || die "no stand-in for $name"
done
# Its network is not used; registries are not asked.
image build --isolation chroot --pull-never --tag probes --build-arg RUST_IMAGE=localhost/rust \
  --build-arg BASE_IMAGE=localhost/base --build-arg HEARTBEAT_EXPORTER_REVISION= --build-arg HEARTBEAT_EXPORTER_BRANCH= \
  /mnt/source >$log 2>&1 || die "the Dockerfile cannot be built"
told=$(image inspect --type image --format \
  '{{.OCIv1.Config.User}} {{.OCIv1.Config.WorkingDir}} {{.OCIv1.Config.Entrypoint}} {{.OCIv1.Config.Cmd}}' probes)
[ "$told" = "65532:65532 /var/lib/heartbeat_exporter [/bin/heartbeat_exporter] [--config.file=/etc/blackbox_exporter/config.yml]" ] ||
  die "the image says: $told"
root=$(image mount "$(image from --pull-never probes)")
[ "$(stat -c '%u:%g %a' "$root/var/lib/heartbeat_exporter")" = "65532:65532 755" ] || die "heartbeats have no place"
grep licences "$root/usr/share/doc/heartbeat_exporter/third-party-licences.txt" >/dev/null || die "no licences"
[ -z "$(getcap "$root/bin/heartbeat_exporter")" ] || die "the program has capabilities, and would not start without them"

mount --bind "$root" "$root"
mount --bind /proc "$root/proc"
mount --bind /dev "$root/dev"
mount -o remount,bind,ro "$root"
cd "$root"
start() {
  # What chroot needs is gone with the change of the user.
  setpriv --no-new-privs --bounding-set=-all,+setuid,+setgid,+sys_chroot --inh-caps=-all \
    chroot --userspec=65532:65532 --groups= . /bin/heartbeat_exporter --config.file=/etc/blackbox_exporter/config.yml \
    --config.enable-auto-reload >$log 2>&1 &
  pid=$!
  for _ in $(seq 100); do get /-/ready >/dev/null && return; sleep 0.1; done
  die "it does not become ready"
}

start
grep -x 'CapEff:	0000000000000000' /proc/$pid/status >/dev/null || die "it has capabilities"
grep -x 'Uid:	65532	65532	65532	65532' /proc/$pid/status >/dev/null || die "it is another user"
get '/probe?module=http_2xx&target=http://127.0.0.1:9115/-/healthy' | grep -x 'probe_success 1' >/dev/null || die "http fails"
get '/probe?module=icmp&target=127.0.0.1' | grep '^probe_failure_info{.*reason="permission"' >/dev/null ||
  die "icmp without any right: $(get '/probe?module=icmp&target=127.0.0.1' | grep -v '^#')"
echo '65532 65532' >/proc/sys/net/ipv4/ping_group_range
for target in 127.0.0.1 ::1; do
  get "/probe?module=icmp&target=$target" | grep -x 'probe_success 1' >/dev/null || die "icmp to $target fails with ping sockets"
done
kill $pid
wait $pid || die "SIGTERM is a failure"
echo "  image built, between stand-ins; http and icmp work in it without any privilege"
