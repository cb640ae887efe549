//! The keys of every section that makes HTTP requests: who asks, through which proxy, and whom to trust.

use std::{collections::BTreeMap, path::Path};

use super::url::Url;
use crate::config::yaml::{Fault, Keys, Secret, Section};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HttpClient {
    pub(crate) basic_auth: Option<BasicAuth>,
    pub(crate) authorization: Option<Authorization>,
    pub(crate) oauth2: Option<OAuth2>,
    pub(crate) tls: TlsConfig,
    pub(crate) proxy: Proxy,
    pub(crate) follow_redirects: bool,
    pub(crate) enable_http2: bool,
    pub(crate) http_headers: BTreeMap<String, HeaderValues>,
}

/// A secret as it stands in the file, or where it is read each time that it is needed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SecretSource {
    Inline(Secret),
    File(String),
}

impl SecretSource {
    /// With its path seen from the configuration's folder.
    fn seen_from(&mut self, folder: &Path) {
        if let Self::File(path) = self {
            *path = folder.join(&*path).to_string_lossy().into_owned();
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BasicAuth {
    pub(crate) username: Option<SecretSource>,
    pub(crate) password: Option<SecretSource>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Authorization {
    pub(crate) scheme: String,
    pub(crate) credentials: Option<SecretSource>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OAuth2 {
    pub(crate) client_id: String,
    pub(crate) client_secret: Option<SecretSource>,
    pub(crate) grant_type: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) token_url: String,
    pub(crate) endpoint_params: BTreeMap<String, String>,
    pub(crate) tls: TlsConfig,
    pub(crate) proxy: Proxy,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TlsConfig {
    pub(crate) ca: Option<SecretSource>,
    pub(crate) cert: Option<SecretSource>,
    pub(crate) key: Option<SecretSource>,
    pub(crate) server_name: Option<String>,
    pub(crate) insecure_skip_verify: bool,
    pub(crate) min_version: Option<TlsVersion>,
    pub(crate) max_version: Option<TlsVersion>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TlsVersion {
    Tls10,
    Tls11,
    Tls12,
    Tls13,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Proxy {
    pub(crate) url: Option<Url>,
    pub(crate) no_proxy: Option<String>,
    pub(crate) from_environment: bool,
    pub(crate) connect_header: BTreeMap<String, Vec<Secret>>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct HeaderValues {
    pub(crate) values: Vec<String>,
    pub(crate) secrets: Vec<Secret>,
    pub(crate) files: Vec<String>,
}

/// Headers that the client sets by itself or that other keys are for, in lower case.
const RESERVED_HEADERS: [&str; 14] = [
    "authorization",
    "host",
    "content-encoding",
    "content-length",
    "content-type",
    "user-agent",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "www-authenticate",
    "accept-encoding",
    "x-prometheus-remote-write-version",
    "x-prometheus-remote-read-version",
];

pub(crate) fn is_reserved_header(name: &str) -> bool {
    RESERVED_HEADERS.contains(&name.to_ascii_lowercase().as_str())
}

/// `NAME` or `NAME_file`, not both; `NAME_ref` belongs to secret managers that don't exist here.
fn secret(keys: &mut Keys<'_>, name: &'static str, file: &'static str) -> Result<Option<SecretSource>, Fault> {
    keys.at_most_one_of(&[name, file])?;
    let inline = keys.get::<Secret>(name)?.map(SecretSource::Inline);
    Ok(keys.get::<String>(file)?.map(SecretSource::File).or(inline))
}

impl HttpClient {
    /// Takes its keys from among those of the section that they stand in.
    pub(crate) fn take(keys: &mut Keys<'_>) -> Result<Self, Fault> {
        keys.at_most_one_of(&["bearer_token", "bearer_token_file"])?;
        let has_bearer = keys.has("bearer_token") || keys.has("bearer_token_file");
        if has_bearer {
            let bearer = if keys.has("bearer_token") { "bearer_token" } else { "bearer_token_file" };
            for other in ["authorization", "basic_auth", "oauth2"] {
                keys.at_most_one_of(&[bearer, other])?;
            }
        }
        for pair in [["basic_auth", "authorization"], ["basic_auth", "oauth2"], ["authorization", "oauth2"]] {
            keys.at_most_one_of(&pair)?;
        }
        let basic_auth = keys.get("basic_auth")?;
        let authorization: Option<Authorization> = keys.get("authorization")?;
        let bearer = secret(keys, "bearer_token", "bearer_token_file")?;
        let bearer = bearer.map(|token| Authorization { scheme: "Bearer".to_owned(), credentials: Some(token) });
        let client = Self {
            basic_auth,
            authorization: authorization.or(bearer),
            oauth2: keys.get("oauth2")?,
            tls: keys.or_default("tls_config")?,
            proxy: Proxy::take(keys)?,
            follow_redirects: keys.or("follow_redirects", "true")?,
            enable_http2: keys.or("enable_http2", "true")?,
            http_headers: keys.or_default("http_headers")?,
        };
        match client.http_headers.keys().find(|name| is_reserved_header(name)) {
            Some(name) => {
                Err(keys.fault("http_headers", format!("{name} is set by other keys, or by the client itself")))
            }
            None => Ok(client),
        }
    }

    /// One that says nothing.
    pub(crate) fn plain() -> Self {
        Self {
            basic_auth: None,
            authorization: None,
            oauth2: None,
            tls: TlsConfig::default(),
            proxy: Proxy::default(),
            follow_redirects: true,
            enable_http2: true,
            http_headers: BTreeMap::new(),
        }
    }

    /// With all paths seen from the configuration's folder.
    pub(crate) fn seen_from(&self, folder: &Path) -> Self {
        let mut client = self.clone();
        let basic = client.basic_auth.iter_mut().flat_map(|basic| basic.username.iter_mut().chain(&mut basic.password));
        let authorization = client.authorization.iter_mut().flat_map(|authorization| &mut authorization.credentials);
        let oauth2 =
            client.oauth2.iter_mut().flat_map(|oauth2| oauth2.client_secret.iter_mut().chain(oauth2.tls.secrets()));
        let all = basic.chain(authorization).chain(oauth2).chain(client.tls.secrets());
        all.for_each(|secret| secret.seen_from(folder));
        for path in client.http_headers.values_mut().flat_map(|values| &mut values.files) {
            *path = folder.join(&*path).to_string_lossy().into_owned();
        }
        client
    }

    /// Whether anything is said that a client without these keys would not do.
    pub(crate) fn is_plain(&self) -> bool {
        *self == Self::plain()
    }
}

impl Section for BasicAuth {
    fn take(keys: &mut Keys<'_>) -> Result<Self, Fault> {
        keys.at_most_one_of(&["username", "username_file"])?;
        let username = keys.get::<String>("username")?.map(|name| SecretSource::Inline(Secret::new(name)));
        let username_file = keys.get::<String>("username_file")?.map(SecretSource::File);
        Ok(Self { username: username_file.or(username), password: secret(keys, "password", "password_file")? })
    }
}

impl Section for Authorization {
    fn take(keys: &mut Keys<'_>) -> Result<Self, Fault> {
        let scheme: String = keys.or("type", "Bearer")?;
        let scheme = scheme.trim().to_owned();
        if scheme.eq_ignore_ascii_case("basic") {
            return Err(keys.fault("type", "basic authorization has a section of its own: basic_auth"));
        }
        Ok(Self { scheme, credentials: secret(keys, "credentials", "credentials_file")? })
    }
}

impl TlsConfig {
    fn secrets(&mut self) -> impl Iterator<Item = &mut SecretSource> {
        self.ca.iter_mut().chain(&mut self.cert).chain(&mut self.key)
    }
}

const GRANT_TYPES: [&str; 2] = ["client_credentials", "urn:ietf:params:oauth:grant-type:jwt-bearer"];

impl Section for OAuth2 {
    fn take(keys: &mut Keys<'_>) -> Result<Self, Fault> {
        let grant_type: String = keys.or_default("grant_type")?;
        let is_jwt = grant_type == GRANT_TYPES[1];
        if !grant_type.is_empty() && !GRANT_TYPES.contains(&grant_type.as_str()) {
            return Err(keys.fault("grant_type", format!("{grant_type:?} is none of {}", GRANT_TYPES.join(", "))));
        }
        let client_secret = secret(keys, "client_secret", "client_secret_file")?;
        // What signs the token where it is asked for by one.
        secret(keys, "client_certificate_key", "client_certificate_key_file")?;
        for name in ["client_certificate_key_id", "signature_algorithm", "iss", "audience"] {
            keys.get::<String>(name)?;
        }
        let _claims: BTreeMap<String, String> = keys.or_default("claims")?;
        let client_id: String = keys.or_default("client_id")?;
        if client_id.is_empty() && !is_jwt {
            return Err(keys.fault("client_id", "oauth2 needs client_id"));
        }
        let oauth2 = Self {
            client_id,
            client_secret,
            grant_type,
            scopes: keys.or_default("scopes")?,
            token_url: keys.or_default("token_url")?,
            endpoint_params: keys.or_default("endpoint_params")?,
            tls: keys.or_default("tls_config")?,
            proxy: Proxy::take(keys)?,
        };
        if oauth2.token_url.is_empty() {
            return Err(keys.fault("token_url", "oauth2 needs token_url"));
        }
        Ok(oauth2)
    }
}

impl Section for TlsConfig {
    fn take(keys: &mut Keys<'_>) -> Result<Self, Fault> {
        let inline = |keys: &mut Keys<'_>, name: &'static str, file: &'static str| -> Result<_, Fault> {
            keys.at_most_one_of(&[name, file])?;
            let text = keys.get::<String>(name)?.map(|text| SecretSource::Inline(Secret::new(text)));
            Ok(keys.get::<String>(file)?.map(SecretSource::File).or(text))
        };
        let tls = Self {
            ca: inline(keys, "ca", "ca_file")?,
            cert: inline(keys, "cert", "cert_file")?,
            key: secret(keys, "key", "key_file")?,
            server_name: keys.get("server_name")?,
            insecure_skip_verify: keys.or("insecure_skip_verify", "false")?,
            min_version: tls_version(keys, "min_version")?,
            max_version: tls_version(keys, "max_version")?,
        };
        if tls.cert.is_some() != tls.key.is_some() {
            let name = if tls.cert.is_some() { "cert_file" } else { "key_file" };
            return Err(keys.fault(name, "a client certificate needs both a certificate and its key"));
        }
        if let (Some(min), Some(max)) = (tls.min_version, tls.max_version)
            && min > max
        {
            return Err(keys.fault("max_version", "is below min_version"));
        }
        Ok(tls)
    }
}

fn tls_version(keys: &mut Keys<'_>, name: &'static str) -> Result<Option<TlsVersion>, Fault> {
    let Some(text) = keys.get::<String>(name)? else { return Ok(None) };
    Ok(Some(match text.as_str() {
        "" => return Ok(None),
        "TLS10" => TlsVersion::Tls10,
        "TLS11" => TlsVersion::Tls11,
        "TLS12" => TlsVersion::Tls12,
        "TLS13" => TlsVersion::Tls13,
        _ => return Err(keys.fault(name, format!("{text:?} is none of TLS10, TLS11, TLS12, TLS13"))),
    }))
}

impl Proxy {
    fn take(keys: &mut Keys<'_>) -> Result<Self, Fault> {
        let proxy = Self {
            url: keys.get("proxy_url")?,
            no_proxy: keys.get("no_proxy")?,
            from_environment: keys.get("proxy_from_environment")?.unwrap_or(false),
            connect_header: keys.or_default("proxy_connect_header")?,
        };
        let has_proxy = proxy.url.is_some() || proxy.from_environment;
        let fault = |name, what| Err(keys.fault(name, what));
        match &proxy {
            Self { url: Some(_), from_environment: true, .. } => {
                fault("proxy_from_environment", "is there beside proxy_url: one of them")
            }
            Self { no_proxy: Some(_), from_environment: true, .. } => {
                fault("no_proxy", "is there beside proxy_from_environment, which has its own")
            }
            Self { no_proxy: Some(_), url: None, .. } => {
                fault("no_proxy", "says which hosts proxy_url is not for: it is missing")
            }
            Self { connect_header, .. } if !connect_header.is_empty() && !has_proxy => {
                fault("proxy_connect_header", "needs proxy_url or proxy_from_environment")
            }
            _ => Ok(proxy),
        }
    }
}

impl Section for HeaderValues {
    fn take(keys: &mut Keys<'_>) -> Result<Self, Fault> {
        Ok(Self {
            values: keys.or_default("values")?,
            secrets: keys.or_default("secrets")?,
            files: keys.or_default("files")?,
        })
    }
}
