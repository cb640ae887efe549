//! Connections: to the server itself or through a proxy, with TLS where the URL says so.
//!
//! A connection of HTTP/1.1 has no task of its own: whoever waits for something of it moves it along. With tens of thousands of them, of
//! which each is asked now and then, that spares the wake-ups between two tasks, and an idle one costs nothing.

use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    sync::{Mutex, PoisonError},
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{Empty, Full};
use hyper::{
    Request, Response, StatusCode, Uri,
    body::Incoming,
    client::conn::{http1, http2},
    header::HOST,
    http::uri::PathAndQuery,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    Client, Origin, RequestError,
    proxy::{Proxy, ProxyError},
    with_causes,
};

/// Longer than any network needs; whoever asks mostly waits less.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(30);

/// Bytes that are read at a time, and that a connection holds while it waits to be used again. The default goes up to 400 KiB for each
/// that ever had a large answer, which is gigabytes for fifty thousand targets.
const READ_BYTES_MAX: usize = 16 << 10;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("find the address of {host:?}: {source}")]
    Resolve { host: String, source: io::Error },
    #[error("{host:?} has no address")]
    NoAddress { host: String },
    #[error("connect to {address}: {source}")]
    Dial { address: String, source: io::Error },
    #[error("connect to {address}: it did not answer within {} s", CONNECT_TIME_MAX.as_secs())]
    Slow { address: String },
    #[error("{0:?} is no name that a certificate can be for")]
    ServerName(String),
    #[error("TLS with {host}:{port}: {source}")]
    Handshake { host: String, port: u16, source: io::Error },
    #[error("begin HTTP with {host}:{port}: {reason}")]
    Http { host: String, port: u16, reason: String },
    #[error(transparent)]
    Proxy(#[from] ProxyError),
}

type Body = Full<Bytes>;

enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

/// What moves a connection along, if nobody else does. Never locked: the mutex makes it something that threads may share.
#[derive(Default)]
pub(super) struct Driver(Option<Mutex<Pin<Box<dyn Future<Output = ()> + Send>>>>);

impl Driver {
    /// Waits for something of the connection, moving it along.
    pub(super) async fn drive<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|context| {
            if let Poll::Ready(done) = work.as_mut().poll(context) {
                return Poll::Ready(done);
            }
            let Some(driver) = &mut self.0 else { return Poll::Pending };
            let driver = driver.get_mut().unwrap_or_else(PoisonError::into_inner);
            if driver.as_mut().poll(context).is_ready() {
                self.0 = None;
            }
            work.as_mut().poll(context)
        })
        .await
    }
}

/// An open connection.
pub(super) struct Connection {
    origin: Origin,
    sender: Sender,
    pub(super) driver: Driver,
    /// The server behind which is another one, which is told the whole URL.
    proxy: Option<Proxy>,
}

impl Connection {
    /// Whether it leads to an origin and takes a request. One that the other side has closed meanwhile does not.
    pub(super) async fn is_open_to(&mut self, origin: &Origin) -> bool {
        if self.origin != *origin {
            return false;
        }
        let ready = async {
            match &mut self.sender {
                Sender::Http1(sender) => sender.ready().await,
                Sender::Http2(sender) => sender.ready().await,
            }
        };
        self.driver.drive(ready).await.is_ok()
    }

    pub(super) fn is_http2(&self) -> bool {
        matches!(self.sender, Sender::Http2(_))
    }

    pub(super) async fn send(&mut self, request: Request<Body>) -> Result<Response<Incoming>, hyper::Error> {
        let sending = async {
            match &mut self.sender {
                Sender::Http1(sender) => sender.send_request(request).await,
                Sender::Http2(sender) => sender.send_request(request).await,
            }
        };
        self.driver.drive(sending).await
    }

    /// What stands in the request's first line.
    pub(super) fn target_of(&self, url: &Uri) -> Uri {
        if self.is_http2() || self.proxy.is_some() {
            return url.clone();
        }
        let path = url.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        Uri::from(path)
    }

    /// What a proxy wants to know of each request.
    pub(super) fn add_headers(&self, request: &mut Request<Body>) -> Result<(), ConnectError> {
        if let Some(proxy) = &self.proxy {
            request.headers_mut().extend(proxy.headers()?);
        }
        Ok(())
    }
}

/// Whether a request failed because the connection was not there any more.
pub(super) fn was_closed(error: &hyper::Error) -> bool {
    error.is_canceled() || error.is_closed() || error.is_incomplete_message()
}

