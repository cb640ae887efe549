//! Results of queries as JSON.

use model::Labels;
use promql::{
    annotations::{Annotation, Level},
    source::HistogramPoint,
    value::{MatrixSeries, SampleValue, Value, VectorSample},
};

use crate::{
    api::stream::{Answer, Gone},
    json::{Json, number},
    query::Finished,
};

/// Remarks of each kind that are listed; the rest is counted.
const ANNOTATIONS_MAX: usize = 10;
/// Points of a series between two looks at how much has been written.
const POINTS_PER_CHECKPOINT: usize = 1000;

/// How the answer is to look.
pub(super) struct Form {
    /// Series that are kept; `None` for all.
    pub(super) limit: Option<usize>,
    pub(super) with_stats: bool,
}

pub(super) fn write_success(mut answer: Answer, finished: &Finished, form: &Form) -> Result<(), Gone> {
    let (kept, truncated) = kept(&finished.output.value, form.limit);
    let json = answer.json();
    json.object().key("status").string("success").key("data").object();
    json.key("resultType").string(type_name(&finished.output.value)).key("result");
    match &finished.output.value {
        Value::Scalar { time, value } => write_scalar(answer.json(), *time, *value),
        Value::String { time, text } => write_string(answer.json(), *time, text),
        Value::Vector { time, samples } => write_vector(&mut answer, *time, &samples[..kept])?,
        Value::Matrix(series) => write_matrix(&mut answer, &series[..kept])?,
    }
    if form.with_stats {
        write_stats(answer.json().key("stats"), finished);
    }
    answer.json().end_object();
    write_annotations(answer.json(), &finished.output.annotations, truncated);
    answer.json().end_object();
    answer.finish()
}

/// How many series are kept, and whether that leaves any out.
fn kept(value: &Value, limit: Option<usize>) -> (usize, bool) {
    let count = match value {
        Value::Vector { samples, .. } => samples.len(),
        Value::Matrix(series) => series.len(),
        Value::Scalar { .. } | Value::String { .. } => 0,
    };
    let kept = count.min(limit.unwrap_or(usize::MAX));
    (kept, kept < count)
}

fn write_labels(json: &mut Json, labels: &Labels) {
    json.object();
    for label in labels.iter() {
        json.key(label.name).bare_string(label.value);
    }
    json.end_object();
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Scalar { .. } => "scalar",
        Value::String { .. } => "string",
        Value::Vector { .. } => "vector",
        Value::Matrix(_) => "matrix",
    }
}

fn write_scalar(json: &mut Json, time: i64, value: f64) {
    let (mut seconds, mut text) = (Vec::new(), Vec::new());
    number::push_time(&mut seconds, time);
    number::push_plain(&mut text, value);
    json.array().raw(&seconds).string(&String::from_utf8_lossy(&text)).end_array();
}

fn write_string(json: &mut Json, time: i64, text: &str) {
    let mut seconds = Vec::new();
    number::push_time(&mut seconds, time);
    json.array().raw(&seconds).string(text).end_array();
}

fn write_vector(answer: &mut Answer, time: i64, samples: &[VectorSample]) -> Result<(), Gone> {
    answer.json().array();
    for sample in samples {
        write_labels(answer.json().object().key("metric"), &sample.labels);
        match &sample.value {
            SampleValue::Float(value) => answer.json().key("value").sample(time, *value),
            SampleValue::Histogram(histogram) => answer.json().key("histogram").histogram(time, histogram),
        };
        answer.json().end_object();
        answer.checkpoint()?;
    }
    answer.json().end_array();
    Ok(())
}

fn write_matrix(answer: &mut Answer, series: &[MatrixSeries]) -> Result<(), Gone> {
    answer.json().array();
    for one in series {
        write_labels(answer.json().object().key("metric"), &one.labels);
        if !one.times.is_empty() {
            write_floats(answer, one)?;
        }
        if !one.histograms.is_empty() {
            write_histograms(answer, &one.histograms)?;
        }
        answer.json().end_object();
    }
    answer.json().end_array();
    Ok(())
}

fn write_floats(answer: &mut Answer, series: &MatrixSeries) -> Result<(), Gone> {
    answer.json().key("values").array();
    for (index, (time, value)) in series.points().enumerate() {
        if index % POINTS_PER_CHECKPOINT == 0 {
            answer.checkpoint()?;
        }
        answer.json().sample(time, value);
    }
    answer.json().end_array();
    Ok(())
}

fn write_histograms(answer: &mut Answer, histograms: &[HistogramPoint]) -> Result<(), Gone> {
    answer.json().key("histograms").array();
    for point in histograms {
        answer.checkpoint()?;
        answer.json().histogram(point.time, &point.histogram);
    }
    answer.json().end_array();
    Ok(())
}

fn write_stats(json: &mut Json, finished: &Finished) {
    finished.timings.write(json.object().key("timings"));
    let statistics = &finished.output.statistics;
    json.key("samples").object();
    json.key("totalQueryableSamples").integer(statistics.samples_read as u64);
    json.key("peakSamples").integer(statistics.samples_peak as u64);
    // Each sample is read once, however many windows it is in.
    json.key("samplesRead").integer(statistics.samples_read as u64).end_object().end_object();
}

fn write_annotations(json: &mut Json, annotations: &[Annotation], truncated: bool) {
    let of = |level| annotations.iter().filter(move |one| one.level == level).map(|one| one.text.as_str());
    let limited = truncated.then_some("results truncated due to limit");
    write_list(json, "warnings", "warning", limited.into_iter().chain(of(Level::Warning)).collect());
    write_list(json, "infos", "info", of(Level::Info).collect());
}

fn write_list(json: &mut Json, key: &str, word: &str, texts: Vec<&str>) {
    if texts.is_empty() {
        return;
    }
    let omitted = texts.len().saturating_sub(ANNOTATIONS_MAX);
    let more = (omitted > 0).then(|| format!("{omitted} more {word} annotations omitted"));
    json.key(key).strings(texts.into_iter().take(ANNOTATIONS_MAX).chain(more.as_deref()));
}
