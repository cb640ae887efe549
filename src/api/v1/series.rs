//! `series`, `labels` and `label/<name>/values`.

use axum::{
    extract::{Path, State, rejection::PathRejection},
    response::Response,
};
use model::Labels;

use super::selectors::match_sets;
use crate::{
    api::{
        Shared,
        error::{ApiError, success},
        params::Params,
    },
    json::Json,
    query::storage::{Found, Selection},
};

const TRUNCATED: &[&str] = &["results truncated due to limit"];

pub(super) async fn series(State(shared): State<Shared>, params: Params) -> Result<Response, ApiError> {
    if params.all("match[]").next().is_none() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let selection = selection(&params, |error| ApiError::bad_parameter("match[]", error))?;
    let found = shared.storage()?.series(selection).await?;
    let write = |json: &mut Json| {
        json.array();
        for labels in &found.items {
            write_labels(json, labels);
        }
        json.end_array();
    };
    Ok(success(write, warnings(found.truncated)))
}

pub(super) async fn label_names(State(shared): State<Shared>, params: Params) -> Result<Response, ApiError> {
    let selection = selection(&params, ApiError::bad_data)?;
    Ok(strings(&shared.storage()?.label_names(selection).await?))
}

pub(super) async fn label_values(
    State(shared): State<Shared>,
    name: Result<Path<String>, PathRejection>,
    params: Params,
) -> Result<Response, ApiError> {
    let Ok(Path(name)) = name else {
        return Err(ApiError::bad_data("invalid label name: it is not UTF-8"));
    };
    let name = unescape(&name).unwrap_or(name);
    if name.is_empty() {
        return Err(ApiError::bad_data(format!("invalid label name: {name:?}")));
    }
    let selection = selection(&params, ApiError::bad_data)?;
    Ok(strings(&shared.storage()?.label_values(name, selection).await?))
}

fn selection(params: &Params, explain: impl Fn(String) -> ApiError) -> Result<Selection, ApiError> {
    let limit = params.limit()?;
    let min_time = params.time_or("start", i64::MIN)?;
    let max_time = params.time_or("end", i64::MAX)?;
    let match_sets = match_sets(params).map_err(|error| explain(error.to_string()))?;
    Ok(Selection { match_sets, min_time, max_time, limit })
}

fn strings(found: &Found<String>) -> Response {
    success(
        |json| {
            json.strings(found.items.iter().map(String::as_str));
        },
        warnings(found.truncated),
    )
}

fn warnings(truncated: bool) -> &'static [&'static str] {
    if truncated { TRUNCATED } else { &[] }
}

pub(super) fn write_labels(json: &mut Json, labels: &Labels) {
    json.string_map(labels.iter().map(|label| (label.name, label.value)));
}

/// The name behind `U__...`, Prometheus' way to write any UTF-8 in a path: `_2e_` stands for a character by its code point in
/// hexadecimal, `__` for an underscore. `None` for a name that is not written so.
fn unescape(name: &str) -> Option<String> {
    let mut rest = name.strip_prefix("U__")?;
    let mut out = String::new();
    while let Some((plain, after)) = rest.split_once('_') {
        out.push_str(plain);
        let (code, after) = after.split_once('_')?;
        match code {
            "" => out.push('_'),
            _ if code.len() <= 6 => out.push(char::from_u32(u32::from_str_radix(code, 16).ok()?)?),
            _ => return None,
        }
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_names_are_read() {
        let check = |name: &str, expected: Option<&str>| assert_eq!(unescape(name).as_deref(), expected, "{name}");
        check("U__http_2e_status", Some("http.status"));
        check("U__a__b", Some("a_b"));
        check("U___1F600_x", Some("\u{1F600}x"));
        check("U__", Some(""));
        check("job", None);
        check("U__a_zz_", None);
        check("U__a_2e", None);
        check("U___d800_", None);
    }
}
