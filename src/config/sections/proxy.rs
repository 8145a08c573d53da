//! Proxy keys, inlined in the HTTP client's and OAuth2's sections.

use crate::config::decode::Context;
use crate::config::map::Map;
use crate::config::proxy_url::ProxyUrl;
use crate::config::secret::Secret;
use crate::config::section::section;
use crate::config::yaml::tree::Mapping;

section! {
    /// Which proxy to use, and for what.
    pub struct Proxy {
        /// The proxy; a blank URL counts as none.
        proxy_url: Option<ProxyUrl>,
        /// Comma-separated hosts, addresses and networks to reach without the proxy.
        no_proxy: String,
        /// Take the proxy from `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`.
        proxy_from_environment: bool,
        /// Headers for CONNECT requests; names are sent as written.
        proxy_connect_header: Map<Vec<Secret>>,
    }
    check Proxy::validate
}

impl Proxy {
    /// The configured proxy, if one is really named.
    pub fn url(&self) -> Option<&ProxyUrl> {
        self.proxy_url.as_ref().filter(|url| !url.is_blank())
    }

    /// Whether any proxy may be used.
    pub fn is_configured(&self) -> bool {
        self.proxy_from_environment || self.url().is_some()
    }

    fn validate<'t>(&mut self, written: &Mapping<'t>, ctx: &mut Context<'t>) {
        // A URL that did not parse has been reported; it counts as given.
        let url_given = written.get("proxy_url").is_some_and(|node| !node.is_null());
        if !self.proxy_connect_header.is_empty() && !self.is_configured() && !url_given {
            ctx.error_here(
                written.position_of("proxy_connect_header"),
                "has proxy_connect_header but neither proxy_url nor proxy_from_environment",
            );
        }
        if self.proxy_from_environment && self.url().is_some() {
            ctx.error_here(
                written.position_of("proxy_url"),
                "may have only one of proxy_url and proxy_from_environment",
            );
        }
        if self.proxy_from_environment && !self.no_proxy.is_empty() {
            ctx.error_here(
                written.position_of("no_proxy"),
                "may have only one of no_proxy and proxy_from_environment",
            );
        } else if !self.no_proxy.is_empty() && !url_given {
            ctx.error_here(written.position_of("no_proxy"), "has no_proxy but no proxy_url");
        }
        if let Some(url) = self.url()
            && !url.is_usable()
        {
            let message = format!(
                "{} must have a host and one of the schemes http, https, socks5 and socks5h",
                ctx.key("proxy_url")
            );
            // Targets that bypass the proxy still work.
            let breaks = self.no_proxy.is_empty();
            ctx.warn(written.position_of("proxy_url"), breaks, message);
        }
    }
}
