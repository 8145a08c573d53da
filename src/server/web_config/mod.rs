//! The web configuration file (`--web.config.file`) of Prometheus' exporter toolkit: HTTPS, users,
//! headers and a limit of requests.
//!
//! The file is looked at for every request and every handshake, and read again when it has changed;
//! so are the certificates it names. A file that turned bad is never ignored: requests are answered
//! with an error and handshakes refused until it is mended. The limit, HTTP/2 and whether there is TLS
//! at all are settled at start.

mod auth;
mod client_certificates;
mod handshake;
mod parse;
mod rate_limit;
mod tls;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use rustls::ServerConfig;
use tracing::{info, warn};

pub(super) use self::auth::{Gate, Users};
use self::parse::{Parsed, parse};
use self::rate_limit::RateLimit;
use super::reply::{self, Reply};
use crate::config::password::BadHash;
use crate::config::problem::Position;
use crate::config::reload::LoadError;
use crate::net::tls::FileStamp;

pub use self::handshake::{Handshakes, Secured};

/// The web configuration of a running server.
#[derive(Debug)]
pub struct WebConfig {
    path: PathBuf,
    gate: Gate,
    limit: Option<RateLimit>,
    has_tls: bool,
    http2: bool,
    file: Mutex<Kept<Option<FileStamp>, Arc<Content>>>,
    /// `None` if the file had nothing about TLS at start.
    tls: Mutex<Option<Kept<TlsStamp, Arc<ServerConfig>>>>,
}

/// What TLS settings were made from.
type TlsStamp = (Arc<Content>, tls::Stamps);

/// What came out of reading files, and which state of them it belongs to. `Err` was logged.
#[derive(Debug)]
struct Kept<S, T> {
    stamp: S,
    result: Result<T, Unusable>,
}

/// The configuration cannot be used now; the log says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unusable;

/// A file that was read.
#[derive(Debug)]
struct Content {
    parsed: Parsed,
    users: Users,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Content {
    fn new(parsed: Parsed) -> Self {
        let (users, _) = Users::new(&parsed.sections.basic_auth_users);
        let headers = parsed.sections.http_server_config.header_list();
        Self { parsed, users, headers }
    }
}

impl WebConfig {
    /// Reads the file and everything it names, and logs what has no effect.
    ///
    /// # Errors
    /// All problems of the file, and the first one of what TLS needs.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let stamp = FileStamp::of(path).ok();
        let content = read(path).and_then(|text| parse_lines(path, &text))?;
        let sections = &content.parsed.sections;
        let has_tls = sections.tls_server_config.is_enabled();
        let http2 = sections.http_server_config.http2;
        let (mut errors, mut warnings) = (Vec::new(), Vec::new());
        for bad in Users::new(&sections.basic_auth_users).1 {
            let place = content.parsed.place("basic_auth_users", bad.name);
            let message = format!("basic_auth_users.{} {}", bad.name, bad.why);
            match bad.why {
                BadHash::Refused(_) => errors.push((place, message)),
                BadHash::Useless => warnings.push((place, message)),
            }
        }
        let mut tls = None;
        if has_tls {
            let stamps = tls::stamps(&sections.tls_server_config, directory(path));
            match tls::build(&sections.tls_server_config, directory(path), http2) {
                Ok(built) => {
                    let about_tls = built.warnings.iter().map(|problem| tls_line(&content.parsed, problem));
                    warnings.extend(about_tls);
                    tls = Some(Kept { stamp: (Arc::clone(&content), stamps), result: Ok(built.config) });
                }
                Err(problem) => errors.push(tls_line(&content.parsed, &problem)),
            }
        } else if content.parsed.has("tls_server_config") {
            let place = content.parsed.place("tls_server_config", "");
            warnings.push((place, "tls_server_config has no certificate, so there is no TLS".to_owned()));
        }
        let limit = RateLimit::new(&sections.rate_limit, Instant::now());
        if limit.is_some() && sections.rate_limit.burst < 1 {
            let place = content.parsed.place("rate_limit", "burst");
            warnings.push((place, "rate_limit.burst is below 1, so every request is refused".to_owned()));
        }
        if !errors.is_empty() {
            return Err(LoadError(lines(path, errors)));
        }
        for line in lines(path, warnings) {
            warn!("{line}");
        }
        if limit.is_some() {
            let interval = sections.rate_limit.interval.0.to_string();
            info!(burst = sections.rate_limit.burst, interval, "Requests are limited");
        }
        Ok(Self {
            path: path.to_owned(),
            gate: Gate::new(),
            limit,
            has_tls,
            http2,
            file: Mutex::new(Kept { stamp, result: Ok(content) }),
            tls: Mutex::new(tls),
        })
    }

    /// Whether clients have to speak TLS.
    pub fn has_tls(&self) -> bool {
        self.has_tls
    }

