//! `remote_write` and `remote_read`: other storages.

use std::collections::BTreeMap;

use super::{
    http_client::{HttpClient, is_reserved_header},
    relabel::RelabelConfig,
    scrape::{NameScheme, relabeling},
    url::Url,
};
use crate::config::{
    units::PromDuration,
    yaml::{Fault, Keys, Secret, Section},
};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RemoteWrite {
    pub(crate) url: Url,
    pub(crate) name: Option<String>,
    pub(crate) protobuf_message: Message,
    pub(crate) remote_timeout: PromDuration,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) write_relabel_configs: Vec<RelabelConfig>,
    pub(crate) send_exemplars: bool,
    pub(crate) send_native_histograms: bool,
    pub(crate) round_robin_dns: bool,
    pub(crate) queue: Queue,
    pub(crate) metadata: MetadataSending,
    pub(crate) client: HttpClient,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    V1,
    V2,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Queue {
    pub(crate) capacity: u64,
    pub(crate) min_shards: u64,
    pub(crate) max_shards: u64,
    pub(crate) max_samples_per_send: u64,
    pub(crate) batch_send_deadline: PromDuration,
    pub(crate) min_backoff: PromDuration,
    pub(crate) max_backoff: PromDuration,
    pub(crate) retry_on_http_429: bool,
    pub(crate) sample_age_limit: PromDuration,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MetadataSending {
    pub(crate) send: bool,
    pub(crate) send_interval: PromDuration,
    pub(crate) max_samples_per_send: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RemoteRead {
    pub(crate) url: Url,
    pub(crate) name: Option<String>,
    pub(crate) remote_timeout: PromDuration,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) read_recent: bool,
    pub(crate) required_matchers: BTreeMap<String, String>,
    pub(crate) filter_external_labels: bool,
    pub(crate) client: HttpClient,
}

/// Ways of signing requests that this release only knows by their keys; each excludes the others and those of the HTTP client.
const SIGNERS: [&str; 3] = ["sigv4", "azuread", "google_iam"];

impl RemoteWrite {
    pub(super) fn take(keys: &mut Keys<'_>, names: NameScheme) -> Result<Self, Fault> {
        let url = url(keys)?;
        for (at, signer) in SIGNERS.iter().enumerate() {
            for other in SIGNERS[at + 1..].iter().chain(&["basic_auth", "authorization", "oauth2", "bearer_token"]) {
                keys.at_most_one_of(&[signer, other])?;
            }
        }
        let _sigv4: Option<SigV4> = keys.get("sigv4")?;
        let _azure: Option<AzureAd> = keys.get("azuread")?;
        let _google: Option<GoogleIam> = keys.get("google_iam")?;
        Ok(Self {
            url,
            name: keys.get("name")?,
            protobuf_message: message(keys)?,
            remote_timeout: keys.or("remote_timeout", "30s")?,
            headers: headers(keys)?,
            write_relabel_configs: relabeling(keys, "write_relabel_configs", names)?,
            send_exemplars: keys.or("send_exemplars", "false")?,
            send_native_histograms: keys.or("send_native_histograms", "false")?,
            round_robin_dns: keys.or("round_robin_dns", "false")?,
            queue: keys.section_or_defaults("queue_config")?,
            metadata: keys.section_or_defaults("metadata_config")?,
            client: HttpClient::take(keys)?,
        })
    }
}

impl Section for RemoteRead {
    fn take(keys: &mut Keys<'_>) -> Result<Self, Fault> {
        let read = Self {
            url: url(keys)?,
            name: keys.get("name")?,
            remote_timeout: keys.or("remote_timeout", "1m")?,
            headers: headers(keys)?,
            read_recent: keys.or("read_recent", "false")?,
            required_matchers: keys.or_default("required_matchers")?,
            filter_external_labels: keys.or("filter_external_labels", "true")?,
            client: HttpClient::take(keys)?,
        };
        if read.required_matchers.contains_key("") {
            return Err(keys.fault("required_matchers", "\"\" is not a valid label name"));
        }
        Ok(read)
    }
}

fn url(keys: &mut Keys<'_>) -> Result<Url, Fault> {
    let url: Option<Url> = keys.get("url")?;
    url.filter(|url| !url.as_str().is_empty()).ok_or_else(|| keys.fault("url", "url is missing"))
}

fn message(keys: &mut Keys<'_>) -> Result<Message, Fault> {
    let text: String = keys.or("protobuf_message", "prometheus.WriteRequest")?;
    match text.as_str() {
        "prometheus.WriteRequest" => Ok(Message::V1),
        "io.prometheus.write.v2.Request" => Ok(Message::V2),
        _ => {
            let known = "prometheus.WriteRequest, io.prometheus.write.v2.Request";
            Err(keys.fault("protobuf_message", format!("{text:?} is none of {known}")))
        }
    }
}

fn headers(keys: &mut Keys<'_>) -> Result<BTreeMap<String, String>, Fault> {
    let headers: BTreeMap<String, String> = keys.or_default("headers")?;
    match headers.keys().find(|name| is_reserved_header(name)) {
        Some(name) => Err(keys.fault("headers", format!("{name} is set by other keys, or by the client itself"))),
        None => Ok(headers),
    }
}

impl Section for Queue {
    fn take(keys: &mut Keys<'_>) -> Result<Self, Fault> {
        let queue = Self {
            capacity: keys.or("capacity", "10000")?,
            max_shards: keys.or("max_shards", "50")?,
            min_shards: keys.or("min_shards", "1")?,
            max_samples_per_send: keys.or("max_samples_per_send", "2000")?,
            batch_send_deadline: keys.or("batch_send_deadline", "5s")?,
            min_backoff: keys.or("min_backoff", "30ms")?,
            max_backoff: keys.or("max_backoff", "5s")?,
            retry_on_http_429: keys.or("retry_on_http_429", "false")?,
            sample_age_limit: keys.or("sample_age_limit", "0s")?,
        };
        let counts = [
            ("capacity", queue.capacity),
            ("max_shards", queue.max_shards),
            ("min_shards", queue.min_shards),
            ("max_samples_per_send", queue.max_samples_per_send),
        ];
        if let Some((name, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return Err(keys.fault(name, "has to be above 0"));
        }
        if queue.min_shards > queue.max_shards {
            return Err(keys.fault("min_shards", format!("is above max_shards, {}", queue.max_shards)));
        }
        if queue.min_backoff.ms() > queue.max_backoff.ms() {
            return Err(keys.fault("min_backoff", format!("is above max_backoff, {}", queue.max_backoff)));
        }
        Ok(queue)
    }
}

impl Section for MetadataSending {
    fn take(keys: &mut Keys<'_>) -> Result<Self, Fault> {
        Ok(Self {
            send: keys.or("send", "true")?,
            send_interval: keys.or("send_interval", "1m")?,
            max_samples_per_send: keys.or("max_samples_per_send", "2000")?,
        })
    }
}

pub(super) struct SigV4;

impl Section for SigV4 {
    fn take(keys: &mut Keys<'_>) -> Result<Self, Fault> {
        for name in ["region", "access_key", "profile", "role_arn", "external_id", "service_name"] {
            keys.get::<String>(name)?;
        }
        keys.get::<Secret>("secret_key")?;
        keys.get::<bool>("use_fips_sts_endpoint")?;
        if keys.has("access_key") != keys.has("secret_key") {
            return Err(keys.fault("access_key", "access_key and secret_key need each other"));
        }
        Ok(Self)
    }
}

struct AzureAd;

impl Section for AzureAd {
    fn take(keys: &mut Keys<'_>) -> Result<Self, Fault> {
        keys.get::<String>("cloud")?;
        keys.get::<String>("scope")?;
        const IDENTITIES: [&str; 4] = ["managed_identity", "oauth", "sdk", "workload_identity"];
        keys.at_most_one_of(&IDENTITIES)?;
        for name in IDENTITIES {
            keys.get::<AzureIdentity>(name)?;
        }
        if IDENTITIES.iter().any(|name| keys.has(name)) {
            return Ok(Self);
        }
        Err(keys.fault("managed_identity", format!("one of {} is needed", IDENTITIES.join(", "))))
    }
}

struct AzureIdentity;

impl Section for AzureIdentity {
    fn take(keys: &mut Keys<'_>) -> Result<Self, Fault> {
        for name in ["client_id", "tenant_id", "token_file_path"] {
            keys.get::<String>(name)?;
        }
        keys.get::<Secret>("client_secret")?;
        Ok(Self)
    }
}

struct GoogleIam;

impl Section for GoogleIam {
    fn take(keys: &mut Keys<'_>) -> Result<Self, Fault> {
        keys.get::<String>("credentials_file")?;
        Ok(Self)
    }
}
