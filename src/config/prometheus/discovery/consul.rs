//! `consul_sd_configs`: services of a Consul catalogue.

use std::collections::BTreeMap;

use super::not_empty;
use crate::config::{
    prometheus::http_client::{BasicAuth, HttpClient, SecretSource},
    units::PromDuration,
    yaml::{Fault, Keys, Secret, Section},
};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ConsulSd {
    pub(crate) server: String,
    pub(crate) path_prefix: String,
    pub(crate) token: Option<Secret>,
    pub(crate) datacenter: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) partition: Option<String>,
    pub(crate) scheme: String,
    pub(crate) services: Vec<String>,
    pub(crate) filter: Option<String>,
    pub(crate) health_filter: Option<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) node_meta: BTreeMap<String, String>,
    pub(crate) tag_separator: String,
    pub(crate) allow_stale: bool,
    pub(crate) refresh_interval: PromDuration,
    pub(crate) client: HttpClient,
}

impl Section for ConsulSd {
    fn take(keys: &mut Keys<'_>) -> Result<Self, Fault> {
        // Of old, a user and a password stood here; now they have a section.
        for (old, section) in
            [("username", "basic_auth"), ("password", "basic_auth"), ("token", "authorization"), ("token", "oauth2")]
        {
            keys.at_most_one_of(&[old, section])?;
        }
        let username: Option<String> = keys.get("username")?;
        let password: Option<Secret> = keys.get("password")?;
        let mut consul = Self {
            server: keys.or("server", "localhost:8500")?,
            path_prefix: keys.or_default("path_prefix")?,
            token: keys.get("token")?,
            datacenter: keys.get("datacenter")?,
            namespace: keys.get("namespace")?,
            partition: keys.get("partition")?,
            scheme: keys.or("scheme", "http")?,
            services: keys.or_default("services")?,
            filter: keys.get("filter")?,
            health_filter: keys.get("health_filter")?,
            tags: keys.or_default("tags")?,
            node_meta: keys.or_default("node_meta")?,
            tag_separator: keys.or("tag_separator", ",")?,
            allow_stale: keys.or("allow_stale", "true")?,
            refresh_interval: keys.or("refresh_interval", "30s")?,
            client: HttpClient::take(keys)?,
        };
        not_empty(keys, "server", &consul.server)?;
        if let Some(username) = username {
            let username = Some(SecretSource::Inline(Secret::new(username)));
            consul.client.basic_auth = Some(BasicAuth { username, password: password.map(SecretSource::Inline) });
        }
        Ok(consul)
    }
}
