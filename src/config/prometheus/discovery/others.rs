//! Mechanisms of which this release knows the keys alone: a file that serves Prometheus is checked here as it is there, and start-up
//! says that nothing is found by them.

use super::{Discovery, Filter, http::must_be_http, one_of};
use crate::config::{
    prometheus::{
        http_client::{HttpClient, TlsConfig},
        url::Url,
    },
    units::PromDuration,
    yaml::{Fault, Keys, Read, Secret},
};

/// What a key takes.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Secret,
    Number,
    Duration,
    Yes,
    Texts,
    Filters,
    Url,
}

/// Which keys of the HTTP client a section has.
#[derive(Clone, Copy, PartialEq)]
enum Http {
    No,
    Tls,
    All,
}

struct Mechanism {
    key: &'static str,
    http: Http,
    keys: &'static [(&'static str, Kind)],
    /// Must be there, and not be empty.
    required: &'static [&'static str],
    /// Of these pairs one must be there, and not both.
    either: &'static [[&'static str; 2]],
    /// Texts that a key may have; the first one if it is not there, unless it is required.
    choices: &'static [(&'static str, &'static [&'static str])],
    check: fn(&Keys<'_>) -> Result<(), Fault>,
}

use Kind::{Duration, Filters, Number, Secret as Hidden, Text, Texts, Url as Address, Yes};

fn nothing(_: &Keys<'_>) -> Result<(), Fault> {
    Ok(())
}

const NONE: Mechanism =
    Mechanism { key: "", http: Http::All, keys: &[], required: &[], either: &[], choices: &[], check: nothing };

/// The keys of Amazon's services.
const AWS: &[(&str, Kind)] = &[
    ("role", Text),
    ("region", Text),
    ("endpoint", Text),
    ("access_key", Text),
    ("secret_key", Hidden),
    ("profile", Text),
    ("role_arn", Text),
    ("external_id", Text),
    ("clusters", Texts),
    ("filters", Filters),
    ("request_concurrency", Number),
];

const LIGHTSAIL: &[(&str, Kind)] = &[
    ("region", Text),
    ("endpoint", Text),
    ("access_key", Text),
    ("secret_key", Hidden),
    ("profile", Text),
    ("role_arn", Text),
    ("external_id", Text),
];

