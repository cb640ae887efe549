//! Keys to sign with: from the configuration, the environment, the file that Amazon's tools share, or the instance that this runs on.

use std::{
    env, fs,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use hyper::{
    Method, StatusCode, Uri,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde::Deserialize;

use super::{AwsError, QueryApi, text_of};
use crate::{
    calendar,
    config::prometheus::discovery::Ec2Sd,
    http_client::{Ask, BodyError, Client, RequestError, Session},
};

/// New ones are got so long before the old ones end.
const EARLY: Duration = Duration::from_secs(300);
const SESSION_NAME: &str = "millrace";
/// Where an instance is told of itself; the variable is that of Amazon's tools.
const INSTANCE: &str = "http://169.254.169.254";
const INSTANCE_VARIABLE: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// An address that leads nowhere, as outside of Amazon's network, is not waited for.
const INSTANCE_TIME_MAX: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialsError {
    #[error("access_key and secret_key go together: one of them is missing")]
    Half,
    #[error("{path} has no profile {profile:?} with aws_access_key_id and aws_secret_access_key")]
    Profile { path: String, profile: String },
    #[error(
        "no keys: neither access_key and secret_key, nor AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, nor a file, nor an \
         instance's role ({0})"
    )]
    None(String),
    #[error("region is missing, and so are AWS_REGION and an instance to ask ({0})")]
    Region(String),
}

#[derive(Clone, PartialEq)]
pub(crate) struct Credentials {
    pub(super) access_key: String,
    pub(super) secret_key: String,
    pub(super) token: Option<String>,
    pub(super) expires: Option<SystemTime>,
}

impl Credentials {
    fn lasting(access_key: String, secret_key: String, token: Option<String>) -> Self {
        Self { access_key, secret_key, token, expires: None }
    }

    pub(super) fn is_fresh(&self) -> bool {
        self.expires.is_none_or(|expires| expires > SystemTime::now() + EARLY)
    }
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// The region that is configured, or that of the environment, or of the instance that this runs on.
pub(super) async fn region(config: &Ec2Sd) -> Result<String, CredentialsError> {
    let configured = config.region.clone().filter(|region| !region.is_empty());
    if let Some(region) = configured.or_else(|| variable("AWS_REGION")).or_else(|| variable("AWS_DEFAULT_REGION")) {
        return Ok(region);
    }
    Instance::new().text("/latest/meta-data/placement/region").await.map_err(CredentialsError::Region)
}

/// Keys to ask with; those of a role, if one is configured.
pub(super) async fn credentials(config: &Ec2Sd, region: &str) -> Result<Credentials, AwsError> {
    let own = own(config).await?;
    match config.role_arn.as_ref().filter(|role| !role.is_empty()) {
        Some(role) => assume(config, role, region, &own).await,
        None => Ok(own),
    }
}

async fn own(config: &Ec2Sd) -> Result<Credentials, CredentialsError> {
    let access_key = config.access_key.clone().filter(|key| !key.is_empty());
    let secret_key = config.secret_key.as_ref().map(|key| key.expose().to_owned()).filter(|key| !key.is_empty());
    match (access_key, secret_key) {
        (Some(access_key), Some(secret_key)) => return Ok(Credentials::lasting(access_key, secret_key, None)),
        (None, None) => {}
        _ => return Err(CredentialsError::Half),
    }
    let profile = config.profile.clone().filter(|profile| !profile.is_empty());
    if profile.is_none()
        && let (Some(key), Some(secret)) = (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY"))
    {
        return Ok(Credentials::lasting(key, secret, variable("AWS_SESSION_TOKEN")));
    }
    if let Some(found) = of_file(profile)? {
        return Ok(found);
    }
    Instance::new().credentials().await.map_err(CredentialsError::None)
}

/// Of the shared file; that it is not there is no mistake, unless a profile of it is asked for.
fn of_file(profile: Option<String>) -> Result<Option<Credentials>, CredentialsError> {
    let in_home = || Some(PathBuf::from(variable("HOME")?).join(".aws/credentials"));
    let path = variable("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from).or_else(in_home).unwrap_or_default();
    let is_wanted = profile.is_some();
    let profile = profile.or_else(|| variable("AWS_PROFILE")).unwrap_or_else(|| "default".to_owned());
    let found = fs::read_to_string(&path).ok().and_then(|text| of_profile(&text, &profile));
    if is_wanted && found.is_none() {
        return Err(CredentialsError::Profile { path: path.display().to_string(), profile });
    }
    Ok(found)
}

/// The file has sections in brackets, each with lines of `key = value`.
fn of_profile(text: &str, profile: &str) -> Option<Credentials> {
    let mut is_inside = false;
    let (mut access_key, mut secret_key, mut token) = (None, None, None);
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            is_inside = name.trim() == profile;
        } else if let Some((key, value)) = line.split_once('=').filter(|_| is_inside) {
            let value = Some(value.trim().to_owned());
            match key.trim() {
                "aws_access_key_id" => access_key = value,
                "aws_secret_access_key" => secret_key = value,
                "aws_session_token" => token = value,
                _ => {}
            }
        }
    }
    Some(Credentials::lasting(access_key?, secret_key?, token))
}

/// Keys of a role, for a while.
async fn assume(config: &Ec2Sd, role: &str, region: &str, own: &Credentials) -> Result<Credentials, AwsError> {
    let url = variable("AWS_ENDPOINT_URL_STS").unwrap_or_else(|| format!("https://sts.{region}.amazonaws.com/"));
    let client = Arc::new(Client::new(&config.client));
    let mut api = QueryApi::new(client, url, ("sts", "2011-06-15"), region);
    let mut parameters =
        vec![("RoleArn".to_owned(), role.to_owned()), ("RoleSessionName".to_owned(), SESSION_NAME.to_owned())];
    if let Some(id) = config.external_id.as_ref().filter(|id| !id.is_empty()) {
        parameters.push(("ExternalId".to_owned(), id.clone()));
    }
    let answer = api.ask(own, "AssumeRole", &parameters).await?;
    let wrong = |reason: String| AwsError::Answer { action: "AssumeRole".to_owned(), reason };
    let document = roxmltree::Document::parse(&answer).map_err(|error| wrong(error.to_string()))?;
    let text = |name: &str| text_of(document.root(), name).ok_or_else(|| wrong(format!("it has no {name}")));
    Ok(Credentials {
        access_key: text("AccessKeyId")?,
        secret_key: text("SecretAccessKey")?,
        token: Some(text("SessionToken")?),
        expires: time_of(&text("Expiration")?),
    })
}

fn time_of(text: &str) -> Option<SystemTime> {
    let nanos = u64::try_from(calendar::parse_rfc3339(text)?).ok()?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos))
}

