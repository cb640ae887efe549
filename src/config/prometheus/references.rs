//! Files that a configuration names and that are read when they are needed: whoever checks it wants them to be there now.

use std::path::{Path, PathBuf};

use super::{
    FileConfig,
    discovery::Discovery,
    files_of,
    http_client::{HttpClient, SecretSource, TlsConfig},
};

/// A file, and the part of the configuration that names it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) named_by: String,
    pub(crate) path: PathBuf,
}

struct References<'c> {
    folder: &'c Path,
    found: Vec<Reference>,
}

impl FileConfig {
    /// All of them, seen from the configuration's folder; of paths with globs those that the globs mean.
    pub(crate) fn references(&self, folder: &Path) -> Vec<Reference> {
        let mut references = References { folder, found: Vec::new() };
        for job in &self.scrape_configs {
            let name = format!("job {}", job.job_name);
            references.client(&name, &job.client);
            references.discovery(&name, &job.discovery);
        }
        for (at, remote) in self.remote_write.iter().enumerate() {
            references.client(&format!("remote_write[{at}]"), &remote.client);
        }
        for (at, remote) in self.remote_read.iter().enumerate() {
            references.client(&format!("remote_read[{at}]"), &remote.client);
        }
        for (at, managers) in self.alerting.iter().flat_map(|alerting| &alerting.alertmanagers).enumerate() {
            let name = format!("alerting.alertmanagers[{at}]");
            references.client(&name, &managers.client);
            references.discovery(&name, &managers.discovery);
        }
        if let Some(tracing) = &self.tracing {
            references.tls("tracing", &tracing.tls);
        }
        for pattern in &self.rule_files {
            for path in files_of(pattern) {
                references.found.push(Reference { named_by: "rule_files".to_owned(), path });
            }
        }
        references.found
    }
}

impl References<'_> {
    fn add(&mut self, named_by: &str, key: &str, source: Option<&SecretSource>) {
        if let Some(SecretSource::File(path)) = source {
            self.found.push(Reference { named_by: format!("{named_by}, {key}"), path: self.folder.join(path) });
        }
    }

    fn client(&mut self, named_by: &str, client: &HttpClient) {
        if let Some(basic) = &client.basic_auth {
            self.add(named_by, "basic_auth.username_file", basic.username.as_ref());
            self.add(named_by, "basic_auth.password_file", basic.password.as_ref());
        }
        if let Some(authorization) = &client.authorization {
            self.add(named_by, "authorization.credentials_file", authorization.credentials.as_ref());
        }
        if let Some(oauth2) = &client.oauth2 {
            self.add(named_by, "oauth2.client_secret_file", oauth2.client_secret.as_ref());
            self.tls(&format!("{named_by}, oauth2"), &oauth2.tls);
        }
        for path in client.http_headers.values().flat_map(|values| &values.files) {
            self.add(named_by, "http_headers", Some(&SecretSource::File(path.clone())));
        }
        self.tls(named_by, &client.tls);
    }

    fn tls(&mut self, named_by: &str, tls: &TlsConfig) {
        self.add(named_by, "tls_config.ca_file", tls.ca.as_ref());
        self.add(named_by, "tls_config.cert_file", tls.cert.as_ref());
        self.add(named_by, "tls_config.key_file", tls.key.as_ref());
    }

    fn discovery(&mut self, named_by: &str, all: &[Discovery]) {
        for mechanism in all {
            let client = match mechanism {
                Discovery::Http(http) => &http.client,
                Discovery::Consul(consul) => &consul.client,
                Discovery::Kubernetes(kubernetes) => &kubernetes.client,
                Discovery::Docker(docker) => &docker.client,
                Discovery::Ec2(ec2) => &ec2.client,
                Discovery::Static(_) | Discovery::File(_) | Discovery::Dns(_) | Discovery::Other(_) => continue,
            };
            self.client(named_by, client);
        }
    }
}
