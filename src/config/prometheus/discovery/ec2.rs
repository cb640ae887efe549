//! `ec2_sd_configs`: instances of Amazon EC2.

use crate::config::{
    prometheus::http_client::HttpClient,
    units::PromDuration,
    yaml::{Fault, Keys, Secret, Section},
};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ec2Sd {
    /// Without one, that of the instance that this runs on.
    pub(crate) region: Option<String>,
    pub(crate) endpoint: Option<String>,
    pub(crate) access_key: Option<String>,
    pub(crate) secret_key: Option<Secret>,
    pub(crate) profile: Option<String>,
    pub(crate) role_arn: Option<String>,
    pub(crate) external_id: Option<String>,
    pub(crate) port: u16,
    pub(crate) filters: Vec<Filter>,
    pub(crate) refresh_interval: PromDuration,
    pub(crate) client: HttpClient,
}

/// What a provider is asked to leave out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Filter {
    pub(crate) name: String,
    pub(crate) values: Vec<String>,
}

impl Section for Filter {
    fn take(keys: &mut Keys<'_>) -> Result<Self, Fault> {
        Ok(Self { name: keys.required("name")?, values: keys.or_default("values")? })
    }
}

impl Section for Ec2Sd {
    fn take(keys: &mut Keys<'_>) -> Result<Self, Fault> {
        let ec2 = Self {
            region: keys.get("region")?,
            endpoint: keys.get("endpoint")?,
            access_key: keys.get("access_key")?,
            secret_key: keys.get("secret_key")?,
            profile: keys.get("profile")?,
            role_arn: keys.get("role_arn")?,
            external_id: keys.get("external_id")?,
            port: keys.or("port", "80")?,
            filters: keys.or_default("filters")?,
            refresh_interval: keys.or("refresh_interval", "1m")?,
            client: HttpClient::take(keys)?,
        };
        match ec2.filters.iter().find(|filter| filter.values.is_empty()) {
            Some(filter) => Err(keys.fault("filters", format!("{} has no values", filter.name))),
            None => Ok(ec2),
        }
    }
}
