//! `docker_sd_configs`: containers of a Docker daemon.

use super::{Filter, not_empty};
use crate::config::{
    prometheus::http_client::HttpClient,
    units::PromDuration,
    yaml::{Fault, Keys, Section},
};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DockerSd {
    /// `unix:///var/run/docker.sock`, or an address of HTTP.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) host_networking_host: String,
    pub(crate) match_first_network: bool,
    pub(crate) filters: Vec<Filter>,
    pub(crate) refresh_interval: PromDuration,
    pub(crate) client: HttpClient,
}

impl Section for DockerSd {
    fn take(keys: &mut Keys<'_>) -> Result<Self, Fault> {
        let docker = Self {
            host: keys.or_default("host")?,
            port: keys.or("port", "80")?,
            host_networking_host: keys.or("host_networking_host", "localhost")?,
            match_first_network: keys.or("match_first_network", "true")?,
            filters: keys.or_default("filters")?,
            refresh_interval: keys.or("refresh_interval", "1m")?,
            client: HttpClient::take(keys)?,
        };
        not_empty(keys, "host", &docker.host)?;
        Ok(docker)
    }
}
