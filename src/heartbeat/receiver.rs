//! What the doors count: requests by contract, and signals that were not taken, by reason.

use std::time::Duration;

use crate::metrics::durations::Durations;
use crate::metrics::own::Counter;

/// A contract signals come in by; value of the label `api`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// An Alertmanager webhook.
    Alertmanager,
    /// gatus external endpoints.
    Gatus,
    /// gRPC.
    Grpc,
    /// healthchecks.io pings.
    Healthchecks,
    /// Uptime Kuma push.
    Kuma,
    /// The management API.
    Manage,
    /// Our own.
    Native,
    /// `/api/pings/`.
    Pings,
}

impl Api {
    /// In the order of the label values.
    pub const ALL: [(Self, &'static str); 8] = [
        (Self::Alertmanager, "alertmanager"),
        (Self::Gatus, "gatus"),
        (Self::Grpc, "grpc"),
        (Self::Healthchecks, "healthchecks"),
        (Self::Kuma, "kuma"),
        (Self::Manage, "manage"),
        (Self::Native, "native"),
        (Self::Pings, "pings"),
    ];
}

/// Why a signal was not taken; value of the label `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejected {
    /// The slug stands for several heartbeats.
    Ambiguous,
    /// A wrong or missing token or password.
    Auth,
    /// The body is too long or cannot be read.
    Body,
    /// The message has none of the words that its heartbeat wants.
    Keyword,
    /// A method the contract or the heartbeat does not allow.
    Method,
    /// Too much waits to be written, or the store does not work.
    Overload,
    /// Paused, and the contract or the heartbeat takes no signals then.
    Paused,
    /// No more heartbeats may be made.
    Quota,
    /// Too often.
    Rate,
    /// Anything else the contract does not allow.
    Request,
    /// No heartbeat is called that.
    Unknown,
}

impl Rejected {
    /// In the order of the label values.
    pub const ALL: [(Self, &'static str); 11] = [
        (Self::Ambiguous, "ambiguous"),
        (Self::Auth, "auth"),
        (Self::Body, "body"),
        (Self::Keyword, "keyword"),
        (Self::Method, "method"),
        (Self::Overload, "overload"),
        (Self::Paused, "paused"),
        (Self::Quota, "quota"),
        (Self::Rate, "rate"),
        (Self::Request, "request"),
        (Self::Unknown, "unknown"),
    ];
}

/// HTTP status codes that are counted each; what is not here counts as `other`. gRPC counts the HTTP
/// status that says the same.
pub const CODES: [u16; 12] = [200, 201, 204, 400, 401, 403, 404, 405, 409, 413, 429, 503];
/// [`CODES`] as label values, and `other`.
pub(super) const CODE_LABELS: [&str; CODES.len() + 1] =
    ["200", "201", "204", "400", "401", "403", "404", "405", "409", "413", "429", "503", "other"];

/// The counters; one for the process.
#[derive(Debug)]
pub struct Receiver {
    pub(super) requests: [[Counter; CODE_LABELS.len()]; Api::ALL.len()],
    pub(super) rejected: [Counter; Rejected::ALL.len()],
    pub(super) durations: Durations,
}

impl Default for Receiver {
    fn default() -> Self {
        Self {
            requests: Default::default(),
            rejected: Default::default(),
            durations: Durations::new(&BUCKETS),
        }
    }
}

impl Receiver {
    /// A request was answered with `code` after `took`.
    pub fn answered(&self, api: Api, code: u16, took: Duration) {
        let code = CODES.iter().position(|known| *known == code).unwrap_or(CODES.len());
        if let Some(count) = self.requests.get(api as usize).and_then(|codes| codes.get(code)) {
            count.add();
        }
        self.durations.observe(took);
    }

    /// A signal was not taken.
    pub fn rejected(&self, why: Rejected) {
        if let Some(count) = self.rejected.get(why as usize) {
            count.add();
        }
    }
}

/// Upper bounds of the histogram, with their labels in seconds.
const BUCKETS: [(Duration, &str); 11] = [
    (Duration::from_millis(1), "0.001"),
    (Duration::from_micros(2500), "0.0025"),
    (Duration::from_millis(5), "0.005"),
    (Duration::from_millis(10), "0.01"),
    (Duration::from_millis(25), "0.025"),
    (Duration::from_millis(50), "0.05"),
    (Duration::from_millis(100), "0.1"),
    (Duration::from_millis(250), "0.25"),
    (Duration::from_millis(500), "0.5"),
    (Duration::from_secs(1), "1.0"),
    (Duration::from_secs(5), "5.0"),
];
