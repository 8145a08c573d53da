//! From the samples of one https probe to the bytes of a reply: text 0.0.4 and OpenMetrics.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use heartbeat_exporter::metrics::names;
use heartbeat_exporter::metrics::samples::{Labels, Samples};
use heartbeat_exporter::metrics::text::{Escaping, Syntax, write_samples};

/// What a successful https probe has to tell: 27 samples in 25 families.
fn samples() -> Samples {
    let mut samples = Samples::new();
    for phase in ["resolve", "connect", "tls", "processing", "transfer"] {
        samples.set_one(names::PROBE_HTTP_DURATION_SECONDS, "phase", phase, 0.004_321_987);
    }
    let counts = [
        (names::PROBE_HTTP_STATUS_CODE, 200.0),
        (names::PROBE_HTTP_CONTENT_LENGTH, 1256.0),
        (names::PROBE_HTTP_UNCOMPRESSED_BODY_LENGTH, 1256.0),
        (names::PROBE_HTTP_REDIRECTS, 0.0),
        (names::PROBE_HTTP_SSL, 1.0),
        (names::PROBE_HTTP_VERSION, 2.0),
        (names::PROBE_FAILED_DUE_TO_REGEX, 0.0),
        (names::PROBE_IP_PROTOCOL, 4.0),
        (names::PROBE_IP_ADDR_HASH, 1.268_118_805e9),
        (names::PROBE_DNS_LOOKUP_TIME_SECONDS, 0.000_312_4),
        (names::PROBE_SSL_EARLIEST_CERT_EXPIRY, 1.802_996_4e9),
        (names::PROBE_SSL_LAST_CHAIN_EXPIRY_TIMESTAMP_SECONDS, 1.802_996_4e9),
        (names::PROBE_SUCCESS, 1.0),
        (names::PROBE_DURATION_SECONDS, 0.051_234_567),
        (names::PROBE_TIMEOUT_SECONDS, 9.5),
    ];
    for (metric, value) in counts {
        samples.set(metric, value);
    }
    let subject = "CN=www.example.org,OU=Technology,O=Example Corporation,L=Los Angeles,ST=California,C=US";
    let certificate = [
        ("fingerprint_sha256", "efba26d8c1ce3779ac77630a90f82163a3d6892ed6afee408672cf19eba7a362"),
        ("issuer", "CN=Example TLS Hybrid ECC SHA384 2020 CA1,O=Example Inc,C=US"),
        ("serialnumber", "075bcef30689c8addf13e51af4afe187"),
        ("subject", subject),
        ("subjectalternative", "www.example.org,example.net,example.edu,example.com,example.org"),
    ];
    let labels = certificate.map(|(name, value)| (name.into(), value.to_owned())).to_vec();
    samples.set_many(names::PROBE_SSL_LAST_CHAIN_INFO, labels, true);
    samples.set_one(names::PROBE_TLS_VERSION_INFO, "version", "TLS 1.3", 1.0);
    samples.sort();
    assert_eq!(samples.value(names::PROBE_SUCCESS, &Labels::None), Some(1.0));
    samples
}

fn exposition(criterion: &mut Criterion) {
    let samples = samples();
    let mut out = Vec::with_capacity(8 << 10);
    let mut group = criterion.benchmark_group("exposition");
    for (name, syntax) in [("text", Syntax::Prometheus), ("openmetrics", Syntax::OpenMetrics)] {
        out.clear();
        write_samples(&mut out, &samples, syntax, Escaping::Underscores);
        group.throughput(Throughput::Bytes(out.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                write_samples(black_box(&mut out), black_box(&samples), syntax, Escaping::Underscores);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, exposition);
criterion_main!(benches);
