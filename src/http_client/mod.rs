//! HTTP as scrapes and discovery need it: what a configuration's client keys say, and what comes back within bounds.
//!
//! A [`Session`] is one who asks the same server again and again; it keeps its connection. A server that hangs, drips, lies about its
//! length or sends without end costs only the session's own time, and the memory that its limit allows.

mod body;
mod connect;
mod credentials;
mod proxy;
mod tls;

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request, Response, StatusCode, Uri,
    body::Incoming,
    header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION},
    http::uri::{Authority, Scheme},
};

use crate::config::prometheus::http_client::HttpClient;

pub(crate) use body::BodyError;
use connect::{ConnectError, Connection};
use credentials::{Credentials, CredentialsError};
use tls::TlsError;

/// As many as Go's client follows.
const REDIRECTS_MAX: usize = 10;

/// What the client keys of a section come to. Files of secrets and certificates are read when they are needed.
pub(crate) struct Client {
    credentials: Credentials,
    tls: tls::Tls,
    proxy: proxy::Proxies,
    follow_redirects: bool,
    headers: Vec<(HeaderName, Vec<credentials::Secret>)>,
    /// Where every request goes, whatever host it names.
    socket: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("{0:?} is no URL that can be asked: {1}")]
    Url(String, &'static str),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error("ask {url}: {reason}")]
    Exchange { url: String, reason: String },
    #[error("stopped after {REDIRECTS_MAX} redirects")]
    Redirects,
}

impl Client {
    pub(crate) fn new(config: &HttpClient) -> Self {
        let headers = config.http_headers.iter().filter_map(|(name, values)| {
            let name = HeaderName::try_from(name.as_str()).ok()?;
            Some((name, credentials::Secret::of_header(values)))
        });
        Self {
            credentials: Credentials::new(config),
            tls: tls::Tls::new(&config.tls, config.enable_http2),
            proxy: proxy::Proxies::new(&config.proxy),
            follow_redirects: config.follow_redirects,
            headers: headers.collect(),
            socket: None,
        }
    }

    /// The same by a socket of this machine.
    pub(crate) fn over_socket(self, path: PathBuf) -> Self {
        Self { socket: Some(path), ..self }
    }
}

/// Who asks.
pub(crate) struct Session {
    client: Arc<Client>,
    connection: Option<Connection>,
}

/// What is asked for.
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    pub(crate) url: &'a Uri,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: Bytes,
}

impl Session {
    pub(crate) fn new(client: Arc<Client>) -> Self {
        Self { client, connection: None }
    }

    /// Gets a URL, following redirects if the configuration says so.
    pub(crate) async fn get(&mut self, url: &Uri, headers: &HeaderMap) -> Result<Response<Incoming>, RequestError> {
        self.ask(Ask { method: Method::GET, url, headers, body: Bytes::new() }).await
    }

    /// Sends a request; one with a body is not sent on to where a redirect leads.
    pub(crate) async fn ask(&mut self, ask: Ask<'_>) -> Result<Response<Incoming>, RequestError> {
        let origin = origin(ask.url)?;
        let mut url = ask.url.clone();
        for _ in 0..=REDIRECTS_MAX {
            let here = self::origin(&url)?;
            // Who is trusted with a password does not trust others with it.
            let with_credentials = here == origin;
            let response = self.ask_once(&ask, &url, &here, with_credentials).await?;
            let follows = self.client.follow_redirects && ask.method == Method::GET && is_redirect(response.status());
            let Some(location) = response.headers().get(LOCATION).filter(|_| follows) else { return Ok(response) };
            url = redirected(&url, location).ok_or_else(|| RequestError::Exchange {
                url: url.to_string(),
                reason: format!("it redirects to {location:?}, which is no URL"),
            })?;
            // What is left of the answer is not waited for.
            self.connection = None;
        }
        Err(RequestError::Redirects)
    }

    /// Reads the body of the last answer into `out`, whose old contents go. On an error nothing is in it.
    pub(crate) async fn read_body(
        &mut self,
        response: Response<Incoming>,
        bytes_max: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), BodyError> {
        let Some(connection) = &mut self.connection else { return Err(BodyError::Gone) };
        let read = body::read(response, bytes_max, out, connection).await;
        match read {
            Ok(()) => connection.rest().await,
            // What is left of it would come before the next answer.
            Err(_) => self.connection = None,
        }
        read
    }

    /// The next piece of a body that comes without end, as it stands. `None`: it has ended.
    pub(crate) async fn next_piece(&mut self, body: &mut Incoming) -> Option<Result<Bytes, BodyError>> {
        let connection = self.connection.as_mut()?;
        loop {
            let frame = connection.drive(body.frame()).await?;
            match frame {
                Ok(frame) => match frame.into_data() {
                    Ok(data) => return Some(Ok(data)),
                    Err(_trailers) => {}
                },
                Err(error) => return Some(Err(BodyError::Read(with_causes(&error)))),
            }
        }
    }

