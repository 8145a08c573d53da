//! The HTTP server: which path leads where. Answers never contain anything a reply could be hurt by.

pub mod accept;
mod admin;
pub mod answer;
pub mod api;
mod body;
mod client;
mod connection;
mod debug;
pub mod external_url;
pub mod grpc;
mod gzip;
mod heartbeats;
pub mod listen;
mod manage;
mod outcomes;
mod pages;
mod probe;
mod probe_log;
mod query;
mod receive;
mod reply;
mod users;
pub mod web_config;

use std::borrow::Cow;
use std::sync::Arc;

use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};

use crate::config::reload::Live;
use crate::heartbeat::Current;
use crate::logging::{Format, Level};
use crate::metrics::own::Own;
use crate::net::Net;
use crate::runner::history::History;

use answer::Answer;
pub use body::RequestBody;
pub use external_url::Paths;
pub use outcomes::Outcomes;
pub use reply::Reply;
pub use users::HeartbeatUsers;
use web_config::WebConfig;

/// Everything a request can need; one for the process.
#[derive(Debug)]
pub struct Server {
    /// The configuration in force.
    pub live: Arc<Live>,
    /// What probes share.
    pub net: Arc<Net>,
    /// What reports in.
    pub heartbeats: Arc<Current>,
    /// Who may manage them.
    pub heartbeat_users: HeartbeatUsers,
    /// Calls over gRPC that go on.
    pub calls: grpc::Calls,
    /// The last probes.
    pub history: History,
    /// What this process counts about itself.
    pub own: Arc<Own>,
    /// Which outcomes of probes are worth a log line.
    pub outcomes: Outcomes,
    /// Users, headers, limits and TLS, if there is a file about them.
    pub web: Option<WebConfig>,
    /// Where the pages are.
    pub paths: Paths,
    /// Seconds kept of the scrape timeout.
    pub timeout_offset: f64,
    /// Threshold of the log lines of probes.
    pub log_prober: Level,
    /// Format of the log lines of probes.
    pub log_format: Format,
}

impl Server {
    /// Answers one request, if the web configuration lets it in.
    pub async fn respond(&self, request: &Parts, body: impl RequestBody) -> Response<Answer> {
        let Some(web) = &self.web else { return self.answer_all(request, body).await };
        match web.admit(request).await {
            Ok(admitted) => admitted.finish(self.answer_all(request, body).await),
            Err(reply) => reply.map(Answer::Whole),
        }
    }

    /// Answers requests and calls.
    async fn answer_all(&self, request: &Parts, body: impl RequestBody) -> Response<Answer> {
        if grpc::is_call(request)
            && let Some(service) = self.heartbeats.service()
        {
            return Box::pin(grpc::answer(&service, &self.calls, request, body)).await;
        }
        self.answer(request, body).await.map(Answer::Whole)
    }

    /// Answers one request. Bodies and methods matter only to reloads and to what reports in.
    async fn answer(&self, request: &Parts, body: impl RequestBody) -> Reply {
        let path = request.uri.path();
        let path = match clean(path) {
            Cow::Borrowed(path) => path,
            Cow::Owned(cleaned) => {
                return reply::redirect(StatusCode::MOVED_PERMANENTLY, &with_query(&cleaned, request));
            }
        };
        // Paths are compared decoded. An escape that is broken matches nothing.
        let path = match path.contains('%').then(|| query::decode(&path.replace('+', "%2B"))) {
            None => Cow::Borrowed(path),
            Some(Some(decoded)) => Cow::Owned(decoded),
            Some(None) => return reply::not_found(),
        };
        let Some(page) = path.strip_prefix(self.paths.prefix()) else {
            return self.outside(&path, request);
        };
        match page {
            "probe" => probe::answer(self, request).await,
            "metrics" => admin::metrics(self, request),
            "config" => reply::ok(reply::TEXT, self.live.snapshot().yaml.clone()),
            "heartbeats/metrics" => heartbeats::metrics(self, request).await,
            "sd/heartbeats" => heartbeats::discover(self, request),
            "api/v1/heartbeats" if manage::is_reading(request) => heartbeats::list(self, request),
            "logs" => admin::logs(self, request),
            "api/v1/probe" => api::probe(self, request).await,
            "api/v1/history" => api::history(self, request),
            "-/reload" => admin::reload(self, request).await,
            "-/healthy" => reply::ok(reply::TEXT_UTF8, "Healthy"),
            "-/ready" => reply::ok(reply::TEXT_UTF8, "Ready"),
            "" => pages::start(self, request),
            "heartbeats" => pages::heartbeats(self, request).await,
            "configuration" => pages::configuration(self, request),
            "probes/run" => pages::run(self, request).await,
            "style.css" => pages::style(),
            "icon.svg" => pages::icon(),
            page => {
                if let Some(id) = page.strip_prefix("probes/").filter(|id| !id.contains('/')) {
                    return pages::probe(self, id);
                }
                // In a box, so that probes do not carry the weight.
                match page.strip_prefix("api/v1/heartbeats") {
                    Some(rest) => Box::pin(manage::answer(self, request, rest, body)).await,
                    None => receive::answer(self, request, body, page).await,
                }
            }
        }
    }

    /// A path that does not begin with the prefix; reached only when there is one.
    fn outside(&self, path: &str, request: &Parts) -> Reply {
        if path == "/" {
            return reply::redirect(StatusCode::FOUND, self.paths.external_url());
        }
        match self.paths.prefix().strip_suffix('/') {
            Some(bare) if bare == path && request.method != Method::CONNECT => {
                let location = with_query(self.paths.prefix(), request);
                reply::redirect(StatusCode::MOVED_PERMANENTLY, &location)
            }
            _ => reply::not_found(),
        }
    }
}

fn with_query(path: &str, request: &Parts) -> String {
    match request.uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    }
}

/// A path without empty, `.` and `..` parts; borrowed when there are none.
fn clean(path: &str) -> Cow<'_, str> {
    let parts = || path.split('/').skip(1);
    let last = parts().count().saturating_sub(1);
    let is_dirty = |(at, part): (usize, &str)| matches!(part, "." | "..") || (part.is_empty() && at != last);
    if !path.starts_with('/') || !parts().enumerate().any(is_dirty) {
        return Cow::Borrowed(path);
    }
    let mut kept = Vec::new();
    for part in parts() {
        match part {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            part => kept.push(part),
        }
    }
    let slash = if path.ends_with('/') && !kept.is_empty() { "/" } else { "" };
    Cow::Owned(format!("/{}{slash}", kept.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_as_go_does() {
        for path in ["/", "/probe", "/-/healthy", "/p/", "", "*", "/a.b/..c"] {
            assert!(matches!(clean(path), Cow::Borrowed(same) if same == path), "{path}");
        }
        let cases = [
            ("//", "/"),
            ("//probe", "/probe"),
            ("/x/../probe", "/probe"),
            ("/./probe/", "/probe/"),
            ("/p//", "/p/"),
            ("/../..", "/"),
            ("/a/b/..", "/a"),
        ];
        for (path, want) in cases {
            assert_eq!(clean(path), want, "{path}");
            assert!(matches!(clean(path), Cow::Owned(_)), "{path}");
        }
    }
}
