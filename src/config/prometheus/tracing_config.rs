//! `tracing`: where spans go.

use std::collections::BTreeMap;

use super::http_client::{TlsConfig, is_reserved_header};
use crate::config::{
    units::PromDuration,
    yaml::{Fault, Keys, Section},
};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TracingConfig {
    pub(crate) client_type: String,
    pub(crate) endpoint: String,
    pub(crate) sampling_fraction: f64,
    pub(crate) insecure: bool,
    pub(crate) tls: TlsConfig,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) compression: Option<String>,
    pub(crate) timeout: PromDuration,
}

impl Section for TracingConfig {
    fn take(keys: &mut Keys<'_>) -> Result<Self, Fault> {
        let config = Self {
            client_type: keys.or("client_type", "grpc")?,
            endpoint: keys.or_default("endpoint")?,
            sampling_fraction: keys.or_default("sampling_fraction")?,
            insecure: keys.or("insecure", "false")?,
            tls: keys.or_default("tls_config")?,
            headers: keys.or_default("headers")?,
            compression: keys.get("compression")?,
            timeout: keys.or("timeout", "10s")?,
        };
        if !["grpc", "http"].contains(&config.client_type.as_str()) {
            return Err(keys.fault("client_type", format!("{:?} is none of grpc, http", config.client_type)));
        }
        if config.endpoint.is_empty() {
            return Err(keys.fault("endpoint", "endpoint is missing"));
        }
        if config.compression.as_ref().is_some_and(|compression| !["", "gzip"].contains(&compression.as_str())) {
            return Err(keys.fault("compression", "can be gzip"));
        }
        match config.headers.keys().find(|name| is_reserved_header(name)) {
            Some(name) => Err(keys.fault("headers", format!("{name} is set by the client itself"))),
            None => Ok(config),
        }
    }
}
