//! Amazon's services: who asks, and how a request is signed.

mod credentials;
pub(super) mod ec2;
mod signature;

use std::sync::Arc;

use bytes::Bytes;
use form_urlencoded::Serializer;
use hyper::{
    Method, StatusCode, Uri,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};

use crate::{
    calendar,
    http_client::{Ask, BodyError, Client, RequestError, Session},
};
use credentials::{Credentials, CredentialsError};
use signature::Signing;

/// Ten thousand instances with all that is known of them.
const ANSWER_BYTES_MAX: usize = 128 << 20;
const SHOWN: usize = 300;
const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

#[derive(Debug, thiserror::Error)]
pub(crate) enum AwsError {
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("{action}: {url} answered HTTP status {status}: {text}")]
    Status { action: String, url: String, status: StatusCode, text: String },
    #[error("read the answer of {url}: {source}")]
    Body { url: String, source: BodyError },
    #[error("the answer to {action} is not what it should be: {reason}")]
    Answer { action: String, reason: String },
}

/// One who asks a service of the query protocol: a form goes in, XML comes out.
struct QueryApi {
    session: Session,
    url: String,
    service: &'static str,
    region: String,
    version: &'static str,
}

impl QueryApi {
    fn new(client: Arc<Client>, url: String, (service, version): (&'static str, &'static str), region: &str) -> Self {
        Self { session: Session::new(client), url, service, region: region.to_owned(), version }
    }

    /// What an action answers.
    async fn ask(
        &mut self,
        credentials: &Credentials,
        action: &str,
        parameters: &[(String, String)],
    ) -> Result<String, AwsError> {
        let body = form(action, self.version, parameters);
        let url: Uri = self.url.parse().map_err(|_| RequestError::Url(self.url.clone(), "the endpoint is none"))?;
        let host = url.authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default();
        let signing = Signing { credentials, service: self.service, region: &self.region };
        let time = calendar::compact_s(calendar::now_ms());
        let path = if url.path().is_empty() { "/" } else { url.path() };
        let mut headers = vec![("content-type", FORM.to_owned()), ("host", host), ("x-amz-date", time.clone())];
        if let Some(token) = &credentials.token {
            headers.push(("x-amz-security-token", token.clone()));
        }
        let authorization = signing.authorization("POST", path, "", &headers, body.as_bytes(), &time);
        headers.push(("authorization", authorization));
        let all = headers_of(&headers, &self.url)?;
        let ask = Ask { method: Method::POST, url: &url, headers: &all, body: Bytes::from(body) };
        let response = self.session.ask(ask).await?;
        let status = response.status();
        let mut answer = Vec::new();
        if let Err(source) = self.session.read_body(response, ANSWER_BYTES_MAX, &mut answer).await {
            return Err(AwsError::Body { url: self.url.clone(), source });
        }
        let text = String::from_utf8_lossy(&answer).into_owned();
        if status != StatusCode::OK {
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(SHOWN).collect();
            return Err(AwsError::Status { action: action.to_owned(), url: self.url.clone(), status, text });
        }
        Ok(text)
    }
}

fn form(action: &str, version: &str, parameters: &[(String, String)]) -> String {
    let mut form = Serializer::new(String::new());
    form.append_pair("Action", action).append_pair("Version", version).extend_pairs(parameters);
    form.finish()
}

/// All but the host, which the client itself adds.
fn headers_of(headers: &[(&str, String)], url: &str) -> Result<HeaderMap, RequestError> {
    let mut all = HeaderMap::new();
    for (name, value) in headers.iter().filter(|(name, _)| *name != "host") {
        let refuse = |_| RequestError::Url(url.to_owned(), "a secret for it holds a control character");
        let value = HeaderValue::try_from(value).map_err(refuse)?;
        all.insert(HeaderName::try_from(*name).unwrap_or(CONTENT_TYPE), value);
    }
    Ok(all)
}

/// The text of the first element of that name below a node, wherever it is.
fn text_of(node: roxmltree::Node<'_, '_>, name: &str) -> Option<String> {
    let found = node.descendants().find(|node| node.is_called(name))?;
    Some(found.text().unwrap_or_default().trim().to_owned())
}

/// Names without regard to the namespace that they are in.
trait Named {
    fn is_called(&self, name: &str) -> bool;
}

impl Named for roxmltree::Node<'_, '_> {
    fn is_called(&self, name: &str) -> bool {
        self.is_element() && self.tag_name().name() == name
    }
}