    /// A connection that the other side has closed meanwhile is made anew, once.
    async fn ask_once(
        &mut self,
        ask: &Ask<'_>,
        url: &Uri,
        origin: &Origin,
        with_credentials: bool,
    ) -> Result<Response<Incoming>, RequestError> {
        loop {
            let kept = self.connection.take().filter(|connection| connection.leads_to(origin));
            let is_kept = kept.is_some();
            let mut connection = match kept {
                Some(connection) => connection,
                // Rare, and large.
                None => Box::pin(connect::connect(&self.client, origin.clone())).await?,
            };
            let mut request = self.client.request(ask, url, &connection)?;
            if with_credentials && let Some(value) = self.client.credentials.header().await? {
                request.headers_mut().insert(AUTHORIZATION, value);
            }
            match connection.send(request).await {
                Ok(response) => {
                    self.connection = Some(connection);
                    return Ok(response);
                }
                Err(error) if is_kept && connect::was_closed(&error) => {}
                Err(error) => {
                    return Err(RequestError::Exchange { url: url.to_string(), reason: with_causes(&error) });
                }
            }
        }
    }
}

impl Client {
    fn request(&self, ask: &Ask<'_>, url: &Uri, connection: &Connection) -> Result<Request<Full<Bytes>>, RequestError> {
        let mut request = Request::new(Full::new(ask.body.clone()));
        *request.method_mut() = ask.method.clone();
        *request.uri_mut() = connection.target_of(url);
        request.headers_mut().extend(ask.headers.clone());
        for (name, secrets) in &self.headers {
            for secret in secrets {
                request.headers_mut().append(name.clone(), secret.header()?);
            }
        }
        request.headers_mut().extend(connection.proxy_headers()?);
        if !connection.is_http2() {
            let host = url.authority().map(without_user).unwrap_or_default();
            let host =
                HeaderValue::from_str(&host).map_err(|_| RequestError::Url(url.to_string(), "its host is odd"))?;
            request.headers_mut().insert(HOST, host);
        }
        Ok(request)
    }
}

/// Scheme, host and port: what a connection leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    is_tls: bool,
    host: String,
    port: u16,
}

fn origin(url: &Uri) -> Result<Origin, RequestError> {
    let refuse = |what| RequestError::Url(url.to_string(), what);
    let is_tls = match url.scheme() {
        Some(scheme) if *scheme == Scheme::HTTP => false,
        Some(scheme) if *scheme == Scheme::HTTPS => true,
        _ => return Err(refuse("it begins with neither http:// nor https://")),
    };
    let host = url.host().filter(|host| !host.is_empty()).ok_or_else(|| refuse("it names no host"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = url.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    Ok(Origin { is_tls, host, port })
}

fn without_user(authority: &Authority) -> String {
    let text = authority.as_str();
    text.rsplit_once('@').map_or(text, |(_, host)| host).to_owned()
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Where a `Location` leads, seen from a URL.
fn redirected(url: &Uri, location: &HeaderValue) -> Option<Uri> {
    let location = location.to_str().ok()?;
    let location = location.split('#').next().unwrap_or_default();
    if location.contains("://") {
        return location.parse().ok();
    }
    let (scheme, authority) = (url.scheme_str()?, url.authority()?);
    if let Some(rest) = location.strip_prefix("//") {
        return format!("{scheme}://{rest}").parse().ok();
    }
    let path = match location {
        _ if location.starts_with('/') => location.to_owned(),
        _ if location.starts_with('?') => format!("{}{location}", url.path()),
        _ => {
            let folder = url.path().rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{folder}/{location}")
        }
    };
    format!("{scheme}://{authority}{path}").parse().ok()
}

/// An error with what led to it: the outermost says only that it failed.
pub(crate) fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_seen_from_where_one_is() {
        let url: Uri = "http://host:1/a/b?c=d".parse().expect("a URL");
        for (location, expected) in [
            ("https://other/x", "https://other/x"),
            ("//other/x", "http://other/x"),
            ("/x?y=z", "http://host:1/x?y=z"),
            ("x", "http://host:1/a/x"),
            ("?e=f", "http://host:1/a/b?e=f"),
            ("/x#part", "http://host:1/x"),
        ] {
            let location = HeaderValue::from_static(location);
            assert_eq!(
                redirected(&url, &location).map(|url| url.to_string()).as_deref(),
                Some(expected),
                "{location:?}"
            );
        }
    }

    #[test]
    fn an_origin_has_its_schemes_port() {
        let origin = |url: &str| origin(&url.parse().expect("a URL")).map(|origin| (origin.host, origin.port));
        assert_eq!(origin("https://user:pw@host/x").expect("good"), ("host".to_owned(), 443));
        assert_eq!(origin("http://[::1]:9/x").expect("good"), ("::1".to_owned(), 9));
        assert!(origin("ftp://host").is_err());
    }
}
