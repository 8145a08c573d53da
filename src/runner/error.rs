//! Why a probe did not succeed: a phase and a reason, both from closed sets, and a sentence.

use std::error::Error;
use std::fmt;
use std::io;

use crate::config::mask::Mask;

macro_rules! closed_set {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal $help:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $(#[doc = $help] $variant),+ }

        impl $name {
            /// All members, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The label value.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// One line of help, as METRICS.md prints it.
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

closed_set! {
    /// A timed part of a probe; value of the `phase` label.
    Phase {
        Prepare = "prepare" "before anything is sent: the target is parsed, files named by the module are read",
        Resolve = "resolve" "the target's name becomes an address",
        Token = "token" "an OAuth 2.0 access token is fetched",
        Setup = "setup" "the ICMP socket is opened and the packet is built",
        Connect = "connect" "the connection is opened",
        Proxy = "proxy" "the proxy is reached, and asked for a connection to the target",
        Tls = "tls" "the TLS handshake",
        Processing = "processing" "the HTTP request is sent, up to the first byte of the response",
        Transfer = "transfer" "the HTTP response is read",
        Request = "request" "the DNS query or the gRPC call is sent, up to its answer",
        Rtt = "rtt" "the ICMP echo request is on its way",
        Dialogue = "dialogue" "the steps of query_response",
        Check = "check" "the answer is complete and is being judged",
    }
}

closed_set! {
    /// Why a probe failed; value of the `reason` label.
    Reason {
        Deadline = "deadline" "the time allowed for the probe ran out in this phase",
        BadTarget = "bad_target" "the target is not of the form this prober needs",
        Config = "config" "the module cannot work as it is configured",
        File = "file" "a file named by the module cannot be read or used",
        NotFound = "not_found" "the name does not exist or has no address; there is no such socket",
        Resolver = "resolver" "no resolver gave a usable answer",
        AddressFamily = "address_family" "the target has no address of the family the module insists on",
        SourceAddress = "source_address" "the module's source address cannot be used",
        Permission = "permission" "this process lacks a permission the probe needs",
        Refused = "refused" "the peer refused the connection",
        Unreachable = "unreachable" "host or network cannot be reached",
        Reset = "reset" "the peer reset the connection or the HTTP/2 stream",
        Closed = "closed" "the peer closed the connection before it was done",
        Io = "io" "another error of the network or the operating system",
        TtlExceeded = "ttl_exceeded" "the packet's hop limit ran out on the way",
        TooBig = "too_big" "the packet is too big for the path and may not be fragmented",
        Protocol = "protocol" "the peer does not speak the protocol",
        TlsProtocol = "tls_protocol" "the peer does not speak TLS, or breaks its rules",
        TlsVersion = "tls_version" "no TLS version or cipher suite in common",
        TlsAlert = "tls_alert" "the peer ended the handshake with an alert",
        Expired = "expired" "a certificate has expired",
        NotYetValid = "not_yet_valid" "a certificate is not valid yet",
        UnknownCa = "unknown_ca" "the chain ends in an authority that is not trusted",
        NameMismatch = "name_mismatch" "the certificate is for another name",
        SelfSigned = "self_signed" "the certificate is self-signed and not trusted",
        IncompleteChain = "incomplete_chain" "an intermediate certificate is missing",
        Revoked = "revoked" "a certificate was revoked",
        Weak = "weak" "a certificate uses an algorithm or key that is too weak",
        BadCertificate = "bad_certificate" "a certificate is malformed or not made for this use",
        TooLarge = "too_large" "the answer is larger than the limit",
        Decompression = "decompression" "the body is not compressed as the module says",
        Redirect = "redirect" "a redirect cannot be followed",
        ProxyAuth = "proxy_auth" "the proxy wants a login, or another one",
        ProxyDenied = "proxy_denied" "the proxy did not open the connection to the target",
        NoToken = "no_token" "the token server's answer holds no access token",
        TokenExpired = "token_expired" "the token server gave a token that has expired already",
        Status = "status" "the status code is not among the valid ones",
        HttpVersion = "http_version" "the HTTP version is not among the valid ones",
        Header = "header" "a header check failed",
        Body = "body" "a body check failed",
        Cel = "cel" "a CEL check failed",
        TlsPresent = "tls_present" "TLS was used but the module forbids it",
        TlsAbsent = "tls_absent" "TLS was not used but the module demands it",
        Mismatch = "mismatch" "the peer's answer does not match what is expected",
        Rcode = "rcode" "the DNS response code is not among the valid ones",
        Record = "record" "a DNS record check failed",
        Missed = "missed" "the heartbeat has been silent for too long",
        Overrun = "overrun" "a run of the heartbeat's job takes too long",
        Failed = "failed" "the heartbeat's job reported a failure",
        Data = "data" "the last check-in of the heartbeat carried data, which counts as a failure",
        RegistryLost = "registry_lost" "the key that the heartbeat's node held in etcd is gone",
        Stuck = "stuck" "the heartbeat reports success again and again without progress",
        NeverSeen = "never_seen" "the heartbeat has never reported",
        Unsupported = "unsupported" "the prober needs something that this operating system does not have",
    }
}

/// Why a probe did not succeed.
///
/// `Display` is one sentence without its source; [`ProbeError::chain`] adds the sources.
#[derive(Debug)]
pub struct ProbeError {
    /// The part of the probe that failed.
    pub phase: Phase,
    /// Which of the closed set of reasons.
    pub reason: Reason,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl ProbeError {
    /// An error with a sentence that names the peer and the offending value.
    pub fn new(phase: Phase, reason: Reason, message: impl Into<String>) -> Self {
        Self { phase, reason, message: message.into(), source: None }
    }

    /// Adds what caused it.
    pub fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The deadline passed during `phase`.
    pub fn deadline(phase: Phase) -> Self {
        Self::new(phase, Reason::Deadline, format!("{phase} did not finish before the probe's deadline"))
    }

    /// An error of the operating system while talking to `peer`, with the reason it stands for.
    pub fn io(phase: Phase, peer: impl fmt::Display, source: io::Error) -> Self {
        use io::ErrorKind as K;
        let reason = match source.kind() {
            K::ConnectionRefused => Reason::Refused,
            K::HostUnreachable | K::NetworkUnreachable | K::NetworkDown => Reason::Unreachable,
            K::ConnectionReset | K::BrokenPipe | K::ConnectionAborted => Reason::Reset,
            K::UnexpectedEof => Reason::Closed,
            // The kernel's own limit on connecting, shorter than the probe's.
            K::TimedOut => Reason::Unreachable,
            K::PermissionDenied => Reason::Permission,
            K::AddrNotAvailable => Reason::SourceAddress,
            _ => Reason::Io,
        };
        Self::new(phase, reason, format!("{phase} failed for {peer}")).caused_by(source)
    }

    /// The error with its whole chain in one sentence, without what `mask` hides.
    pub fn masked(self, mask: &Mask) -> Self {
        let mut message = self.chain();
        mask.redact(&mut message);
        Self::new(self.phase, self.reason, message)
    }

    /// The sentence and everything that caused it, joined by colons.
    pub fn chain(&self) -> String {
        let mut text = self.message.clone();
        let mut next = self.source();
        while let Some(error) = next {
            let line = error.to_string();
            if !text.ends_with(&line) {
                text.push_str(": ");
                text.push_str(&line);
            }
            next = error.source();
        }
        text
    }
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for ProbeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_errors_become_reasons_and_the_chain_tells_all() {
        let error = ProbeError::io(Phase::Connect, "127.0.0.1:1", io::ErrorKind::ConnectionRefused.into());
        assert_eq!((error.phase, error.reason), (Phase::Connect, Reason::Refused));
        assert_eq!(error.chain(), "connect failed for 127.0.0.1:1: connection refused");
    }

    #[test]
    fn label_values_are_unique() {
        let mut all: Vec<_> = Reason::ALL.iter().map(|r| r.as_str()).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), Reason::ALL.len());
    }
}
