//! `alerting`: whom alerts are sent to.

use super::{
    discovery::{self, Discovery},
    http_client::HttpClient,
    relabel::RelabelConfig,
    remote::SigV4,
    scrape::{NameScheme, relabeling},
};
use crate::config::{
    units::PromDuration,
    yaml::{Fault, Keys},
};

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Alerting {
    pub(crate) alert_relabel_configs: Vec<RelabelConfig>,
    pub(crate) alertmanagers: Vec<Alertmanagers>,
}

/// Some Alertmanagers that are found and spoken to in one way.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Alertmanagers {
    pub(crate) scheme: String,
    pub(crate) path_prefix: String,
    pub(crate) timeout: PromDuration,
    pub(crate) client: HttpClient,
    pub(crate) relabel_configs: Vec<RelabelConfig>,
    pub(crate) alert_relabel_configs: Vec<RelabelConfig>,
    pub(crate) discovery: Vec<Discovery>,
}

impl Alerting {
    pub(super) fn take(keys: &mut Keys<'_>, names: NameScheme) -> Result<Self, Fault> {
        let alert_relabel_configs = relabeling(keys, "alert_relabel_configs", names)?;
        let alertmanagers = keys.sections("alertmanagers", |keys| Alertmanagers::take(keys, names))?;
        Ok(Self { alert_relabel_configs, alertmanagers })
    }
}

impl Alertmanagers {
    fn take(keys: &mut Keys<'_>, names: NameScheme) -> Result<Self, Fault> {
        let version: String = keys.or("api_version", "v2")?;
        if version != "v2" {
            return Err(keys.fault("api_version", format!("{version:?} is no version that is spoken: v2")));
        }
        for other in ["basic_auth", "authorization", "oauth2", "bearer_token", "bearer_token_file"] {
            keys.at_most_one_of(&["sigv4", other])?;
        }
        let _sigv4: Option<SigV4> = keys.get("sigv4")?;
        let managers = Self {
            scheme: keys.or("scheme", "http")?,
            path_prefix: keys.or_default("path_prefix")?,
            timeout: keys.or("timeout", "10s")?,
            client: HttpClient::take(keys)?,
            relabel_configs: relabeling(keys, "relabel_configs", names)?,
            alert_relabel_configs: relabeling(keys, "alert_relabel_configs", names)?,
            discovery: discovery::take(keys)?,
        };
        if managers.relabel_configs.is_empty() {
            discovery::must_be_hosts(keys, &managers.discovery)?;
        }
        Ok(managers)
    }
}
