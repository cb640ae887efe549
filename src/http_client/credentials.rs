//! Who asks: passwords, tokens, and tokens that another server gives for a secret (OAuth 2.0, RFC 6749, client credentials).

use std::{
    fs, io,
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use form_urlencoded::Serializer;
use hyper::{
    Method, StatusCode, Uri,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue},
};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::{Ask, Client, RequestError, Session};
use crate::config::prometheus::http_client::{self, HeaderValues, HttpClient, SecretSource};

#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialsError {
    #[error("read the secret in {path}: {source}")]
    File { path: String, source: io::Error },
    #[error("the secret in {0} can't be a header: it holds a control character")]
    Header(String),
    #[error("the token's URL {0:?} is none")]
    TokenUrl(String),
    #[error("get a token from {url}: {reason}")]
    Token { url: String, reason: String },
    #[error("oauth2.grant_type jwt-bearer is not supported: use client_credentials")]
    GrantType,
}

/// A secret that stands in the configuration, or is read from a file each time.
pub(super) struct Secret(SecretSource);

impl Secret {
    /// All values of a header of `http_headers`.
    pub(super) fn of_header(values: &HeaderValues) -> Vec<Self> {
        let plain =
            values.values.iter().map(|text| SecretSource::Inline(crate::config::yaml::Secret::new(text.clone())));
        let secrets = values.secrets.iter().map(|secret| SecretSource::Inline(secret.clone()));
        let files = values.files.iter().map(|path| SecretSource::File(path.clone()));
        plain.chain(secrets).chain(files).map(Self).collect()
    }

    fn text(&self) -> Result<String, CredentialsError> {
        read(&self.0)
    }

    pub(super) fn header(&self) -> Result<HeaderValue, CredentialsError> {
        header(&self.text()?, "http_headers")
    }
}

/// The text of a secret, without blanks around it where a file has some.
pub(super) fn read(source: &SecretSource) -> Result<String, CredentialsError> {
    match source {
        SecretSource::Inline(secret) => Ok(secret.expose().to_owned()),
        SecretSource::File(path) => fs::read_to_string(path)
            .map(|text| text.trim().to_owned())
            .map_err(|source| CredentialsError::File { path: path.clone(), source }),
    }
}

fn header(text: &str, place: &str) -> Result<HeaderValue, CredentialsError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| CredentialsError::Header(place.to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// What goes into `Authorization`.
pub(super) enum Credentials {
    None,
    Basic { username: Option<SecretSource>, password: Option<SecretSource> },
    Other { scheme: String, credentials: Option<SecretSource> },
    OAuth2(Box<TokenSource>),
}

impl Credentials {
    pub(super) fn new(config: &HttpClient) -> Self {
        if let Some(basic) = &config.basic_auth {
            return Self::Basic { username: basic.username.clone(), password: basic.password.clone() };
        }
        if let Some(authorization) = &config.authorization {
            let (scheme, credentials) = (authorization.scheme.clone(), authorization.credentials.clone());
            return Self::Other { scheme, credentials };
        }
        match &config.oauth2 {
            Some(oauth2) => Self::OAuth2(Box::new(TokenSource::new(oauth2, config))),
            None => Self::None,
        }
    }

    pub(super) async fn header(&self) -> Result<Option<HeaderValue>, RequestError> {
        let text = |source: &Option<SecretSource>| source.as_ref().map_or(Ok(String::new()), read);
        let value = match self {
            Self::None => return Ok(None),
            Self::Basic { username, password } => {
                let user = format!("{}:{}", text(username)?, text(password)?);
                header(&format!("Basic {}", STANDARD.encode(user)), "basic_auth")?
            }
            Self::Other { scheme, credentials } => {
                header(&format!("{scheme} {}", text(credentials)?), "authorization")?
            }
            // The other server is asked by a client of its own: a cycle that needs an end for the compiler.
            Self::OAuth2(source) => Box::pin(source.header()).await?,
        };
        Ok(Some(value))
    }
}

/// A token is renewed this long before it ends.
const RENEWED_BEFORE: Duration = Duration::from_secs(10);
const TOKEN_BYTES_MAX: usize = 1 << 20;

/// Gets tokens, and keeps one until it ends.
pub(super) struct TokenSource {
    config: http_client::OAuth2,
    client: Arc<Client>,
    current: Mutex<Option<Token>>,
}

struct Token {
    header: HeaderValue,
    ends: Option<Instant>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    #[serde(default)]
    token_type: String,
    expires_in: Option<u64>,
}

impl TokenSource {
    fn new(config: &http_client::OAuth2, outer: &HttpClient) -> Self {
        let own = HttpClient {
            basic_auth: None,
            authorization: None,
            oauth2: None,
            tls: config.tls.clone(),
            proxy: config.proxy.clone(),
            follow_redirects: outer.follow_redirects,
            enable_http2: outer.enable_http2,
            http_headers: Default::default(),
        };
        Self { config: config.clone(), client: Arc::new(Client::new(&own)), current: Mutex::default() }
    }

    async fn header(&self) -> Result<HeaderValue, RequestError> {
        let mut current = self.current.lock().await;
        if let Some(token) = &*current
            && token.ends.is_none_or(|ends| Instant::now() + RENEWED_BEFORE < ends)
        {
            return Ok(token.header.clone());
        }
        let token = self.fetch().await?;
        let header = token.header.clone();
        *current = Some(token);
        Ok(header)
    }

    async fn fetch(&self) -> Result<Token, RequestError> {
        let config = &self.config;
        if !config.grant_type.is_empty() && config.grant_type != "client_credentials" {
            return Err(CredentialsError::GrantType.into());
        }
        let url: Uri = config.token_url.parse().map_err(|_| CredentialsError::TokenUrl(config.token_url.clone()))?;
        let failed = |reason: String| CredentialsError::Token { url: config.token_url.clone(), reason };
        let secret = config.client_secret.as_ref().map_or(Ok(String::new()), read)?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let user = STANDARD.encode(format!("{}:{}", encoded(&config.client_id), encoded(&secret)));
        headers.insert(AUTHORIZATION, header(&format!("Basic {user}"), "oauth2")?);
        let ask = Ask { method: Method::POST, url: &url, headers: &headers, body: Bytes::from(form(config)) };
        let mut session = Session::new(self.client.clone());
        let response = session.ask(ask).await?;
        let status = response.status();
        let mut body = Vec::new();
        session.read_body(response, TOKEN_BYTES_MAX, &mut body).await.map_err(|error| failed(error.to_string()))?;
        if status != StatusCode::OK {
            return Err(failed(format!("it answered with {status}")).into());
        }
        let answer: TokenAnswer = serde_json::from_slice(&body).map_err(|error| failed(error.to_string()))?;
        // Some say "bearer", which not all servers take.
        let kind = match answer.token_type.as_str() {
            kind if kind.is_empty() || kind.eq_ignore_ascii_case("bearer") => "Bearer",
            other => other,
        };
        let ends = answer.expires_in.filter(|seconds| *seconds > 0);
        let ends = ends.and_then(|seconds| Instant::now().checked_add(Duration::from_secs(seconds)));
        Ok(Token { header: header(&format!("{kind} {}", answer.access_token), "the token")?, ends })
    }
}

fn form(config: &http_client::OAuth2) -> String {
    let mut form = Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    if !config.scopes.is_empty() {
        form.append_pair("scope", &config.scopes.join(" "));
    }
    form.extend_pairs(config.endpoint_params.iter());
    form.finish()
}