const MECHANISMS: &[Mechanism] = &[
    Mechanism {
        key: "aws_sd_configs",
        keys: AWS,
        required: &["role"],
        choices: &[("role", &["ec2", "ecs", "elasticache", "lightsail", "msk", "rds"])],
        ..NONE
    },
    Mechanism {
        key: "azure_sd_configs",
        keys: &[
            ("environment", Text),
            ("authentication_method", Text),
            ("subscription_id", Text),
            ("tenant_id", Text),
            ("client_id", Text),
            ("client_secret", Hidden),
            ("resource_group", Text),
        ],
        required: &["subscription_id"],
        choices: &[("authentication_method", &["OAuth", "ManagedIdentity", "SDK", "WorkloadIdentity"])],
        check: azure,
        ..NONE
    },
    Mechanism { key: "digitalocean_sd_configs", ..NONE },
    Mechanism {
        key: "dockerswarm_sd_configs",
        keys: &[("host", Text), ("role", Text), ("filters", Filters)],
        required: &["host", "role"],
        choices: &[("role", &["services", "tasks", "nodes"])],
        ..NONE
    },
    Mechanism { key: "eureka_sd_configs", keys: &[("server", Address)], required: &["server"], check: eureka, ..NONE },
    Mechanism {
        key: "gce_sd_configs",
        http: Http::No,
        keys: &[("project", Text), ("zone", Text), ("filter", Text), ("tag_separator", Text)],
        required: &["project", "zone"],
        ..NONE
    },
    Mechanism {
        key: "hetzner_sd_configs",
        keys: &[("role", Text), ("label_selector", Text)],
        required: &["role"],
        choices: &[("role", &["robot", "hcloud"])],
        ..NONE
    },
    Mechanism { key: "ionos_sd_configs", keys: &[("datacenter_id", Text)], required: &["datacenter_id"], ..NONE },
    Mechanism {
        key: "kuma_sd_configs",
        keys: &[("server", Address), ("client_id", Text), ("fetch_timeout", Duration)],
        required: &["server"],
        ..NONE
    },
    Mechanism { key: "lightsail_sd_configs", keys: LIGHTSAIL, ..NONE },
    Mechanism { key: "linode_sd_configs", keys: &[("tag_separator", Text), ("region", Text)], ..NONE },
    Mechanism {
        key: "marathon_sd_configs",
        keys: &[("servers", Texts), ("auth_token", Hidden), ("auth_token_file", Text)],
        required: &["servers"],
        check: marathon,
        ..NONE
    },
    Mechanism {
        key: "nerve_sd_configs",
        http: Http::No,
        keys: &[("servers", Texts), ("paths", Texts), ("timeout", Duration)],
        required: &["servers", "paths"],
        ..NONE
    },
    Mechanism {
        key: "nomad_sd_configs",
        keys: &[("allow_stale", Yes), ("namespace", Text), ("region", Text), ("server", Text), ("tag_separator", Text)],
        ..NONE
    },
    Mechanism {
        key: "oci_sd_configs",
        keys: &[
            ("auth", Text),
            ("region", Text),
            ("tenancy", Text),
            ("user", Text),
            ("fingerprint", Text),
            ("key_file", Text),
            ("key", Hidden),
            ("key_passphrase", Hidden),
            ("compartments", Texts),
        ],
        choices: &[("auth", &["api_key", "instance_principal", "resource_principal", "workload_identity"])],
        ..NONE
    },
    Mechanism {
        key: "openstack_sd_configs",
        http: Http::Tls,
        keys: &[
            ("role", Text),
            ("region", Text),
            ("identity_endpoint", Text),
            ("username", Text),
            ("userid", Text),
            ("password", Hidden),
            ("domain_name", Text),
            ("domain_id", Text),
            ("project_name", Text),
            ("project_id", Text),
            ("application_credential_name", Text),
            ("application_credential_id", Text),
            ("application_credential_secret", Hidden),
            ("all_tenants", Yes),
            ("availability", Text),
        ],
        required: &["role", "region"],
        choices: &[
            ("role", &["hypervisor", "instance", "loadbalancer"]),
            ("availability", &["public", "internal", "admin"]),
        ],
        ..NONE
    },
    Mechanism {
        key: "outscale_sd_configs",
        keys: &[
            ("region", Text),
            ("endpoint", Text),
            ("access_key", Text),
            ("secret_key", Hidden),
            ("secret_key_file", Text),
        ],
        required: &["region", "access_key"],
        either: &[["secret_key", "secret_key_file"]],
        ..NONE
    },
    Mechanism {
        key: "ovhcloud_sd_configs",
        http: Http::No,
        keys: &[
            ("endpoint", Text),
            ("application_key", Text),
            ("application_secret", Hidden),
            ("consumer_key", Hidden),
            ("service", Text),
        ],
        required: &["application_key", "application_secret", "consumer_key", "service"],
        choices: &[("service", &["dedicated_server", "vps"])],
        ..NONE
    },
    Mechanism {
        key: "puppetdb_sd_configs",
        keys: &[("url", Address), ("query", Text), ("include_parameters", Yes)],
        required: &["url", "query"],
        check: puppetdb,
        ..NONE
    },
    Mechanism {
        key: "scaleway_sd_configs",
        keys: &[
            ("role", Text),
            ("api_url", Text),
            ("zone", Text),
            ("access_key", Text),
            ("secret_key", Hidden),
            ("secret_key_file", Text),
            ("project_id", Text),
            ("name_filter", Text),
            ("tags_filter", Texts),
        ],
        required: &["role", "project_id", "access_key"],
        either: &[["secret_key", "secret_key_file"]],
        choices: &[("role", &["instance", "baremetal"])],
        ..NONE
    },
    Mechanism {
        key: "serverset_sd_configs",
        http: Http::No,
        keys: &[("servers", Texts), ("paths", Texts), ("timeout", Duration)],
        required: &["servers", "paths"],
        ..NONE
    },
    Mechanism {
        key: "stackit_sd_configs",
        keys: &[
            ("project", Text),
            ("region", Text),
            ("endpoint", Address),
            ("service_account_key", Hidden),
            ("service_account_key_path", Text),
            ("private_key", Hidden),
            ("private_key_path", Text),
            ("credentials_file_path", Text),
            ("token_url", Text),
        ],
        ..NONE
    },
    Mechanism {
        key: "triton_sd_configs",
        http: Http::Tls,
        keys: &[
            ("account", Text),
            ("role", Text),
            ("dns_suffix", Text),
            ("endpoint", Text),
            ("groups", Texts),
            ("version", Number),
        ],
        required: &["account", "dns_suffix", "endpoint"],
        choices: &[("role", &["container", "cn"])],
        ..NONE
    },
    Mechanism {
        key: "uyuni_sd_configs",
        keys: &[
            ("server", Address),
            ("username", Text),
            ("password", Hidden),
            ("entitlement", Text),
            ("separator", Text),
        ],
        required: &["server", "username", "password"],
        ..NONE
    },
    Mechanism { key: "vultr_sd_configs", ..NONE },
];

