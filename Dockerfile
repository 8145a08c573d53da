# syntax=docker/dockerfile:1
#
# docker build --tag heartbeat_exporter .
#
# The image has the program, the C library, the authorities of Mozilla and a configuration; no shell. Where blackbox_exporter's
# image is used, this one takes the same arguments and mounts. docs/deployment.md tells how ICMP gets its sockets.

# Of the same release of Debian as the image at the end, because of the C library. It has make and perl, for OpenSSL.
ARG RUST_IMAGE=docker.io/library/rust:1.95-bookworm
ARG BASE_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${RUST_IMAGE} AS build
WORKDIR /source
COPY . .
ARG HEARTBEAT_EXPORTER_REVISION
ARG HEARTBEAT_EXPORTER_BRANCH
# Caches do not outlive the step, so what is needed later is copied out.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --release --locked \
 && packaging/third-party-licences.py >/third-party-licences.txt \
 && cp target/release/heartbeat_exporter /heartbeat_exporter \
 && mkdir /state

FROM ${BASE_IMAGE}
COPY --from=build /heartbeat_exporter /bin/heartbeat_exporter
COPY LICENSE /usr/share/doc/heartbeat_exporter/LICENSE
COPY --from=build /third-party-licences.txt /usr/share/doc/heartbeat_exporter/third-party-licences.txt
COPY config.example.yml /etc/blackbox_exporter/config.yml
# A relative path of the store of heartbeats begins here; give it a volume.
COPY --from=build --chown=65532:65532 /state /var/lib/heartbeat_exporter
WORKDIR /var/lib/heartbeat_exporter
USER 65532:65532
EXPOSE 9115
ENTRYPOINT ["/bin/heartbeat_exporter"]
CMD ["--config.file=/etc/blackbox_exporter/config.yml"]
