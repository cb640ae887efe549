//! Servers that answer in JSON.

use std::sync::Arc;

use bytes::Bytes;
use hyper::{
    Response, StatusCode, Uri,
    body::Incoming,
    header::{ACCEPT, HeaderMap, HeaderName, HeaderValue, USER_AGENT},
};
use serde::de::DeserializeOwned;

use crate::{
    http_client::{BodyError, Client, RequestError, Session},
    version,
};

/// A hundred thousand objects with all that a cluster knows of them.
const ANSWER_BYTES_MAX: usize = 512 << 20;
/// What is shown of an answer that is none.
const SHOWN: usize = 200;

#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("{url} answered HTTP status {status}: {text}")]
    Status { url: String, status: StatusCode, text: String },
    #[error("read the answer of {url}: {source}")]
    Body { url: String, source: BodyError },
    #[error("the answer of {url} is not what it should be: {source}")]
    Json { url: String, source: serde_json::Error },
}

/// One who asks such a server.
pub(super) struct JsonApi {
    session: Session,
    headers: HeaderMap,
}

impl JsonApi {
    pub(super) fn new(client: Client) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::try_from(format!("Millrace/{}", version::VERSION)).expect("ASCII"));
        Self { session: Session::new(Arc::new(client)), headers }
    }

    /// A header of every request; one whose value can't be one is left out, and the server says what it misses.
    pub(super) fn with_header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::try_from(value) {
            self.headers.insert(name, value);
        }
        self
    }

    pub(super) async fn get<T: DeserializeOwned>(&mut self, url: &str) -> Result<T, ApiError> {
        self.get_with_headers(url).await.map(|(_, answer)| answer)
    }

    /// The answer with its headers.
    pub(super) async fn get_with_headers<T: DeserializeOwned>(
        &mut self,
        url: &str,
    ) -> Result<(HeaderMap, T), ApiError> {
        let response = self.open(url).await?;
        let headers = response.headers().clone();
        let body = self.body(url, response).await?;
        match serde_json::from_slice(&body) {
            Ok(answer) => Ok((headers, answer)),
            Err(source) => Err(ApiError::Json { url: url.to_owned(), source }),
        }
    }

    /// An answer whose body is still to be read, and which is no refusal.
    pub(super) async fn open(&mut self, url: &str) -> Result<Response<Incoming>, ApiError> {
        let uri: Uri = url
            .parse()
            .map_err(|_| RequestError::Url(url.to_owned(), "it holds signs that have to stand behind percent signs"))?;
        let response = self.session.get(&uri, &self.headers).await?;
        let status = response.status();
        if status == StatusCode::OK {
            return Ok(response);
        }
        let body = self.body(url, response).await?;
        let text: String = String::from_utf8_lossy(&body).trim().chars().take(SHOWN).collect();
        Err(ApiError::Status { url: url.to_owned(), status, text })
    }

    /// The next piece of an answer that comes without end; `None`: it has ended.
    pub(super) async fn next_piece(&mut self, body: &mut Incoming) -> Option<Result<Bytes, BodyError>> {
        self.session.next_piece(body).await
    }

    async fn body(&mut self, url: &str, response: Response<Incoming>) -> Result<Vec<u8>, ApiError> {
        let mut body = Vec::new();
        match self.session.read_body(response, ANSWER_BYTES_MAX, &mut body).await {
            Ok(()) => Ok(body),
            Err(source) => Err(ApiError::Body { url: url.to_owned(), source }),
        }
    }
}

/// A name with `_` in place of what the name of a label can't have.
pub(super) fn label_name(text: &str) -> String {
    text.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).collect()
}

/// `host:port`, with an address of IPv6 in brackets.
pub(super) fn host_port(host: &str, port: impl std::fmt::Display) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
