//! `query_exemplars`: the exemplars of every series that an expression selects.

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use model::Matcher;
use tsdb::{
    exemplars::{Exemplar, SelectedExemplars},
    select::TimeRange,
};

use super::{selectors, series::write_labels};
use crate::{
    api::{
        Shared,
        error::{ApiError, success},
        params::Params,
    },
    json::{Json, number},
};

pub(super) async fn exemplars(State(shared): State<Shared>, params: Params) -> Result<Response, ApiError> {
    let min_time = params.time_or("start", i64::MIN)?;
    let max_time = params.time_or("end", i64::MAX)?;
    if max_time < min_time {
        return Err(ApiError::bad_parameter("end", "end timestamp must not be before start timestamp"));
    }
    let expr = selectors::parse_query(params.get("query").unwrap_or_default(), &shared.flags.parse_options())?;
    let match_sets: Vec<Vec<Matcher>> = expr.selectors().into_iter().map(|of| of.matchers.clone()).collect();
    if match_sets.is_empty() {
        // As Prometheus answers where nothing was asked for.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let found = shared.storage()?.exemplars(match_sets.into(), TimeRange { min_time, max_time }).await?;
    Ok(success(|json| write(json, &found), &[]))
}

fn write(json: &mut Json, found: &[SelectedExemplars]) {
    json.array();
    for SelectedExemplars { labels, exemplars } in found {
        json.object();
        write_labels(json.key("seriesLabels"), labels);
        json.key("exemplars").array();
        exemplars.iter().for_each(|exemplar| write_exemplar(json, exemplar));
        json.end_array().end_object();
    }
    json.end_array();
}

fn write_exemplar(json: &mut Json, exemplar: &Exemplar) {
    json.object();
    write_labels(json.key("labels"), &exemplar.labels);
    let mut text = Vec::new();
    number::push_plain(&mut text, f64::from_bits(exemplar.value));
    json.key("value").bare_string(&String::from_utf8(text).expect("digits are ASCII"));
    let mut text = Vec::new();
    number::push_time(&mut text, exemplar.time);
    json.key("timestamp").raw(&text).end_object();
}
