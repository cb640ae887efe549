//! `http_sd_configs`: a URL that answers with targets.

use crate::config::{
    prometheus::{http_client::HttpClient, url::Url},
    units::PromDuration,
    yaml::{Fault, Keys, Section},
};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HttpSd {
    pub(crate) url: Url,
    pub(crate) refresh_interval: PromDuration,
    pub(crate) client: HttpClient,
}

impl Section for HttpSd {
    fn take(keys: &mut Keys<'_>) -> Result<Self, Fault> {
        let url: Url = keys.required("url")?;
        must_be_http(keys, "url", &url)?;
        let refresh_interval = keys.or("refresh_interval", "1m")?;
        Ok(Self { url, refresh_interval, client: HttpClient::take(keys)? })
    }
}

/// A whole address of HTTP.
pub(super) fn must_be_http(keys: &Keys<'_>, name: &'static str, url: &Url) -> Result<(), Fault> {
    match url.scheme().as_deref() {
        Some("http" | "https") if !url.host().is_empty() => Ok(()),
        Some("http" | "https") => Err(keys.fault(name, "the host is missing")),
        _ => Err(keys.fault(name, "has to begin with http:// or https://")),
    }
}
