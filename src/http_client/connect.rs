//! Connections: to the server itself or through a proxy, with TLS where the URL says so.
//!
//! A connection of HTTP/1.1 has no task of its own: whoever waits for something of it moves it along, which spares the wake-ups between two
//! tasks. And between two requests it is a stream without buffers: there are tens of thousands, of which each is asked now and then.

use std::{
    future::{Future, poll_fn},
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{Empty, Full};
use hyper::{
    Request, Response, StatusCode, Uri,
    body::Incoming,
    client::conn::{http1, http2},
    header::{HOST, HeaderMap},
    http::uri::PathAndQuery,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    sync::Semaphore,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    Client, Origin, RequestError,
    proxy::{Proxy, ProxyError},
    with_causes,
};

/// Longer than any network needs; whoever asks mostly waits less.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(30);

/// Bytes that are read at a time.
const READ_BYTES_MAX: usize = 64 << 10;

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

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}
type Stream = Box<dyn Io>;

/// An open connection.
pub(super) struct Connection {
    origin: Origin,
    link: Link,
    /// The server behind which is another one, which is told the whole URL.
    proxy: Option<Proxy>,
}

enum Link {
    /// HTTP begins anew on it with each request, so that an idle connection holds no buffers.
    Idle(Stream),
    Http1(Box<Exchange>),
    Http2(http2::SendRequest<Body>),
    /// It can't be used any more.
    Ended,
}

/// A request under way.
pub(super) struct Exchange {
    sender: http1::SendRequest<Body>,
    /// What moves it along; `None` once there is nothing more to come.
    connection: Option<http1::Connection<TokioIo<Stream>, Body>>,
}

/// Waits for something of a connection, moving it along.
async fn drive<T>(
    connection: &mut Option<http1::Connection<TokioIo<Stream>, Body>>,
    work: impl Future<Output = T>,
) -> T {
    let mut work = pin!(work);
    poll_fn(|context| {
        if let Poll::Ready(done) = work.as_mut().poll(context) {
            return Poll::Ready(done);
        }
        if let Some(driver) = connection
            && let Poll::Ready(ended) = Pin::new(driver).poll(context)
        {
            until_closed(ended);
            *connection = None;
        }
        work.as_mut().poll(context)
    })
    .await
}

impl Exchange {
    /// The connection for the next request, if the other side keeps it open.
    async fn finish(mut self) -> Option<Stream> {
        drive(&mut self.connection, self.sender.ready()).await.ok()?;
        let parts = self.connection?.into_parts();
        parts.read_buf.is_empty().then(|| parts.io.into_inner())
    }
}

impl Connection {
    /// Whether it leads to an origin and takes a request: one whose last answer was not read to its end does not.
    pub(super) fn leads_to(&self, origin: &Origin) -> bool {
        self.origin == *origin && matches!(self.link, Link::Idle(_) | Link::Http2(_))
    }

    pub(super) fn is_http2(&self) -> bool {
        matches!(self.link, Link::Http2(_))
    }

    pub(super) async fn send(&mut self, request: Request<Body>) -> Result<Response<Incoming>, hyper::Error> {
        let link = std::mem::replace(&mut self.link, Link::Ended);
        let stream = match link {
            Link::Http2(mut sender) => {
                sender.ready().await?;
                let response = sender.send_request(request).await;
                self.link = Link::Http2(sender);
                return response;
            }
            Link::Idle(stream) => stream,
            Link::Http1(_) | Link::Ended => unreachable!("whoever sends has asked where it leads"),
        };
        let begun = http1::Builder::new().max_buf_size(READ_BYTES_MAX).handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = begun?;
        let mut connection = Some(connection);
        let response = drive(&mut connection, sender.send_request(request)).await;
        self.link = Link::Http1(Box::new(Exchange { sender, connection }));
        response
    }

    /// Waits for something of the last answer, moving the connection along.
    pub(super) async fn drive<T>(&mut self, work: impl Future<Output = T>) -> T {
        match &mut self.link {
            Link::Http1(exchange) => drive(&mut exchange.connection, work).await,
            Link::Idle(_) | Link::Http2(_) | Link::Ended => work.await,
        }
    }

    /// The last answer was read to its end.
    pub(super) async fn rest(&mut self) {
        self.link = match std::mem::replace(&mut self.link, Link::Ended) {
            Link::Http1(exchange) => exchange.finish().await.map_or(Link::Ended, Link::Idle),
            other => other,
        };
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
    pub(super) fn proxy_headers(&self) -> Result<HeaderMap, ConnectError> {
        Ok(self.proxy.as_ref().map(Proxy::headers).transpose()?.unwrap_or_default())
    }
}

/// Whether a request failed because the connection was not there any more.
pub(super) fn was_closed(error: &hyper::Error) -> bool {
    error.is_canceled() || error.is_closed() || error.is_incomplete_message()
}

/// Connects to an origin.
pub(super) async fn connect(client: &Client, origin: Origin) -> Result<Connection, RequestError> {
    if let Some(path) = &client.socket {
        let dial = |source| ConnectError::Dial { address: path.display().to_string(), source };
        let stream = UnixStream::connect(path).await.map_err(dial)?;
        return Ok(Connection { origin, link: Link::Idle(Box::new(stream)), proxy: None });
    }
    let proxy = client.proxy.of(&origin).map_err(ConnectError::from)?;
    if !origin.is_tls {
        let stream = match &proxy {
            Some(proxy) => dial(&proxy.host, proxy.port).await?,
            None => dial(&origin.host, origin.port).await?,
        };
        return Ok(Connection { origin, link: Link::Idle(Box::new(stream)), proxy });
    }
    let tls = client.tls.config()?;
    let name = client.tls.server_name().unwrap_or(&origin.host).to_owned();
    let name = ServerName::try_from(name.clone()).map_err(|_| ConnectError::ServerName(name))?;
    let connector = TlsConnector::from(tls);
    let failed = |source| ConnectError::Handshake { host: origin.host.clone(), port: origin.port, source };
    let link = match proxy {
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
    Ok(Connection { origin, link, proxy: None })
}

/// Names that are looked up at a time. The system's way holds a thread for as long as a name server takes, and queries need those threads too.
static LOOKUPS: Semaphore = Semaphore::const_new(8);

async fn addresses_of(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let place = LOOKUPS.acquire().await.map_err(io::Error::other)?;
    let host = host.to_owned();
    let looked_up = tokio::task::spawn_blocking(move || {
        // Held by the thread, for it goes on when nobody waits any more.
        let _place = place;
        (host.as_str(), port).to_socket_addrs().map(Iterator::collect)
    });
    looked_up.await.map_err(io::Error::other)?
}

async fn dial(host: &str, port: u16) -> Result<TcpStream, ConnectError> {
    let resolve = |source| ConnectError::Resolve { host: host.to_owned(), source };
    let addresses = addresses_of(host, port).await.map_err(resolve)?;
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
async fn begin<S>(stream: TlsStream<S>, origin: &Origin) -> Result<Link, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Ok(Link::Idle(Box::new(stream)));
    }
    let begun = http2::Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream)).await;
    let (sender, connection) = begun.map_err(|error| not_http(origin, &error))?;
    tokio::spawn(async move { until_closed(connection.await) });
    Ok(Link::Http2(sender))
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
