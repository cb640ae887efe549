//! `http_sd_configs`: a URL that answers with targets.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use hyper::{
    StatusCode, Uri,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT},
};
use serde::Deserialize;
use tokio::time::timeout;

use super::Updates;
use crate::{
    config::prometheus::discovery::HttpSd,
    http_client::{BodyError, Client, RequestError, Session},
    targets::{TargetGroup, file::group_of},
    version,
};

const URL_LABEL: &str = "__meta_url";
const INTERVAL_HEADER: HeaderName = HeaderName::from_static("x-prometheus-refresh-interval-seconds");
/// Nobody needs targets more often.
const INTERVAL_MIN: Duration = Duration::from_secs(1);
/// A hundred thousand targets with a dozen labels each.
const ANSWER_BYTES_MAX: usize = 128 << 20;

#[derive(Debug, thiserror::Error)]
enum HttpSdError {
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
    #[error("no answer within the refresh interval")]
    Timeout,
}

#[derive(Deserialize)]
struct Group {
    targets: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

pub(super) async fn run(config: HttpSd, folder: PathBuf, updates: Updates) {
    let mut session = Session::new(Arc::new(Client::new(&config.client.seen_from(&folder))));
    let interval = config.refresh_interval.get().max(INTERVAL_MIN);
    let mut ticks = tokio::time::interval(interval);
    let mut failed = false;
    loop {
        ticks.tick().await;
        let found = timeout(interval, groups(&mut session, &config)).await.unwrap_or(Err(HttpSdError::Timeout));
        let is_news = failed != found.is_err();
        failed = found.is_err();
        match found {
            Ok(groups) => updates.replace(groups),
            Err(error) => {
                updates.failed("http");
                if is_news {
                    tracing::error!(job = &*updates.job, url = ?config.url, %error, "get targets; what was found last stands");
                }
            }
        }
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
