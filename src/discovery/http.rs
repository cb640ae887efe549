//! `http_sd_configs`: a URL that answers with targets.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use hyper::{
    StatusCode, Uri,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT},
};
use serde::Deserialize;

use super::poll::Refresh;
use crate::{
    config::prometheus::discovery::HttpSd,
    http_client::{BodyError, Client, RequestError, Session},
    targets::{TargetGroup, file::group_of},
    version,
};

const URL_LABEL: &str = "__meta_url";
const INTERVAL_HEADER: HeaderName = HeaderName::from_static("x-prometheus-refresh-interval-seconds");
/// A hundred thousand targets with a dozen labels each.
const ANSWER_BYTES_MAX: usize = 128 << 20;

#[derive(Debug, thiserror::Error)]
pub(super) enum HttpSdError {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("server returned HTTP status {0}")]
    Status(StatusCode),
    #[error("unsupported content type {0:?}: it has to be application/json")]
    ContentType(String),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("the answer is no list of targets: {0}")]
    Json(#[from] serde_json::Error),
}

#[derive(Deserialize)]
struct Group {
    targets: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

pub(super) struct HttpDiscovery {
    config: HttpSd,
    session: Session,
}

impl HttpDiscovery {
    pub(super) fn new(config: HttpSd, folder: &Path) -> Self {
        let session = Session::new(Arc::new(Client::new(&config.client.seen_from(folder))));
        Self { config, session }
    }
}

impl Refresh for HttpDiscovery {
    type Error = HttpSdError;

    const MECHANISM: &'static str = "http";

    fn place(&self) -> String {
        format!("{:?}", self.config.url)
    }

    async fn refresh(&mut self) -> Result<Vec<TargetGroup>, HttpSdError> {
        groups(&mut self.session, &self.config).await
    }
}

async fn groups(session: &mut Session, config: &HttpSd) -> Result<Vec<TargetGroup>, HttpSdError> {
    let url: Uri = config.url.as_str().parse().map_err(|_| {
        RequestError::Url(format!("{:?}", config.url), "it holds signs that have to stand behind percent signs")
    })?;
    let mut headers = HeaderMap::new();
    let interval = config.refresh_interval.get().as_secs_f64().to_string();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::try_from(format!("Millrace/{}", version::VERSION)).expect("ASCII"));
    headers.insert(INTERVAL_HEADER, HeaderValue::try_from(interval).expect("a number is ASCII"));
    let response = session.get(&url, &headers).await?;
    if response.status() != StatusCode::OK {
        return Err(HttpSdError::Status(response.status()));
    }
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if content_type.split(';').next().is_none_or(|media| media.trim() != "application/json") {
        return Err(HttpSdError::ContentType(content_type.to_owned()));
    }
    let mut body = Vec::new();
    session.read_body(response, ANSWER_BYTES_MAX, &mut body).await?;
    let groups: Vec<Group> = serde_json::from_slice(&body)?;
    let url = config.url.as_str().to_owned();
    let group = |Group { targets, mut labels }: Group| {
        labels.insert(URL_LABEL.to_owned(), url.clone());
        group_of(&targets, &labels)
    };
    Ok(groups.into_iter().map(group).collect())
}
