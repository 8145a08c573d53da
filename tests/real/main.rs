//! The exporter against the programs it meets in production. Each test starts what it needs on loopback
//! and stops it again; `tests/install-real-parts.sh` makes the programs available.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod alerts; //     the shipped rules through Prometheus and Alertmanager to the receivers
mod caddy; //      HTTP/3
mod dashboards; // every query of the shipped dashboards
mod dns; //        unbound: UDP, TCP, TLS, zones and validators
mod etcd; //       several receivers share a store, and members die
mod grpc; //       the health check against gRPC's C core
mod heartbeat_grpc; // a generated client of gRPC's C core reports in
mod icmp; //       the kernel's own echo replies and errors, in network namespaces
mod nginx; //      HTTP/1.1, HTTP/2, TLS, redirects, gzip
mod openssl; //    TLS 1.0 to 1.3, old cipher suites, odd certificates
mod pages; //      the pages for people in Chromium
mod prometheus; // Prometheus 2 and 3 scrape everything through an unchanged configuration
mod proxies; //    tinyproxy and microsocks, with and without a login
mod smtp; //       STARTTLS with the module of config.example.yml
mod support;
mod unix; //       Redis, and nginx with TLS, on Unix domain sockets
mod web_config; // HTTPS, users and client certificates
mod websocket; //  Python's websockets, also behind nginx