/// The instance that this runs on, asked by the second version of its protocol: a token first.
struct Instance {
    session: Session,
    base: String,
}

/// Keys as an instance gives them.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InstanceKeys {
    access_key_id: String,
    secret_access_key: String,
    token: Option<String>,
    expiration: Option<String>,
}

impl Instance {
    fn new() -> Self {
        let base = variable(INSTANCE_VARIABLE).unwrap_or_else(|| INSTANCE.to_owned());
        Self {
            session: Session::new(Arc::new(Client::new(&crate::config::prometheus::http_client::HttpClient::plain()))),
            base: base.trim_end_matches('/').to_owned(),
        }
    }

    async fn credentials(&mut self) -> Result<Credentials, String> {
        let folder = "/latest/meta-data/iam/security-credentials/";
        let roles = self.text(folder).await?;
        let role = roles.lines().next().unwrap_or_default().trim();
        let keys = self.text(&format!("{folder}{role}")).await?;
        let keys: InstanceKeys =
            serde_json::from_str(&keys).map_err(|error| format!("the role {role:?} of the instance: {error}"))?;
        Ok(Credentials {
            access_key: keys.access_key_id,
            secret_key: keys.secret_access_key,
            token: keys.token,
            expires: keys.expiration.and_then(|text| time_of(&text)),
        })
    }

    async fn text(&mut self, path: &str) -> Result<String, String> {
        let asked = tokio::time::timeout(INSTANCE_TIME_MAX, self.try_text(path)).await;
        asked.map_err(|_| format!("{} does not answer", self.base))?
    }

    async fn try_text(&mut self, path: &str) -> Result<String, String> {
        let lifetime = ("x-aws-ec2-metadata-token-ttl-seconds", "300");
        let token = self.ask(Method::PUT, "/latest/api/token", lifetime).await?;
        self.ask(Method::GET, path, ("x-aws-ec2-metadata-token", token.trim())).await
    }

    async fn ask(&mut self, method: Method, path: &str, header: (&'static str, &str)) -> Result<String, String> {
        let url = format!("{}{path}", self.base);
        let uri: Uri = url.parse().map_err(|_| format!("{url:?} is no URL"))?;
        let mut headers = HeaderMap::new();
        let value = HeaderValue::try_from(header.1).map_err(|_| format!("the token of {url} is none"))?;
        headers.insert(HeaderName::from_static(header.0), value);
        let ask = Ask { method, url: &uri, headers: &headers, body: Bytes::new() };
        let response = self.session.ask(ask).await.map_err(|error: RequestError| error.to_string())?;
        let status = response.status();
        let mut body = Vec::new();
        let read = self.session.read_body(response, ANSWER_BYTES_MAX, &mut body).await;
        read.map_err(|error: BodyError| error.to_string())?;
        if status != StatusCode::OK {
            return Err(format!("{url} answered HTTP status {status}"));
        }
        Ok(String::from_utf8_lossy(&body).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_has_its_own_keys() {
        let text = "# of two\n[default]\naws_access_key_id = A\naws_secret_access_key=B\n\n[ other ]\naws_access_key_id = C\n\
                    aws_secret_access_key = D=\naws_session_token = T\nregion = x\n[half]\naws_access_key_id = E\n";
        let keys =
            |profile: &str| of_profile(text, profile).map(|found| (found.access_key, found.secret_key, found.token));
        assert_eq!(keys("default"), Some(("A".to_owned(), "B".to_owned(), None)));
        assert_eq!(keys("other"), Some(("C".to_owned(), "D=".to_owned(), Some("T".to_owned()))));
        assert_eq!(keys("half"), None);
    }
}
