//! How a hop reaches its host: straight, or through a proxy.

use std::net::SocketAddr;

use super::proxy::{Proxies, Proxy};
use super::url::Url;
use crate::net::resolve::{Address, Preference};
use crate::runner::{Phase, ProbeError, Reason, Run};

/// Where to connect to, and what to ask for there.
#[derive(Debug)]
pub struct Route<'m> {
    /// Addresses of the host, or of the proxy.
    pub addresses: Vec<SocketAddr>,
    /// The way behind that.
    pub via: Option<Via<'m>>,
}

/// A proxy, and what it is asked for.
#[derive(Debug)]
pub struct Via<'m> {
    /// The proxy.
    pub proxy: &'m Proxy,
    /// Name or address of the target, without brackets.
    pub host: String,
    /// Port of the target.
    pub port: u16,
}

/// A route whose addresses may still have to be looked up.
#[derive(Debug)]
pub struct Plan<'m> {
    /// What to look up if the address is not `known`.
    host: String,
    port: u16,
    known: Option<Address>,
    via: Option<Via<'m>>,
}

impl<'m> Plan<'m> {
    /// The way to `url`. `selected` is the address of its host, where one was selected: it is what is
    /// connected to and, unless `by_name`, what a proxy is asked for.
    ///
    /// # Errors
    /// There is no host to ask a proxy for.
    pub fn new(
        proxies: Option<&'m Proxies>,
        url: &Url,
        selected: Option<Address>,
        by_name: bool,
    ) -> Result<Self, ProbeError> {
        let ip = selected.map(|address| address.ip);
        let Some(proxy) = proxies.and_then(|proxies| proxies.choose(url, ip)) else {
            let known = selected.or_else(|| Address::parse(&url.host));
            let host = if known.is_some() { String::new() } else { url.host.clone() };
            return Ok(Self { host, port: url.port, known, via: None });
        };
        let host = match ip.filter(|_| !by_name) {
            Some(ip) => ip.to_string(),
            None => url.host.clone(),
        };
        if host.is_empty() {
            return Err(ProbeError::new(Phase::Prepare, Reason::BadTarget, "the target has no host"));
        }
        let via = Some(Via { proxy, host, port: url.port });
        Ok(Self { known: Address::parse(&proxy.host), host: proxy.host.clone(), port: proxy.port, via })
    }

    /// The phase in which a name has to be looked up, if one has to be.
    pub fn lookup(&self) -> Option<Phase> {
        let phase = if self.via.is_some() { Phase::Proxy } else { Phase::Resolve };
        self.known.is_none().then_some(phase)
    }

    /// Finds the addresses; those of the preferred family are tried first.
    ///
    /// # Errors
    /// There are none.
    pub async fn route(self, run: &Run<'_>, preference: Preference) -> Result<Route<'m>, ProbeError> {
        let found = match self.known {
            Some(address) => vec![address],
            None => {
                let found = run.net.resolver.lookup_all(&self.host, preference).await;
                found.map_err(|error| match &self.via {
                    Some(via) => via.proxy.blame(error),
                    None => error,
                })?
            }
        };
        let addresses = found.into_iter().map(|address| address.with_port(self.port)).collect();
        Ok(Route { addresses, via: self.via })
    }
}
