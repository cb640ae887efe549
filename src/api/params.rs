//! Parameters of a request: the URL's query and, for POST, a form; and what their values mean.

use std::num::{IntErrorKind, ParseIntError};

use axum::{
    body::Body,
    extract::{FromRequest, Request},
    http::{Method, header},
};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use super::error::{ApiError, ErrorKind};
use crate::{api::Shared, calendar, config::units::PromDuration};

/// Bound on a form, Go's own.
const FORM_BYTES_MAX: usize = 10 << 20;

/// Parameters in order: those of the form first, then those of the URL.
#[derive(Debug, Default)]
pub(crate) struct Params {
    pairs: Vec<(String, String)>,
}

impl FromRequest<Shared> for Params {
    type Rejection = ApiError;

    async fn from_request(request: Request, shared: &Shared) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let mut pairs = Vec::new();
        if matches!(parts.method, Method::POST | Method::PUT) && is_form(&parts.headers) {
            let bytes = tokio::time::timeout(shared.flags.read_timeout.get(), read_form(body)).await;
            let bytes = bytes
                .map_err(|_| ApiError::bad_data("error parsing form values: the form did not arrive in time"))??;
            pairs.extend(form_urlencoded::parse(&bytes).into_owned());
        }
        if let Some(query) = parts.uri.query() {
            pairs.extend(form_urlencoded::parse(query.as_bytes()).into_owned());
        }
        Ok(Self { pairs })
    }
}

fn is_form(headers: &axum::http::HeaderMap) -> bool {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

async fn read_form(body: Body) -> Result<bytes::Bytes, ApiError> {
    match Limited::new(body, FORM_BYTES_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::bad_data(format!(
            "error parsing form values: the form is larger than {FORM_BYTES_MAX} bytes"
        ))),
        Err(error) => Err(ApiError::new(ErrorKind::Canceled, format!("error parsing form values: {error}"))),
    }
}

impl Params {
    #[cfg(test)]
    pub(crate) fn from_query(query: &str) -> Self {
        Self { pairs: form_urlencoded::parse(query.as_bytes()).into_owned().collect() }
    }

    /// The first value of a name; absent and empty are the same.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next().filter(|value| !value.is_empty())
    }

    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.pairs.iter().filter(move |(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    /// Milliseconds since the epoch, of a parameter that may be left out.
    pub(crate) fn time_or(&self, name: &str, default: i64) -> Result<i64, ApiError> {
        let explain = |reason| ApiError::bad_parameter(name, format!("invalid time value for '{name}': {reason}"));
        self.get(name).map_or(Ok(default), |text| parse_time(text).map_err(explain))
    }

    pub(crate) fn required_time(&self, name: &str) -> Result<i64, ApiError> {
        let text = self.get(name).unwrap_or_default();
        parse_time(text).map_err(|reason| ApiError::bad_parameter(name, reason))
    }

    /// Milliseconds, may be negative; the reason alone if the text is none.
    pub(crate) fn duration(&self, name: &str) -> Result<Option<i64>, String> {
        self.get(name).map(parse_duration).transpose()
    }

    pub(crate) fn required_duration(&self, name: &str) -> Result<i64, ApiError> {
        let text = self.get(name).unwrap_or_default();
        parse_duration(text).map_err(|reason| ApiError::bad_parameter(name, reason))
    }

    /// The bound on the number of results; `None` for none.
    pub(crate) fn limit(&self) -> Result<Option<usize>, ApiError> {
        let Some(text) = self.get("limit") else { return Ok(None) };
        // The words are those of Go's strconv, which clients of Prometheus get to see.
        let explain = |error: ParseIntError| {
            let overflow = matches!(error.kind(), IntErrorKind::PosOverflow | IntErrorKind::NegOverflow);
            let what = if overflow { "value out of range" } else { "invalid syntax" };
            ApiError::bad_parameter("limit", format!("strconv.Atoi: parsing {text:?}: {what}"))
        };
        let limit = text.parse::<i64>().map_err(explain)?;
        let limit =
            usize::try_from(limit).map_err(|_| ApiError::bad_parameter("limit", "limit must be non-negative"))?;
        Ok(Some(limit).filter(|limit| *limit > 0))
    }
}

/// Seconds with a fraction, or RFC 3339.
fn parse_time(text: &str) -> Result<i64, String> {
    let failed = || format!("cannot parse {text:?} to a valid timestamp");
    if let Some(seconds) = go_float(text) {
        let ms = (seconds * 1000.0).round();
        return if ms.abs() < i64::MAX as f64 { Ok(ms as i64) } else { Err(failed()) };
    }
    match text {
        // What a client gets that prints Go's smallest and largest times.
        "-292273086-05-16T16:47:06Z" => return Ok(i64::MIN),
        "+292277025-08-18T07:12:54.999999999Z" => return Ok(i64::MAX),
        _ => {}
    }
    let nanos = calendar::parse_rfc3339(text).ok_or_else(failed)?;
    i64::try_from(nanos.div_euclid(1_000_000)).map_err(|_| failed())
}

/// Seconds with a fraction, or Prometheus' notation.
fn parse_duration(text: &str) -> Result<i64, String> {
    if let Some(seconds) = go_float(text) {
        let nanos = seconds * 1e9;
        if nanos.is_nan() || nanos.abs() > i64::MAX as f64 {
            return Err(format!("cannot parse {text:?} to a valid duration. It overflows int64"));
        }
        return Ok((nanos / 1e6).trunc() as i64);
    }
    let duration: PromDuration = text.parse().map_err(|_| format!("cannot parse {text:?} to a valid duration"))?;
    i64::try_from(duration.ms()).map_err(|_| format!("cannot parse {text:?} to a valid duration"))
}

/// A float as Go reads it, as far as clients write it: Rust's words for infinity and NaN are Go's too.
fn go_float(text: &str) -> Option<f64> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_dates() {
        let check = |text: &str, time: Result<i64, &str>| {
            let time = time.map_err(|reason| format!("invalid parameter \"start\": {reason}"));
            let params = Params { pairs: vec![("start".to_owned(), text.to_owned())] };
            assert_eq!(params.required_time("start").map_err(|error| error.text), time);
        };
        check("1", Ok(1000));
        check("1.5009", Ok(1501));
        check("-1e3", Ok(-1_000_000));
        check("1970-01-01T00:00:01.0009Z", Ok(1000));
        check("", Err("cannot parse \"\" to a valid timestamp"));
        check("NaN", Err("cannot parse \"NaN\" to a valid timestamp"));
        check("1e300", Err("cannot parse \"1e300\" to a valid timestamp"));
        check("now", Err("cannot parse \"now\" to a valid timestamp"));
    }

    #[test]
    fn durations_are_seconds_or_words() {
        let check = |text: &str, expected: Result<i64, &str>| {
            assert_eq!(parse_duration(text), expected.map_err(str::to_owned), "{text}");
        };
        check("15", Ok(15_000));
        check("0.5", Ok(500));
        check("1h30m", Ok(5_400_000));
        check("x", Err("cannot parse \"x\" to a valid duration"));
        check("1e300", Err("cannot parse \"1e300\" to a valid duration. It overflows int64"));
    }

    #[test]
    fn limits_are_counts() {
        let check = |query: &str, limit: Option<Option<usize>>| {
            assert_eq!(Params::from_query(query).limit().ok(), limit, "{query}");
        };
        check("", Some(None));
        check("limit=0", Some(None));
        check("limit=7", Some(Some(7)));
        check("limit=-1", None);
        check("limit=x", None);
    }
}
