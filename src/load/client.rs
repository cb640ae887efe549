//! One kept HTTP/1.1 connection to a remote-write endpoint.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    HeaderMap, Request, Uri,
    client::conn::http1::{self, SendRequest},
    header::{CONTENT_ENCODING, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT},
    http::request::Builder,
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use wire::remote_write::Protocol;

use crate::header_text;

/// Where to write, checked.
#[derive(Debug)]
pub(super) struct Endpoint {
    uri: Uri,
    host: String,
    port: u16,
    headers: HeaderMap,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum EndpointError {
    #[error("{url:?} is not an address: {reason}")]
    Address { url: String, reason: String },
    #[error("{url:?}: only http:// is spoken here; for a server behind TLS write to it through a local proxy")]
    Scheme { url: String },
    #[error("{header:?} is not a header: write it as \"Name: value\"")]
    Header { header: String },
}

impl Endpoint {
    pub(super) fn parse(url: &str, headers: &[String]) -> Result<Self, EndpointError> {
        let address = |reason: String| EndpointError::Address { url: url.to_owned(), reason };
        let uri: Uri = url.parse().map_err(|error: hyper::http::uri::InvalidUri| address(error.to_string()))?;
        if uri.scheme_str() != Some("http") {
            return Err(EndpointError::Scheme { url: url.to_owned() });
        }
        let host = uri.host().ok_or_else(|| address("it names no host".to_owned()))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(80);
        Ok(Self { host, port, headers: parse_headers(headers)?, uri })
    }

    fn request(&self, protocol: Protocol, body: Bytes) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let mut request = self
            .post(protocol.content_type())
            .header(CONTENT_ENCODING, "snappy")
            .header("X-Prometheus-Remote-Write-Version", protocol.version_header())
            .body(Full::new(body))?;
        request.headers_mut().extend(self.headers.clone());
        Ok(request)
    }

    /// A request that carries a form.
    pub(super) fn form(&self, body: String) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let mut request = self.post("application/x-www-form-urlencoded").body(Full::new(body.into()))?;
        request.headers_mut().extend(self.headers.clone());
        Ok(request)
    }

    fn post(&self, content_type: &str) -> Builder {
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        Request::post(self.uri.path_and_query().map_or("/", |path| path.as_str()))
            .header(HOST, authority)
            .header(USER_AGENT, concat!("millrace-load/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, content_type)
    }
}

fn parse_headers(headers: &[String]) -> Result<HeaderMap, EndpointError> {
    headers
        .iter()
        .map(|header| header_text::parse(header).ok_or_else(|| EndpointError::Header { header: header.clone() }))
        .collect()
}

/// What a server answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Of a 2.0 receiver: how many float samples it says it has written.
    pub(super) samples_written: Option<u64>,
    pub(super) retry_after: Option<Duration>,
    /// The beginning of the body.
    pub(super) text: String,
}

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum TransportError {
    #[error("connect: {0}")]
    Connect(io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("{0}")]
    Request(#[from] hyper::http::Error),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

/// Bytes of an answer that are read, and characters of it that are kept.
const ANSWER_BYTES_MAX: usize = 64 << 10;
const TEXT_CHARS_MAX: usize = 300;

/// A connection that is made when it is needed and kept while it lasts.
pub(super) struct Client {
    endpoint: Arc<Endpoint>,
    protocol: Protocol,
    timeout: Duration,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    pub(super) fn new(endpoint: Arc<Endpoint>, protocol: Protocol, timeout: Duration) -> Self {
        Self { endpoint, protocol, timeout, connection: None }
    }

    /// Sends one body. After an error the next call connects anew.
    pub(super) async fn post(&mut self, body: Bytes) -> Result<Answer, TransportError> {
        let timeout = self.timeout;
        let result = tokio::time::timeout(timeout, self.exchange(body)).await;
        let result = result.unwrap_or(Err(TransportError::Timeout(timeout)));
        if result.is_err() {
            self.connection = None;
        }
        result
    }

    async fn exchange(&mut self, body: Bytes) -> Result<Answer, TransportError> {
        let request = self.endpoint.request(self.protocol, body)?;
        let mut connection = match self.connection.take() {
            Some(connection) if !connection.is_closed() => connection,
            _ => connect(&self.endpoint).await?,
        };
        connection.ready().await?;
        let response = connection.send_request(request).await?;
        let (head, body) = response.into_parts();
        let kept = match Limited::new(body, ANSWER_BYTES_MAX).collect().await {
            Ok(body) => {
                self.connection = Some(connection);
                body.to_bytes()
            }
            // The status stands; a body that is too long or cut off costs the connection.
            Err(_) => Bytes::new(),
        };
        Ok(Answer {
            status: head.status.as_u16(),
            samples_written: number(&head.headers, "x-prometheus-remote-write-samples-written"),
            retry_after: number(&head.headers, RETRY_AFTER.as_str()).map(Duration::from_secs),
            text: String::from_utf8_lossy(&kept).trim().chars().take(TEXT_CHARS_MAX).collect(),
        })
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

pub(super) async fn connect(endpoint: &Endpoint) -> Result<SendRequest<Full<Bytes>>, TransportError> {
    let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await.map_err(TransportError::Connect)?;
    stream.set_nodelay(true).map_err(TransportError::Connect)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the sender; what goes wrong on the connection reaches the sender too.
    tokio::spawn(connection);
    Ok(sender)
}