/// Takes the keys of all of them.
pub(super) fn take(keys: &mut Keys<'_>, all: &mut Vec<Discovery>) -> Result<(), Fault> {
    for mechanism in MECHANISMS {
        let read = |keys: &mut Keys<'_>| mechanism.take(keys);
        let found = keys.sections(mechanism.key, read)?;
        all.extend(found.iter().map(|()| Discovery::Other(mechanism.key)));
    }
    Ok(())
}

impl Mechanism {
    fn take(&self, keys: &mut Keys<'_>) -> Result<(), Fault> {
        for (name, kind) in self.keys {
            kind.take(keys, name)?;
        }
        for (name, kind) in [("port", Number), ("refresh_interval", Duration)] {
            kind.take(keys, name)?;
        }
        match self.http {
            Http::No => {}
            Http::Tls => drop(keys.get::<TlsConfig>("tls_config")?),
            Http::All => drop(HttpClient::take(keys)?),
        }
        if let Some(name) = self.required.iter().find(|name| !keys.has(name) || keys.text(name) == Some("")) {
            return Err(keys.fault(name, format!("{name} is missing")));
        }
        for [one, other] in self.either {
            keys.at_most_one_of(&[one, other])?;
            if !keys.has(one) && !keys.has(other) {
                return Err(keys.fault(one, format!("one of {one} and {other} is needed")));
            }
        }
        for (name, known) in self.choices {
            if let Some(text) = keys.text(name) {
                one_of(keys, name, text, known)?;
            }
        }
        (self.check)(keys)
    }
}

impl Kind {
    fn take(self, keys: &mut Keys<'_>, name: &'static str) -> Result<(), Fault> {
        fn read<T: Read>(keys: &mut Keys<'_>, name: &'static str) -> Result<(), Fault> {
            keys.get::<T>(name).map(drop)
        }
        match self {
            Text => read::<String>(keys, name),
            Hidden => read::<Secret>(keys, name),
            Number => read::<u64>(keys, name),
            Duration => read::<PromDuration>(keys, name),
            Yes => read::<bool>(keys, name),
            Texts => read::<Vec<String>>(keys, name),
            Filters => read::<Vec<Filter>>(keys, name),
            Address => read::<Url>(keys, name),
        }
    }
}

fn azure(keys: &Keys<'_>) -> Result<(), Fault> {
    if keys.text("authentication_method").is_some_and(|method| method != "OAuth") {
        return Ok(());
    }
    let missing = ["tenant_id", "client_id", "client_secret"];
    match missing.iter().find(|name| keys.text(name).is_none_or(str::is_empty)) {
        Some(name) => Err(keys.fault(name, format!("{name} is missing, which OAuth needs"))),
        None => Ok(()),
    }
}

fn marathon(keys: &Keys<'_>) -> Result<(), Fault> {
    keys.at_most_one_of(&["auth_token", "auth_token_file"])?;
    for token in ["auth_token", "auth_token_file"] {
        for other in ["basic_auth", "authorization", "bearer_token", "bearer_token_file", "oauth2"] {
            keys.at_most_one_of(&[token, other])?;
        }
    }
    Ok(())
}

fn eureka(keys: &Keys<'_>) -> Result<(), Fault> {
    url_is_http(keys, "server")
}

fn puppetdb(keys: &Keys<'_>) -> Result<(), Fault> {
    url_is_http(keys, "url")
}

fn url_is_http(keys: &Keys<'_>, name: &'static str) -> Result<(), Fault> {
    must_be_http(keys, name, &Url::unchecked(keys.text(name).unwrap_or_default()))
}