/// Connects to an origin.
pub(super) async fn connect(client: &Client, origin: Origin) -> Result<Connection, RequestError> {
    let proxy = client.proxy.of(&origin).map_err(ConnectError::from)?;
    if !origin.is_tls {
        let stream = match &proxy {
            Some(proxy) => dial(&proxy.host, proxy.port).await?,
            None => dial(&origin.host, origin.port).await?,
        };
        let (sender, driver) = begin_http1(stream, &origin).await?;
        return Ok(Connection { origin, sender, driver, proxy });
    }
    let tls = client.tls.config()?;
    let name = client.tls.server_name().unwrap_or(&origin.host).to_owned();
    let name = ServerName::try_from(name.clone()).map_err(|_| ConnectError::ServerName(name))?;
    let connector = TlsConnector::from(tls);
    let failed = |source| ConnectError::Handshake { host: origin.host.clone(), port: origin.port, source };
    let (sender, driver) = match proxy {
        None => {
            let stream = dial(&origin.host, origin.port).await?;
            let stream = connector.connect(name, stream).await.map_err(failed)?;
            begin(stream, &origin).await?
        }
        Some(proxy) => {
            let stream = tunnel(&proxy, &origin).await?;
            let stream = connector.connect(name, stream).await.map_err(failed)?;
            begin(stream, &origin).await?
        }
    };
    Ok(Connection { origin, sender, driver, proxy: None })
}

async fn dial(host: &str, port: u16) -> Result<TcpStream, ConnectError> {
    let resolve = |source| ConnectError::Resolve { host: host.to_owned(), source };
    let addresses = tokio::net::lookup_host((host, port)).await.map_err(resolve)?;
    let mut refusal = ConnectError::NoAddress { host: host.to_owned() };
    for address in addresses {
        let text = address.to_string();
        match tokio::time::timeout(CONNECT_TIME_MAX, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true).map_err(|source| ConnectError::Dial { address: text, source })?;
                return Ok(stream);
            }
            Ok(Err(source)) => refusal = ConnectError::Dial { address: text, source },
            Err(_) => refusal = ConnectError::Slow { address: text },
        }
    }
    Err(refusal)
}

/// HTTP by the version that the handshake came to.
async fn begin<S>(stream: TlsStream<S>, origin: &Origin) -> Result<(Sender, Driver), ConnectError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return begin_http1(stream, origin).await;
    }
    let begun = http2::Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream)).await;
    let (sender, connection) = begun.map_err(|error| not_http(origin, &error))?;
    tokio::spawn(async move { until_closed(connection.await) });
    Ok((Sender::Http2(sender), Driver::default()))
}

async fn begin_http1<S>(stream: S, origin: &Origin) -> Result<(Sender, Driver), ConnectError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let begun = http1::Builder::new().max_buf_size(READ_BYTES_MAX).handshake(TokioIo::new(stream)).await;
    let (sender, connection) = begun.map_err(|error| not_http(origin, &error))?;
    let driver = Box::pin(async move { until_closed(connection.await) });
    Ok((Sender::Http1(sender), Driver(Some(Mutex::new(driver)))))
}

fn not_http(Origin { host, port, .. }: &Origin, error: &hyper::Error) -> ConnectError {
    ConnectError::Http { host: host.clone(), port: *port, reason: with_causes(error) }
}

/// Whoever asked has the error too.
fn until_closed(ended: Result<(), hyper::Error>) {
    if let Err(error) = ended {
        tracing::trace!(%error, "a connection ended");
    }
}

/// Has a proxy connect to an origin; what comes back is as if there were no proxy.
async fn tunnel(proxy: &Proxy, origin: &Origin) -> Result<TokioIo<hyper::upgrade::Upgraded>, ConnectError> {
    let stream = dial(&proxy.host, proxy.port).await?;
    let (mut sender, connection) = http1::Builder::new()
        .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
        .await
        .map_err(|error| proxy.failed(with_causes(&error)))?;
    tokio::spawn(async move { until_closed(connection.with_upgrades().await) });
    let host = if origin.host.contains(':') { format!("[{}]", origin.host) } else { origin.host.clone() };
    let authority = format!("{host}:{}", origin.port);
    let mut request = Request::connect(&authority)
        .header(HOST, &authority)
        .body(Empty::new())
        .map_err(|error| proxy.failed(error.to_string()))?;
    request.headers_mut().extend(proxy.headers()?);
    let response = sender.send_request(request).await.map_err(|error| proxy.failed(with_causes(&error)))?;
    if response.status() != StatusCode::OK {
        return Err(proxy.failed(format!("it answered CONNECT {authority} with {}", response.status())).into());
    }
    let upgraded = hyper::upgrade::on(response).await.map_err(|error| proxy.failed(with_causes(&error)))?;
    Ok(TokioIo::new(upgraded))
}
