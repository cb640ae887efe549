//! `/api/v1/status/...`.

use axum::{extract::State, response::Response};

use crate::{
    api::{
        Shared,
        error::{ApiError, success},
        params::Params,
    },
    calendar,
    json::Json,
    query::cardinality::NamedCount,
    version,
};

/// Entries in each of the lists of `status/tsdb` unless asked for otherwise.
const CARDINALITY_LIMIT: usize = 10;
const CARDINALITY_LIMIT_MAX: usize = 10_000;

/// Without `features`: their absence tells Grafana that this speaks plain Prometheus. The version is that of the API, because
/// clients choose their requests by it; the revision says what really answers.
pub(super) async fn buildinfo() -> Response {
    let revision = format!("millrace-{} {}", version::VERSION, version::REVISION);
    let pairs = [
        ("version", version::API_VERSION),
        ("revision", revision.trim_end()),
        ("branch", ""),
        ("buildUser", ""),
        ("buildDate", ""),
        ("goVersion", ""),
    ];
    success(
        |json| {
            json.string_map(pairs);
        },
        &[],
    )
}

pub(super) async fn flags(State(shared): State<Shared>) -> Response {
    let pairs = shared.flag_texts.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    success(
        |json| {
            json.string_map(pairs);
        },
        &[],
    )
}

pub(super) async fn config(State(shared): State<Shared>) -> Response {
    success(
        |json| {
            json.object().key("yaml").string(shared.config().to_yaml()).end_object();
        },
        &[],
    )
}

pub(super) async fn runtimeinfo(State(shared): State<Shared>) -> Result<Response, ApiError> {
    let stats = shared.storage()?.stats().await?;
    let corruptions: u64 = stats.iter().map(|shard| shard.recovery.frames_damaged).sum();
    let directory = std::env::current_dir().map(|path| path.display().to_string()).unwrap_or_default();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let retention = shared.retention().1;
    let write = |json: &mut Json| {
        json.object().key("startTime").string(&calendar::rfc3339_ms(shared.started_at_ms));
        json.key("CWD").string(&directory);
        json.key("hostname").string(&rustix::system::uname().nodename().to_string_lossy());
        json.key("serverTime").string(&calendar::rfc3339_ms(calendar::now_ms()));
        json.key("reloadConfigSuccess").bool(shared.metrics.reload_successful());
        json.key("lastConfigTime").string(&calendar::rfc3339_s(shared.metrics.reload_success_time_ms()));
        json.key("corruptionCount").integer(corruptions);
        // Go's scheduler has no counterpart here; the number of threads that may run at a time is the nearest to its meaning.
        json.key("goroutineCount").integer(0).key("GOMAXPROCS").integer(threads as u64).key("GOMEMLIMIT").integer(0);
        json.key("GOGC").string("").key("GODEBUG").string("");
        json.key("storageRetention").string(&retention).end_object();
    };
    Ok(success(write, &[]))
}

pub(super) async fn tsdb(State(shared): State<Shared>, params: Params) -> Result<Response, ApiError> {
    let limit = match params.get("limit") {
        None => CARDINALITY_LIMIT,
        Some(text) => match text.parse::<usize>() {
            Ok(0) | Err(_) => return Err(ApiError::bad_data("limit must be a positive number")),
            Ok(limit) if limit > CARDINALITY_LIMIT_MAX => {
                return Err(ApiError::bad_data(format!("limit must not exceed {CARDINALITY_LIMIT_MAX}")));
            }
            Ok(limit) => limit,
        },
    };
    let cardinality = shared.storage()?.cardinality(limit).await?;
    let write = |json: &mut Json| {
        json.object().key("headStats").object();
        json.key("numSeries").integer(cardinality.series);
        json.key("numLabelPairs").integer(cardinality.label_pairs);
        json.key("chunkCount").integer(cardinality.chunks);
        json.key("minTime").integer(cardinality.min_time.unwrap_or(i64::MAX));
        json.key("maxTime").integer(cardinality.max_time.unwrap_or(i64::MIN)).end_object();
        write_counts(json.key("seriesCountByMetricName"), &cardinality.series_by_metric);
        write_counts(json.key("labelValueCountByLabelName"), &cardinality.values_by_label);
        write_counts(json.key("memoryInBytesByLabelName"), &cardinality.bytes_by_label);
        write_counts(json.key("seriesCountByLabelValuePair"), &cardinality.series_by_pair);
        // Ours: where the growth of the last hour comes from.
        write_counts(json.key("newSeriesCountByMetricName"), &cardinality.new_series_by_metric);
        write_counts(json.key("newLabelValueCountByLabelName"), &cardinality.new_values_by_label);
        write_counts(json.key("newSeriesCountByLabelValuePair"), &cardinality.new_series_by_pair);
        json.end_object();
    };
    Ok(success(write, &[]))
}

/// What the blocks say of themselves, by time; the job on them that is under way; and whether all was done that was due at the last look.
pub(super) async fn blocks(State(shared): State<Shared>) -> Result<Response, ApiError> {
    let service = shared.storage()?.blocks();
    let set = service.blocks.current();
    // After the set: whoever sees a new block must not see that all is done on account of what was before it.
    let is_idle = service.is_idle();
    let job = service.job();
    let write = |json: &mut Json| {
        json.object().key("idle").bool(is_idle).key("blocks").array();
        for block in &set.blocks {
            json.raw(&block.meta.encode_compact());
        }
        json.end_array();
        if let Some(job) = &job {
            json.key("job").object().key("kind").string(job.kind.name());
            json.key("minTime").integer(job.times.min_time).key("maxTime").integer(job.times.max_time + 1);
            json.key("seriesDone")
                .integer(job.series_done as u64)
                .key("series")
                .integer(job.series as u64)
                .end_object();
        }
        json.end_object();
    };
    Ok(success(write, &[]))
}

fn write_counts(json: &mut Json, counts: &[NamedCount]) {
    json.array();
    for NamedCount { name, count } in counts {
        json.object().key("name").string(name).key("value").integer(*count).end_object();
    }
    json.end_array();
}
