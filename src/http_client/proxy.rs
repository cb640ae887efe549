//! Which requests go through a proxy: `proxy_url` with `no_proxy`, or the environment's variables.

use std::{env, net::IpAddr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hyper::{
    Uri,
    header::{HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION},
};

use super::Origin;
use crate::config::{prometheus::http_client, yaml::Secret};

#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    #[error("the proxy's URL {0:?} has to be http://HOST or http://HOST:PORT")]
    Url(String),
    #[error("proxy {host}:{port}: {reason}")]
    Failed { host: String, port: u16, reason: String },
    #[error("proxy_connect_header: {0:?} can't be a header")]
    Header(String),
}

/// A server that passes requests on.
#[derive(Clone)]
pub(super) struct Proxy {
    pub(super) host: String,
    pub(super) port: u16,
    /// `user:password`
    user: Option<String>,
    headers: Vec<(String, Secret)>,
}

/// What the configuration says of proxies.
pub(super) struct Proxies {
    url: Option<String>,
    no_proxy: String,
    from_environment: bool,
    headers: Vec<(String, Secret)>,
}

impl Proxies {
    pub(super) fn new(config: &http_client::Proxy) -> Self {
        let headers = config.connect_header.iter();
        Self {
            url: config.url.as_ref().map(|url| url.as_str().to_owned()).filter(|url| !url.is_empty()),
            no_proxy: config.no_proxy.clone().unwrap_or_default(),
            from_environment: config.from_environment,
            headers: headers.flat_map(|(name, all)| all.iter().map(|one| (name.clone(), one.clone()))).collect(),
        }
    }

    /// The proxy that leads to an origin, if one does.
    pub(super) fn of(&self, origin: &Origin) -> Result<Option<Proxy>, ProxyError> {
        let variable = |name: &str| env::var(name).or_else(|_| env::var(name.to_ascii_lowercase())).unwrap_or_default();
        let (url, no_proxy) = if self.from_environment {
            let name = if origin.is_tls { "HTTPS_PROXY" } else { "HTTP_PROXY" };
            // The machine itself is asked without one, as Go does.
            if is_this_machine(&origin.host) {
                return Ok(None);
            }
            (variable(name), variable("NO_PROXY"))
        } else {
            (self.url.clone().unwrap_or_default(), self.no_proxy.clone())
        };
        if url.is_empty() || is_excepted(&no_proxy, origin) {
            return Ok(None);
        }
        self.parse(&url).map(Some)
    }

    fn parse(&self, text: &str) -> Result<Proxy, ProxyError> {
        let refuse = || ProxyError::Url(text.rsplit_once('@').map_or(text, |(_, host)| host).to_owned());
        let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let url: Uri = whole.parse().map_err(|_| refuse())?;
        let is_http = url.scheme_str() == Some("http");
        let host = url.host().filter(|host| is_http && !host.is_empty()).ok_or_else(refuse)?;
        let authority = url.authority().map(|authority| authority.as_str()).unwrap_or_default();
        Ok(Proxy {
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: url.port_u16().unwrap_or(80),
            user: authority.rsplit_once('@').map(|(user, _)| user.to_owned()),
            headers: self.headers.clone(),
        })
    }
}

impl Proxy {
    pub(super) fn failed(&self, reason: String) -> ProxyError {
        ProxyError::Failed { host: self.host.clone(), port: self.port, reason }
    }

    /// What it wants to know.
    pub(super) fn headers(&self) -> Result<HeaderMap, ProxyError> {
        let mut all = HeaderMap::new();
        if let Some(user) = &self.user {
            let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(user)))
                .map_err(|_| ProxyError::Header("proxy_url's user".to_owned()))?;
            value.set_sensitive(true);
            all.insert(PROXY_AUTHORIZATION, value);
        }
        for (name, value) in &self.headers {
            let refuse = || ProxyError::Header(name.clone());
            let header = HeaderName::try_from(name.as_str()).map_err(|_| refuse())?;
            let mut value = HeaderValue::from_str(value.expose()).map_err(|_| refuse())?;
            value.set_sensitive(true);
            all.append(header, value);
        }
        Ok(all)
    }
}

fn is_this_machine(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// `no_proxy`: hosts and their subdomains, addresses, networks, each perhaps with a port; `*` is everything.
fn is_excepted(no_proxy: &str, origin: &Origin) -> bool {
    no_proxy.split(',').map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| excepts(entry, origin))
}

fn excepts(entry: &str, Origin { host, port, .. }: &Origin) -> bool {
    if entry == "*" {
        return true;
    }
    let address: Option<IpAddr> = host.parse().ok();
    if let Some((network, bits)) = entry.split_once('/') {
        return address.is_some_and(|address| is_within(address, network, bits));
    }
    let (name, entry_port) = match entry.rsplit_once(':') {
        Some((name, digits)) if !name.contains(':') || name.ends_with(']') => (name, digits.parse::<u16>().ok()),
        _ => (entry, None),
    };
    if entry_port.is_some_and(|entry_port| entry_port != *port) {
        return false;
    }
    let name = name.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    if let (Ok(entry_address), Some(address)) = (name.parse::<IpAddr>(), address) {
        return entry_address == address;
    }
    let (host, suffix) = (host.to_ascii_lowercase(), name.trim_start_matches("*.").trim_start_matches('.'));
    let is_below = host.strip_suffix(suffix).is_some_and(|before| before.ends_with('.'));
    // With a dot in front only what is below is meant.
    is_below || (host == suffix && suffix == name)
}

fn is_within(address: IpAddr, network: &str, bits: &str) -> bool {
    let (Ok(network), Ok(bits)) = (network.parse::<IpAddr>(), bits.parse::<u32>()) else { return false };
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) if bits <= 32 => {
            let shift = |address: u32| address.checked_shr(32 - bits).unwrap_or(0);
            shift(address.to_bits()) == shift(network.to_bits())
        }
        (IpAddr::V6(address), IpAddr::V6(network)) if bits <= 128 => {
            let shift = |address: u128| address.checked_shr(128 - bits).unwrap_or(0);
            shift(address.to_bits()) == shift(network.to_bits())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_are_hosts_addresses_and_networks() {
        let is_excepted = |no_proxy: &str, host: &str| {
            is_excepted(no_proxy, &Origin { is_tls: false, host: host.to_owned(), port: 9100 })
        };
        for (no_proxy, host) in [
            ("*", "anything"),
            ("example.com", "example.com"),
            ("example.com", "a.EXAMPLE.com"),
            (".example.com", "a.example.com"),
            ("a, b:9100", "b"),
            ("10.0.0.0/8", "10.1.2.3"),
            ("10.1.2.3", "10.1.2.3"),
            ("fd00::/8", "fd00::1"),
            ("0.0.0.0/0", "1.2.3.4"),
        ] {
            assert!(is_excepted(no_proxy, host), "{no_proxy} {host}");
        }
        for (no_proxy, host) in [
            ("", "a"),
            ("example.com", "badexample.com"),
            (".example.com", "example.com"),
            ("b:80", "b"),
            ("10.0.0.0/8", "11.1.2.3"),
            ("10.0.0.0/8", "ten"),
        ] {
            assert!(!is_excepted(no_proxy, host), "{no_proxy} {host}");
        }
    }
}
