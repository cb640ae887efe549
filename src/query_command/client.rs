//! One request to a server's API.

use std::{fmt::Write as _, io, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use form_urlencoded::Serializer;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    HeaderMap, Method, Request, StatusCode, Uri,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT},
};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use model::labels::is_plain_label_name;

use crate::{header_text, http_client::with_causes};

const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// More than a terminal can be meant for.
const ANSWER_BYTES_MAX: usize = 1 << 30;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("{url:?} is no URL of a server, such as http://localhost:9090: {reason}")]
    Url { url: String, reason: String },
    #[error("--header {header:?} is no header: write it as \"Name: value\"")]
    Header { header: String },
    #[error("read the system's certificates: {0}")]
    Certificates(io::Error),
    #[error("start the runtime of the request: {0}")]
    Runtime(io::Error),
    #[error("ask {url}: {reason}")]
    Transport { url: String, reason: String },
}

/// A server's API and what is sent along with each request.
pub(super) struct Api {
    /// Without user and password, without a slash at the end.
    base: String,
    headers: HeaderMap,
}

impl Api {
    pub(super) fn new(server: &str, headers: &[String]) -> Result<Self, ApiError> {
        let refusal = |reason: &str| ApiError::Url { url: without_password(server), reason: reason.to_owned() };
        // As promtool: without a scheme it is http.
        let url = if server.contains("://") { server.to_owned() } else { format!("http://{server}") };
        let uri: Uri = url.parse().map_err(|error: hyper::http::uri::InvalidUri| refusal(&error.to_string()))?;
        let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"));
        let scheme = scheme.ok_or_else(|| refusal("it begins with neither http:// nor https://"))?;
        if uri.query().is_some() {
            return Err(refusal("it has a query"));
        }
        let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
        let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        let mut all = HeaderMap::new();
        all.insert(ACCEPT, HeaderValue::from_static("application/json"));
        all.insert(USER_AGENT, HeaderValue::from_static(concat!("millrace/", env!("CARGO_PKG_VERSION"))));
        if let Some(user) = user {
            all.insert(AUTHORIZATION, basic(user));
        }
        for header in headers {
            let (name, value) =
                header_text::parse(header).ok_or_else(|| ApiError::Header { header: header.clone() })?;
            all.insert(name, value);
        }
        Ok(Self { base: format!("{scheme}://{host}{}", uri.path().trim_end_matches('/')), headers: all })
    }

    /// The answer, whatever its code. A form is sent where the path takes one.
    pub(super) fn ask(&self, path: &str, pairs: &[(&str, String)]) -> Result<(StatusCode, Bytes), ApiError> {
        let url = format!("{}/api/v1/{path}", self.base);
        let failed = |reason: String| ApiError::Transport { url: url.clone(), reason };
        let form = Serializer::new(String::new()).extend_pairs(pairs).finish();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ApiError::Runtime)?;
        let takes_forms = !path.starts_with("label/");
        if takes_forms {
            let mut request = self.request(Method::POST, &url, form.clone().into()).map_err(failed)?;
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
            let (code, body) = runtime.block_on(send(request))?.map_err(failed)?;
            // A server, or a proxy before it, that reads only.
            if code != StatusCode::METHOD_NOT_ALLOWED {
                return Ok((code, body));
            }
        }
        let asked = if form.is_empty() { url.clone() } else { format!("{url}?{form}") };
        let request = self.request(Method::GET, &asked, Bytes::new()).map_err(failed)?;
        runtime.block_on(send(request))?.map_err(failed)
    }

    fn request(&self, method: Method, url: &str, body: Bytes) -> Result<Request<Full<Bytes>>, String> {
        let request = Request::builder().method(method).uri(url).body(Full::new(body));
        let mut request = request.map_err(|error| error.to_string())?;
        request.headers_mut().extend(self.headers.clone());
        Ok(request)
    }
}

/// The outer error is of this machine, the inner one, in words, of the exchange.
async fn send(request: Request<Full<Bytes>>) -> Result<Result<(StatusCode, Bytes), String>, ApiError> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(CONNECT_TIME_MAX));
    let client = if request.uri().scheme_str() == Some("https") {
        let tls = HttpsConnectorBuilder::new().with_native_roots().map_err(ApiError::Certificates)?;
        let connector = tls.https_only().enable_http1().wrap_connector(tcp);
        Client::builder(TokioExecutor::new()).build(connector).request(request)
    } else {
        Client::builder(TokioExecutor::new()).build(tcp).request(request)
    };
    let exchange = async {
        let (head, body) = client.await.map_err(|error| with_causes(&error))?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| with_causes(&*error))?;
        Ok((head.status, body.to_bytes()))
    };
    Ok(exchange.await)
}

/// `user:password`, each with the signs of a URL behind percent signs.
fn basic(user: &str) -> HeaderValue {
    let decoded: String = form_urlencoded::parse(user.replace('+', "%2B").replace('=', "%3D").as_bytes())
        .map(|(text, _)| text.into_owned())
        .collect();
    let text = format!("Basic {}", STANDARD.encode(decoded));
    let mut value = HeaderValue::from_str(&text).expect("base64 is ASCII");
    value.set_sensitive(true);
    value
}

/// For messages.
fn without_password(url: &str) -> String {
    match url.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.split_once('@')?.1))) {
        Some((scheme, rest)) => format!("{scheme}://...@{rest}"),
        None => url.to_owned(),
    }
}

/// As a path takes it: other names than the classic ones are escaped as `U__...`.
pub(super) fn label_in_path(name: &str) -> String {
    if is_plain_label_name(name) {
        return name.to_owned();
    }
    let mut escaped = String::from("U__");
    for (index, character) in name.chars().enumerate() {
        match character {
            '_' => escaped.push_str("__"),
            'a'..='z' | 'A'..='Z' => escaped.push(character),
            '0'..='9' if index > 0 => escaped.push(character),
            other => write!(escaped, "_{:x}_", u32::from(other)).expect("writing to memory"),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_in_the_url_becomes_a_header() {
        let api = Api::new("http://me:p%40ss+=@host:9090/prefix/", &["X-Scope: a b".to_owned()]).expect("a good URL");
        assert_eq!(api.base, "http://host:9090/prefix");
        assert_eq!(api.headers[AUTHORIZATION], format!("Basic {}", STANDARD.encode("me:p@ss+=")));
        assert_eq!(api.headers["x-scope"], "a b");
    }

    #[test]
    fn bad_urls_are_named_without_the_password() {
        let text = |url: &str| Api::new(url, &[]).err().map(|error| error.to_string()).unwrap_or_default();
        assert_eq!(text("localhost:9090"), "");
        let secret = text("ftp://me:secret@host");
        assert!(secret.contains("neither http:// nor https://"), "{secret}");
        assert!(!secret.contains("secret") && secret.contains("ftp://...@host"), "{secret}");
    }

    #[test]
    fn names_in_paths_are_escaped_as_prometheus_does() {
        let names = ["job", "http.status", "1a_b", "\u{1F600}"].map(label_in_path);
        assert_eq!(names, ["job", "U__http_2e_status", "U___31_a__b", "U___1f600_"]);
    }
}
