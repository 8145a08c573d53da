//! The final response: its body is read within limits, and every check has its turn.

use std::time::{Instant, SystemTime};

use hyper::header::{self, HeaderMap};
use hyper::{Method, Version};

use super::body::{Body, Compression};
use super::connection::Response;
use super::progress::Progress;
use super::{Http, Next, checks};
use crate::logging::Level;
use crate::runner::{Phase, ProbeError, Reason, Report, Run};

impl Http {
    /// Reads the final response and checks it; the first failure is the probe's reason.
    pub(super) async fn judge<'a>(
        &self,
        run: &Run<'a>,
        report: &mut Report,
        progress: &mut Progress<'a>,
        mut response: Response,
        from: &Next<'_>,
    ) -> Result<(), ProbeError> {
        let is_tls = progress.facts.is_some();
        let headers = std::mem::take(&mut response.head.headers);
        let status = response.head.status.as_u16();
        progress.status = status;
        progress.version = Some(response.head.version);
        progress.is_tls = is_tls;
        progress.content_length = self.content_length(&headers, &response);
        progress.last_modified = last_modified(&headers);
        report.log(Level::Debug, "Received HTTP response", || vec![("status_code", status.to_string())]);

        if let Err(error) = checks::status(status, &self.valid_status) {
            progress.fail(report, from.refused_by_proxy(status).unwrap_or(error));
            if let Some(tokens) = self.tokens.as_ref().filter(|_| status == 401) {
                tokens.forget();
            }
        } else if let Err(error) = checks::headers(&headers, &self.header_matches, &self.header_not_matches) {
            progress.regex_failed = true;
            progress.fail(report, error);
        }
        if let Err(name) = &self.compression {
            let why = format!("compression {name:?} is not known");
            progress.fail(report, ProbeError::new(Phase::Check, Reason::Config, why));
        }
        let has_regex = !self.body_matches.is_empty() || !self.body_not_matches.is_empty();
        let has_cel = self.cel_matches.is_some() || self.cel_not_matches.is_some();
        let is_wanted = progress.failure.is_none() && (has_regex || has_cel);

        report.begin(Phase::Transfer);
        let expected = u64::try_from(progress.content_length).ok();
        // What HTTP/3 asked for by itself is nothing where there is no body.
        let is_empty = self.template.method == Method::HEAD || matches!(status, 204 | 304);
        let compression = match &self.compression {
            Ok(Compression::Identity) if response.gzip && !is_empty => Compression::Gzip,
            Ok(compression) => *compression,
            Err(_) => Compression::Identity,
        };
        let mut body = Body::new(compression, self.body_limit, is_wanted, expected);
        // As in the peer, a check that cannot have its body has failed, also over the deadline.
        let before = (progress.regex_failed, progress.cel_failed);
        progress.regex_failed |= is_wanted && has_regex;
        progress.cel_failed |= is_wanted && has_cel && !has_regex;
        let read = self.read(run, &mut response, &mut body, progress, &from.host).await;
        progress.body_length = body.length();
        drop(response);
        if let Err(error) = read {
            progress.fail(report, error);
        } else if is_wanted {
            (progress.regex_failed, progress.cel_failed) = before;
            self.check_body(report, progress, body.into_kept()).await;
        }
        progress.hop().end = Some(Instant::now());
        report.end();

        if !self.valid_versions.is_empty() {
            let version = version_name(progress.version);
            if !self.valid_versions.iter().any(|valid| valid == version) {
                let why = format!("{version} is not among {}", self.valid_versions.join(", "));
                progress.fail(report, ProbeError::new(Phase::Check, Reason::HttpVersion, why));
            }
        }
        if is_tls && self.fail_if_ssl {
            let why = "the final response came over TLS and fail_if_ssl is set";
            progress.fail(report, ProbeError::new(Phase::Check, Reason::TlsPresent, why));
        }
        if !is_tls && self.fail_if_not_ssl {
            let why = "the final response did not come over TLS and fail_if_not_ssl is set";
            progress.fail(report, ProbeError::new(Phase::Check, Reason::TlsAbsent, why));
        }
        Ok(())
    }

    async fn read(
        &self,
        run: &Run<'_>,
        response: &mut Response,
        body: &mut Body,
        progress: &mut Progress<'_>,
        peer: &str,
    ) -> Result<(), ProbeError> {
        let mut yielded = 0;
        while let Some(chunk) = response.chunk(peer).await {
            // In pieces, since a few compressed bytes can become a million: other probes and the
            // deadline get their turn in between.
            let piece = if body.is_compressed() { MAX_PIECE } else { usize::MAX };
            for piece in chunk?.chunks(piece) {
                let pushed = body.push(piece);
                // Counted as it comes, for a deadline in the middle of it.
                progress.body_length = body.length();
                pushed?;
                if body.length() - yielded >= MAX_AT_ONCE {
                    yielded = body.length();
                    tokio::task::yield_now().await;
                    // Timers fire late while tasks are always ready.
                    if run.deadline <= Instant::now() {
                        return Err(ProbeError::deadline(Phase::Transfer));
                    }
                }
            }
        }
        body.finish()
    }

    async fn check_body(&self, report: &mut Report, progress: &mut Progress<'_>, body: Vec<u8>) {
        let body = if body.len() > MAX_CHECKED_IN_PLACE {
            let (matches, not_matches) = (self.body_matches.clone(), self.body_not_matches.clone());
            let check = move || checks::body(&body, &matches, &not_matches).map(|()| body);
            tokio::task::spawn_blocking(check).await.unwrap_or_else(|error| {
                let why = "the checks of the body did not finish";
                Err(ProbeError::new(Phase::Check, Reason::Body, why).caused_by(error))
            })
        } else {
            checks::body(&body, &self.body_matches, &self.body_not_matches).map(|()| body)
        };
        let body = match body {
            Ok(body) => body,
            Err(error) => {
                progress.regex_failed = true;
                progress.fail(report, error);
                return;
            }
        };
        if self.cel_matches.is_none() && self.cel_not_matches.is_none() {
            return;
        }
        if let Err(why) = self.check_cel(body).await {
            progress.cel_failed = true;
            progress.fail(report, ProbeError::new(Phase::Check, Reason::Cel, why));
        }
    }

    /// Evaluates off the event loop, since an expression over a large document may take long.
    async fn check_cel(&self, body: Vec<u8>) -> Result<(), String> {
        let programs = [(self.cel_matches.clone(), true), (self.cel_not_matches.clone(), false)];
        let judge = move || {
            let document =
                serde_json::from_slice(&body).map_err(|error| format!("the body is not JSON: {error}"))?;
            for (program, fails_if) in programs {
                let Some(program) = program else { continue };
                let verdict = program.evaluate(&document).map_err(|error| error.to_string())?;
                if verdict == fails_if {
                    let verb = if verdict { "holds" } else { "does not hold" };
                    return Err(format!("the CEL expression {:?} {verb} for the body", program.source()));
                }
            }
            Ok(())
        };
        tokio::task::spawn_blocking(judge).await.unwrap_or_else(|error| Err(error.to_string()))
    }

    fn content_length(&self, headers: &HeaderMap, response: &Response) -> i64 {
        let status = response.head.status;
        if matches!(status.as_u16(), 100..=199 | 204 | 304)
            || (response.ended && self.template.method != Method::HEAD)
        {
            return 0;
        }
        if headers.contains_key(header::TRANSFER_ENCODING) {
            return -1;
        }
        let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        // The library has refused a list of different values.
        let first = announced.and_then(|text| text.split(',').next());
        first.and_then(|text| text.trim().parse().ok()).unwrap_or(-1)
    }
}

/// Compressed bytes from the wire that are taken in one go.
const MAX_PIECE: usize = 1024;
/// Bytes of a body after which other tasks get their turn.
const MAX_AT_ONCE: u64 = 1 << 20;
/// Bytes of a body that regular expressions look at without leaving the event loop.
const MAX_CHECKED_IN_PLACE: usize = 1 << 20;

fn last_modified(headers: &HeaderMap) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(header::LAST_MODIFIED)?.to_str().ok()?).ok()
}

fn version_name(version: Option<Version>) -> &'static str {
    match version {
        Some(Version::HTTP_10) => "HTTP/1.0",
        Some(Version::HTTP_11) => "HTTP/1.1",
        Some(Version::HTTP_2) => "HTTP/2.0",
        Some(Version::HTTP_3) => "HTTP/3.0",
        _ => "HTTP/0.9",
    }
}
