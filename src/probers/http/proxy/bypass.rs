//! Which targets are reached without the proxy: the rules of `no_proxy`, as Go's httpproxy package has them.

use std::net::IpAddr;

use crate::net::connect::split_host_port;
use crate::net::resolve::Address;

/// A parsed `no_proxy`. Loopback addresses and `localhost` are always covered.
#[derive(Debug, Default)]
pub struct Bypass {
    everything: bool,
    networks: Vec<Network>,
    hosts: Vec<(IpAddr, Option<u16>)>,
    domains: Vec<Domain>,
}

#[derive(Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    prefix: u32,
}

#[derive(Debug, PartialEq, Eq)]
struct Domain {
    /// In lower case and with a dot in front.
    suffix: String,
    /// Whether the name without anything before the dot counts too.
    itself: bool,
    port: Option<u16>,
}

impl Bypass {
    /// Reads a comma-separated list of addresses, networks (`10.0.0.0/8`), domains and `*`; all but
    /// networks may end in a port. `a.test` covers itself and what is below it, `.a.test` and `*.a.test`
    /// only what is below. Entries that are none of these cover nothing.
    pub fn parse(text: &str) -> Self {
        let mut bypass = Self::default();
        for entry in text.split(',').map(|entry| entry.trim().to_lowercase()) {
            if entry == "*" {
                bypass.everything = true;
            } else if let Some(network) = Network::parse(&entry) {
                bypass.networks.push(network);
            } else {
                bypass.add_host(&entry);
            }
        }
        bypass
    }

    fn add_host(&mut self, entry: &str) {
        let (host, port) = split_host_port(entry).unwrap_or((entry, ""));
        let port = match port {
            "" => None,
            // What is no number is no port of any URL.
            digits => match digits.parse() {
                Ok(port) => Some(port),
                Err(_) => return,
            },
        };
        if let Ok(ip) = host.parse::<IpAddr>() {
            self.hosts.push((ip.to_canonical(), port));
            return;
        }
        let host = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
        if host.is_empty() {
            return;
        }
        let itself = !host.starts_with('.');
        let host = idna::domain_to_ascii(host.trim_start_matches('.')).unwrap_or_else(|_| host.to_owned());
        self.domains.push(Domain { suffix: format!(".{}", host.trim_start_matches('.')), itself, port });
    }

    /// Whether the host of a URL, or the address that was selected for it, is reached without the proxy.
    ///
    /// The peer looks only at the address, for it is what its URL holds; then no name ever matches.
    pub fn covers(&self, host: &str, selected: Option<IpAddr>, port: u16) -> bool {
        let literal = Address::parse(host).map(|address| address.ip);
        if host == "localhost" || [literal, selected].into_iter().flatten().any(|ip| self.covers_ip(ip, port))
        {
            return true;
        }
        let host = host.to_lowercase();
        self.everything || self.domains.iter().any(|domain| domain.covers(&host, port))
    }

    fn covers_ip(&self, ip: IpAddr, port: u16) -> bool {
        ip.is_loopback()
            || self.networks.iter().any(|network| network.contains(ip))
            || self.hosts.iter().any(|(host, only)| *host == ip && only.is_none_or(|only| only == port))
    }
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let is_number = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix: u32 = prefix.parse().ok().filter(|_| is_number)?;
        match (address, address.to_canonical()) {
            (IpAddr::V6(_), IpAddr::V4(mapped)) if (96..=128).contains(&prefix) => {
                Some(Self { address: mapped.into(), prefix: prefix - 96 })
            }
            (IpAddr::V4(_), _) if prefix > 32 => None,
            (IpAddr::V6(_), _) if prefix > 128 => None,
            _ => Some(Self { address, prefix }),
        }
    }

    fn contains(&self, ip: IpAddr) -> bool {
        match (self.address, ip) {
            (IpAddr::V4(network), IpAddr::V4(ip)) => {
                let differs = u32::from(network) ^ u32::from(ip);
                differs.checked_shr(32 - self.prefix).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(ip)) => {
                let differs = u128::from(network) ^ u128::from(ip);
                differs.checked_shr(128 - self.prefix).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl Domain {
    fn covers(&self, host: &str, port: u16) -> bool {
        let is_below = host.ends_with(&self.suffix);
        let is_itself = self.itself && self.suffix.get(1..) == Some(host);
        (is_below || is_itself) && self.port.is_none_or(|only| only == port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_cover_what_they_cover_in_go() {
        let cases = [
            ("", "a.test", None, 80, false),
            ("", "localhost", None, 80, true),
            ("", "Localhost", None, 80, false),
            ("", "127.8.9.1", None, 80, true),
            ("", "::1", None, 80, true),
            ("", "a.test", Some("127.0.0.1"), 80, true),
            ("*", "a.test", None, 80, true),
            ("b.test, *", "a.test", None, 80, true),
            ("a.test", "a.test", None, 80, true),
            ("a.test", "b.A.test", None, 80, true),
            ("A.test", "a.test", None, 80, true),
            ("a.test", "xa.test", None, 80, false),
            (".a.test", "a.test", None, 80, false),
            (".a.test", "b.a.test", None, 80, true),
            ("*.a.test", "b.a.test", None, 80, true),
            ("*.a.test", "a.test", None, 80, false),
            ("a.test:8080", "a.test", None, 8080, true),
            ("a.test:8080", "a.test", None, 80, false),
            ("a.test:", "a.test", None, 80, true),
            ("a.test:http", "a.test", None, 80, false),
            (" b.test ,, a.test ", "a.test", None, 80, true),
            ("bücher.test", "xn--bcher-kva.test", None, 80, true),
            ("10.0.0.1", "10.0.0.1", None, 80, true),
            ("10.0.0.1", "a.test", Some("10.0.0.1"), 80, true),
            ("10.0.0.1:81", "10.0.0.1", None, 80, false),
            ("10.0.0.1:80", "10.0.0.1", None, 80, true),
            ("[fd00::1]:80", "fd00::1", None, 80, true),
            ("[fd00::1]:80", "fd00::1", None, 81, false),
            ("fd00::1", "fd00::1", None, 80, true),
            ("::ffff:10.0.0.1", "10.0.0.1", None, 80, true),
            ("10.0.0.0/8", "10.255.0.1", None, 80, true),
            ("10.1.2.3/8", "10.255.0.1", None, 80, true),
            ("10.0.0.0/8", "11.0.0.1", None, 80, false),
            ("0.0.0.0/0", "192.0.2.1", None, 80, true),
            ("0.0.0.0/0", "fd00::1", None, 80, false),
            ("10.0.0.1/32", "10.0.0.2", None, 80, false),
            ("fd00::/8", "fdff::1", None, 80, true),
            ("fd00::/8", "fe80::1", None, 80, false),
            ("::/0", "fe80::1", None, 80, true),
            ("::ffff:10.0.0.0/104", "10.9.9.9", None, 80, true),
            ("10.0.0.0/33", "10.0.0.1", None, 80, false),
            ("10.0.0.0/+8", "10.0.0.1", None, 80, false),
            (":80", "a.test", None, 80, false),
            ("*.", "a.test", None, 80, false),
        ];
        for (list, host, selected, port, want) in cases {
            let selected = selected.map(|ip| ip.parse().unwrap());
            assert_eq!(Bypass::parse(list).covers(host, selected, port), want, "{list:?} {host}:{port}");
        }
    }
}