    /// Whether the file as it is now names users; a file that cannot be read lets nobody in anyway.
    pub fn has_users(&self) -> bool {
        self.content().is_ok_and(|content| !content.users.is_empty())
    }

    /// Whether clients that speak TLS may speak HTTP/2.
    pub fn http2(&self) -> bool {
        self.http2
    }

    /// Lets a request in, or answers it.
    pub async fn admit(&self, request: &Parts) -> Result<Admitted, Reply> {
        let content = self.content().map_err(|Unusable| status_only(StatusCode::INTERNAL_SERVER_ERROR))?;
        if let Some(limit) = &self.limit
            && !limit.allows(Instant::now())
        {
            return Err(status_only(StatusCode::TOO_MANY_REQUESTS));
        }
        let admitted = Admitted(content);
        if !admitted.0.users.is_empty() {
            let authorization = request.headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
            if !self.gate.admits(&admitted.0.users, authorization).await {
                let mut reply = status_only(StatusCode::UNAUTHORIZED);
                reply.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
                return Err(admitted.finish(reply));
            }
        }
        Ok(admitted)
    }

    /// The file as it is now.
    fn content(&self) -> Result<Arc<Content>, Unusable> {
        let stamp = FileStamp::of(&self.path).ok();
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if file.stamp == stamp {
            return file.result.clone();
        }
        let result = read(&self.path).and_then(|text| parse_lines(&self.path, &text));
        let result = result.map_err(|problems| {
            problems.log("The web configuration cannot be used");
            Unusable
        });
        if let Ok(content) = &result {
            info!("Reloaded web configuration");
            self.tell_what_stays(content);
        }
        *file = Kept { stamp, result: result.clone() };
        result
    }

    fn tell_what_stays(&self, content: &Content) {
        let sections = &content.parsed.sections;
        if sections.tls_server_config.is_enabled() != self.has_tls {
            warn!("TLS is switched on and off only by a restart");
        }
        for bad in Users::new(&sections.basic_auth_users).1 {
            warn!(user = bad.name, "The hash of this user is none; nobody comes in by this name");
        }
    }

    /// TLS settings for a handshake now.
    fn tls(&self) -> Result<Arc<ServerConfig>, Unusable> {
        let content = self.content()?;
        let section = &content.parsed.sections.tls_server_config;
        let dir = directory(&self.path);
        let stamps = tls::stamps(section, dir);
        let mut slot = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Kept { stamp: (of, at), result }) = &*slot
            && Arc::ptr_eq(of, &content)
            && *at == stamps
        {
            return result.clone();
        }
        let result = match tls::build(section, dir, self.http2) {
            Ok(built) => {
                info!("Reloaded certificate");
                Ok(built.config)
            }
            Err(problem) => {
                let lines = lines(&self.path, vec![tls_line(&content.parsed, &problem)]);
                LoadError(lines).log("TLS cannot be used");
                Err(Unusable)
            }
        };
        *slot = Some(Kept { stamp: (content, stamps), result: result.clone() });
        result
    }
}

/// A request that was let in.
#[derive(Debug)]
pub struct Admitted(Arc<Content>);

impl Admitted {
    /// Adds the configured headers to its reply.
    pub fn finish<B>(&self, mut reply: Response<B>) -> Response<B> {
        for (name, value) in &self.0.headers {
            reply.headers_mut().insert(name, value.clone());
        }
        reply
    }
}

/// An error whose sentence is the name of its status.
fn status_only(status: StatusCode) -> Reply {
    reply::error(status, status.canonical_reason().unwrap_or_default())
}

/// Where relative paths in a file begin.
fn directory(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

fn tls_line(parsed: &Parsed, problem: &tls::TlsProblem) -> (Position, String) {
    let place = parsed.place("tls_server_config", problem.key);
    let dot = if problem.key.is_empty() { "" } else { "." };
    (place, format!("tls_server_config{dot}{} {}", problem.key, problem.why))
}

/// `file:line:column: message`, in file order.
fn lines(path: &Path, mut problems: Vec<(Position, String)>) -> Vec<String> {
    problems.sort();
    problems.into_iter().map(|(place, why)| format!("{}:{place}: {why}", path.display())).collect()
}

fn read(path: &Path) -> Result<String, LoadError> {
    let fail = |error: io::Error| LoadError(vec![format!("{}: {error}", path.display())]);
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text))
        .map_err(fail)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(fail(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 4 MiB")));
    }
    Ok(text)
}

/// Ten thousand users and a few certificates.
const MAX_FILE_BYTES: u64 = 4 << 20;

fn parse_lines(path: &Path, text: &str) -> Result<Arc<Content>, LoadError> {
    match parse(text) {
        Ok(parsed) => Ok(Arc::new(Content::new(parsed))),
        Err(problems) => {
            let report = problems.report(&path.display().to_string());
            Err(LoadError(report.lines().map(str::to_owned).collect()))
        }
    }
}
