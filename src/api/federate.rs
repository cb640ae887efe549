//! `/federate`: the newest sample of chosen series, for another server to scrape.

use std::{collections::BTreeMap, fmt::Write as _};

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use model::{
    Labels, METRIC_NAME,
    labels::{is_plain_label_name, is_plain_metric_name},
};

use super::{Shared, params::Params, plain, v1::selectors::match_sets};
use crate::{calendar, json::number, query::QueryFailure};

const INSTANCE: &str = "instance";

pub(super) async fn federate(State(shared): State<Shared>, headers: HeaderMap, params: Params) -> Response {
    let Ok(storage) = shared.storage() else { return super::lifecycle::unavailable(&shared) };
    let match_sets = match match_sets(&params) {
        Ok(match_sets) => match_sets,
        Err(error) => return plain(StatusCode::BAD_REQUEST, format!("{error}\n")),
    };
    let now = calendar::now_ms();
    let found = match shared.queries.newest(storage.clone(), match_sets, now).await {
        Ok(found) => found,
        Err(error @ QueryFailure::QueuedTooLong) => {
            return plain(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n"));
        }
        Err(error) => return plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    };
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let form = Form::of(accept);
    let body = page(&found, &shared.config().global.external_labels, form);
    ([(header::CONTENT_TYPE, form.content_type())], body).into_response()
}

/// How names are written that older readers don't know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Form {
    /// In quotes; else with underscores in place of what they don't know.
    with_utf8: bool,
}

impl Form {
    /// Whoever knows all letters says so in some format that it accepts.
    fn of(accept: &str) -> Self {
        let parts = accept.split([',', ';']).map(str::trim);
        Self { with_utf8: parts.into_iter().any(|part| part == "escaping=allow-utf-8") }
    }

    fn content_type(self) -> String {
        let escaping = if self.with_utf8 { "allow-utf-8" } else { "underscores" };
        format!("text/plain; version=0.0.4; charset=utf-8; escaping={escaping}")
    }
}

/// All samples in order of their names, with the labels that tell this server from others where they have none of that name.
fn page(found: &BTreeMap<Labels, (i64, f64)>, external: &Labels, form: Form) -> String {
    let mut external: Vec<(&str, &str)> = external.iter().map(|label| (label.name, label.value)).collect();
    if external.iter().all(|(name, _)| *name != INSTANCE) {
        // Else the one who scrapes would take this server's own.
        external.push((INSTANCE, ""));
        external.sort_unstable();
    }
    let mut samples: Vec<(&str, &Labels, (i64, f64))> =
        found.iter().filter_map(|(labels, sample)| Some((labels.metric_name()?, labels, *sample))).collect();
    samples.sort_by_key(|(name, ..)| *name);
    let (mut page, mut last) = (String::new(), "");
    for (name, labels, (time, value)) in samples {
        if name != last {
            let shown = if form.with_utf8 && !is_plain_metric_name(name) { quoted(name) } else { metric(name) };
            writeln!(page, "# TYPE {shown} untyped").expect("writing to memory");
            last = name;
        }
        push_series(&mut page, name, labels, &external, form);
        let mut text = Vec::new();
        number::push_value(&mut text, value);
        let text = String::from_utf8(text).expect("digits are ASCII");
        writeln!(page, " {text} {time}").expect("writing to memory");
    }
    page
}

fn push_series(page: &mut String, name: &str, labels: &Labels, external: &[(&str, &str)], form: Form) {
    let mut pieces = Vec::new();
    let is_quoted = form.with_utf8 && !is_plain_metric_name(name);
    if is_quoted {
        pieces.push(quoted(name));
    } else {
        page.push_str(&metric(name));
    }
    let own = labels.iter().filter(|label| label.name != METRIC_NAME).map(|label| (label.name, label.value));
    let added = external.iter().copied().filter(|(name, _)| labels.get(name).is_none());
    for (name, value) in own.chain(added) {
        let name = match form.with_utf8 {
            true if !is_plain_label_name(name) => quoted(name),
            true => name.to_owned(),
            false => with_underscores(name, false),
        };
        pieces.push(format!("{name}={}", quoted(value)));
    }
    if !pieces.is_empty() {
        write!(page, "{{{}}}", pieces.join(",")).expect("writing to memory");
    }
}

fn metric(name: &str) -> String {
    with_underscores(name, true)
}

/// What is no letter, digit or underscore is an underscore.
fn with_underscores(name: &str, with_colons: bool) -> String {
    let letter = |(at, letter): (usize, char)| match letter {
        'a'..='z' | 'A'..='Z' | '_' => letter,
        '0'..='9' if at > 0 => letter,
        ':' if with_colons => letter,
        _ => '_',
    };
    name.chars().enumerate().map(letter).collect()
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Sample<'a> = (&'a [(&'a str, &'a str)], i64, f64);

    fn found(all: &[Sample<'_>]) -> BTreeMap<Labels, (i64, f64)> {
        all.iter().map(|(pairs, time, value)| (Labels::from_pairs(pairs.iter().copied()), (*time, *value))).collect()
    }

    #[test]
    fn samples_are_written_as_prometheus_writes_them() {
        let found = found(&[
            (&[("__name__", "b"), ("instance", "i"), ("x", "a\"b\\c\nd")], 2, 1e21),
            (&[("__name__", "a:b"), ("zone", "own")], 1, f64::NAN),
            (&[("__name__", "b")], 3, 0.5),
            (&[("x", "nameless")], 4, 1.0),
        ]);
        let external = Labels::from_pairs([("zone", "z"), ("host", "h")]);
        let text = Form { with_utf8: false };
        assert_eq!(
            page(&found, &external, text),
            "# TYPE a:b untyped\na:b{zone=\"own\",host=\"h\",instance=\"\"} NaN 1\n# TYPE b untyped\n\
             b{host=\"h\",instance=\"\",zone=\"z\"} 0.5 3\n\
             b{instance=\"i\",x=\"a\\\"b\\\\c\\nd\",host=\"h\",zone=\"z\"} 1e+21 2\n"
        );
    }

    #[test]
    fn names_of_any_letters_go_to_whoever_knows_them() {
        let found = found(&[(&[("__name__", "a.b"), ("c.d", "é")], 1, 1.0)]);
        let external = Labels::from_pairs([("instance", "i")]);
        let modern =
            Form::of("application/openmetrics-text;q=0.6,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,*/*");
        assert_eq!(modern.content_type(), "text/plain; version=0.0.4; charset=utf-8; escaping=allow-utf-8");
        assert_eq!(
            page(&found, &external, modern),
            "# TYPE \"a.b\" untyped\n{\"a.b\",\"c.d\"=\"é\",instance=\"i\"} 1 1\n"
        );
        let old = Form::of("*/*");
        assert_eq!(page(&found, &external, old), "# TYPE a_b untyped\na_b{c_d=\"é\",instance=\"i\"} 1 1\n");
    }
}
