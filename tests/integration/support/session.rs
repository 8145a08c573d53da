//! One connection to an exporter that is kept from request to request, and what heartbeats look like.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use super::PATIENCE;
use super::exporter::{Exporter, Reply};

/// A connection that is kept.
pub struct Session(TcpStream);

impl Session {
    pub fn open(exporter: &Exporter) -> Self {
        let stream = TcpStream::connect(exporter.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE * 2)).unwrap();
        Self(stream)
    }

    /// One request and its reply; panics when the connection has ended.
    pub fn ask(&mut self, method: &str, target: &str, headers: &str, body: &[u8]) -> Reply {
        let length = match body.is_empty() {
            true => String::new(),
            false => format!("Content-Length: {}\r\n", body.len()),
        };
        let head = format!("{method} {target} HTTP/1.1\r\nHost: x\r\n{headers}{length}\r\n");
        self.send(&[head.as_bytes(), body].concat());
        self.reply(method == "HEAD")
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// Reads one reply.
    pub fn reply(&mut self, is_head: bool) -> Reply {
        let mut raw = Vec::new();
        while !raw.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            assert_eq!(self.0.read(&mut byte).unwrap(), 1, "it ends in {:?}", String::from_utf8_lossy(&raw));
            raw.push(byte[0]);
        }
        let mut reply = Reply::parse(&raw);
        let length = reply.header("content-length").map_or(0, |length| length.parse().unwrap());
        reply.body = vec![0; if is_head { 0 } else { length }];
        self.0.read_exact(&mut reply.body).unwrap();
        reply
    }

    /// Whether the other side has closed it.
    pub fn is_over(&mut self) -> bool {
        matches!(self.0.read(&mut [0]), Ok(0))
    }
}

impl Reply {
    /// Status and body, the way tables of requests have them; times are `T`.
    pub fn brief(&self) -> String {
        let mut text = String::new();
        let body = self.text();
        let mut rest = body.trim_end_matches('\n');
        while let Some((before, after)) = rest.split_once("_timestamp_seconds\":") {
            let end = after.find([',', '}']).unwrap();
            let value = if &after[..end] == "null" { "null" } else { "T" };
            text.push_str(&format!("{before}\":{value}"));
            rest = &after[end..];
        }
        format!("{} {text}{rest}", self.status).trim_end().to_owned()
    }

    /// The whole head without date and length, one line for each header.
    pub fn head(&self) -> String {
        let shown = self.headers.iter().filter(|(name, _)| name != "date" && name != "content-length");
        shown.map(|(name, value)| format!("{name}: {value}\n")).collect()
    }
}

impl Exporter {
    /// Of one heartbeat: its state, and then its signals that were counted, such as `up success=2`.
    pub fn heartbeat(&self, name: &str) -> String {
        let text = self.get(&format!("/probe?module=heartbeat&target={name}")).text();
        let labelled = |prefix: &str, label: &str| -> Vec<(String, String)> {
            let lines = text.lines().filter(|line| line.starts_with(prefix) && !line.ends_with(" 0"));
            let of = lines.filter_map(|line| {
                let (labels, value) = line.split_once("} ")?;
                let (_, label) = labels.rsplit_once(&format!("{label}=\""))?;
                Some((label.trim_end_matches('"').to_owned(), value.to_owned()))
            });
            of.collect()
        };
        let mut words: Vec<String> =
            labelled("heartbeat_state{", "state").into_iter().map(|(state, _)| state).collect();
        let counted = labelled("heartbeat_pings_total{", "signal");
        words.extend(counted.into_iter().map(|(signal, count)| format!("{signal}={count}")));
        words.join(" ")
    }

    /// A series of one heartbeat of the default namespace.
    pub fn of_heartbeat(&self, name: &str, metric: &str, labels: &str) -> Option<f64> {
        self.metric(&format!("{metric}{{namespace=\"default\",heartbeat=\"{name}\"{labels}}}"))
    }

    /// How many signals were not taken for this reason.
    pub fn rejected(&self, reason: &str) -> Option<f64> {
        self.metric(&format!("heartbeat_receiver_rejected_total{{reason=\"{reason}\"}}"))
    }
}
