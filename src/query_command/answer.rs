//! What a server answers.

use std::collections::BTreeMap;

use hyper::StatusCode;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Characters of an answer that is none which are shown.
const SHOWN_CHARS: usize = 200;

#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerError {
    #[error("{kind}: {text}")]
    Refused { kind: String, text: String },
    #[error("the answer ({code}) is not of Prometheus' API; is the URL right? It begins with {text:?}")]
    Foreign { code: StatusCode, text: String },
    #[error("what the server answered can't be read ({reason}): {text:?}")]
    Unreadable { reason: String, text: String },
}

#[derive(Debug, Deserialize)]
struct Envelope<'a> {
    status: String,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(rename = "errorType", default)]
    error_type: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    warnings: Option<Vec<String>>,
    #[serde(default)]
    infos: Option<Vec<String>>,
}

/// A success.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    pub(super) data: &'a RawValue,
    pub(super) warnings: Vec<String>,
    pub(super) infos: Vec<String>,
}

pub(super) fn read(code: StatusCode, body: &[u8]) -> Result<Answer<'_>, AnswerError> {
    let foreign = || AnswerError::Foreign { code, text: shown(String::from_utf8_lossy(body).trim()) };
    let envelope: Envelope<'_> = serde_json::from_slice(body).map_err(|_| foreign())?;
    if envelope.status != "success" {
        return Err(AnswerError::Refused { kind: envelope.error_type, text: envelope.error });
    }
    let data = envelope.data.ok_or_else(foreign)?;
    let (warnings, infos) = (envelope.warnings.unwrap_or_default(), envelope.infos.unwrap_or_default());
    Ok(Answer { data, warnings, infos })
}

/// The labels of a series, by name.
pub(super) type LabelMap = BTreeMap<String, String>;

/// A time in seconds and a number, both as the server wrote them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Point {
    pub(super) seconds: f64,
    pub(super) value: f64,
    pub(super) text: String,
}

impl<'de> Deserialize<'de> for Point {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (seconds, text) = <(f64, String)>::deserialize(deserializer)?;
        let value = text.parse().map_err(|_| serde::de::Error::custom(format!("{text:?} is no number")))?;
        Ok(Self { seconds, value, text })
    }
}

/// A native histogram at a time.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(super) struct HistogramPoint(pub(super) f64, pub(super) Histogram);

#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(super) struct Histogram {
    pub(super) count: String,
    pub(super) sum: String,
    /// Which ends belong to it (0: the upper, 1: the lower, 2: none, 3: both), the bounds, the count.
    #[serde(default)]
    pub(super) buckets: Vec<(u8, String, String, String)>,
}

impl Histogram {
    /// As Prometheus writes one.
    pub(super) fn text(&self) -> String {
        let buckets: String = self.bucket_texts().map(|bucket| format!(", {bucket}")).collect();
        format!("{{count:{}, sum:{}{buckets}}}", self.count, self.sum)
    }

    /// Bounds and count of each bucket, with brackets that say which ends belong to it.
    pub(super) fn bucket_texts(&self) -> impl Iterator<Item = String> {
        self.buckets.iter().map(|(ends, lower, upper, count)| {
            let open = if matches!(ends, 1 | 3) { '[' } else { '(' };
            let close = if matches!(ends, 0 | 3) { ']' } else { ')' };
            format!("{open}{lower},{upper}{close}:{count}")
        })
    }
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(super) struct Sample {
    pub(super) metric: LabelMap,
    pub(super) value: Option<Point>,
    pub(super) histogram: Option<HistogramPoint>,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(super) struct Series {
    pub(super) metric: LabelMap,
    #[serde(default)]
    pub(super) values: Vec<Point>,
    #[serde(default)]
    pub(super) histograms: Vec<HistogramPoint>,
}

/// What an answer can hold.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Data {
    Vector(Vec<Sample>),
    Matrix(Vec<Series>),
    Scalar(Point),
    /// A time in seconds and a text.
    Text((f64, String)),
    Series(Vec<LabelMap>),
    Names(Vec<String>),
}

#[derive(Deserialize)]
struct Typed<'a> {
    #[serde(rename = "resultType", borrow)]
    kind: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    result: &'a RawValue,
}

/// The part of it that is the result: of an expression's answer without its type and its statistics.
pub(super) fn result(data: &RawValue) -> Result<&str, AnswerError> {
    if !data.get().starts_with('{') {
        return Ok(data.get());
    }
    let typed: Typed<'_> = parse(data)?;
    Ok(typed.result.get())
}

pub(super) fn data(data: &RawValue) -> Result<Data, AnswerError> {
    if !data.get().starts_with('{') {
        let of_series = parse(data).map(Data::Series);
        return parse(data).map(Data::Names).or(of_series);
    }
    let Typed { kind, result } = parse(data)?;
    match &*kind {
        "vector" => parse(result).map(Data::Vector),
        "matrix" => parse(result).map(Data::Matrix),
        "scalar" => parse(result).map(Data::Scalar),
        "string" => parse(result).map(Data::Text),
        other => {
            Err(AnswerError::Unreadable { reason: format!("a result of type {other:?}"), text: shown(result.get()) })
        }
    }
}

fn parse<'a, T: Deserialize<'a>>(json: &'a RawValue) -> Result<T, AnswerError> {
    serde_json::from_str(json.get())
        .map_err(|error| AnswerError::Unreadable { reason: error.to_string(), text: shown(json.get()) })
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).collect()
}

/// `name{label="value", ...}`, as Prometheus writes a series.
pub(super) fn metric_text(labels: &LabelMap) -> String {
    let name = labels.get("__name__").map_or("", String::as_str);
    let pairs = labels.iter().filter(|(label, _)| *label != "__name__");
    let pairs: Vec<_> = pairs.map(|(label, value)| format!("{label}={value:?}")).collect();
    match pairs.as_slice() {
        [] if !name.is_empty() => name.to_owned(),
        pairs => format!("{name}{{{}}}", pairs.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_are_none_are_shown() {
        let error = read(StatusCode::NOT_FOUND, b"<html>").expect_err("not JSON").to_string();
        assert!(
            error.contains("is the URL right?") && error.contains("404 Not Found") && error.contains("<html>"),
            "{error}"
        );
        let error = read(StatusCode::BAD_REQUEST, br#"{"status":"error","errorType":"bad_data","error":"no"}"#)
            .expect_err("an error");
        assert_eq!(error.to_string(), "bad_data: no");
    }

    #[test]
    fn each_type_is_read() {
        let data_of =
            |json: &str| data(read(StatusCode::OK, json.as_bytes()).expect("a success").data).expect("a type");
        let point = Point { seconds: 1.5, value: f64::INFINITY, text: "+Inf".to_owned() };
        let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[1.5,"+Inf"]}}"#;
        assert_eq!(data_of(scalar), Data::Scalar(point));
        let names = r#"{"status":"success","data":["a","b"]}"#;
        assert_eq!(data_of(names), Data::Names(vec!["a".to_owned(), "b".to_owned()]));
        let series = r#"{"status":"success","data":[{"__name__":"up","job":"a"}]}"#;
        let Data::Series(series) = data_of(series) else { panic!("not series") };
        assert_eq!(metric_text(&series[0]), "up{job=\"a\"}");
    }
}
