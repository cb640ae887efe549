//! Answers of the query API, to be compared with a peer's.

use serde_json::Value;

use super::http::Answer;

/// Equal but for rounding in numbers that are written as text.
pub(crate) fn is_close(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::String(left), Value::String(right)) => {
            let close = |left: f64, right: f64| (left - right).abs() <= 1e-9 * left.abs().max(right.abs());
            left == right || matches!((left.parse(), right.parse()), (Ok(left), Ok(right)) if close(left, right))
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| is_close(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(key, left)| right.get(key).is_some_and(|right| is_close(left, right)))
        }
        _ => ours == theirs,
    }
}

/// What an answer says, in an order that is its own.
pub(crate) fn parts(answer: &Answer) -> (Value, Vec<String>) {
    let json = answer.json();
    let mut data = json["data"].clone();
    if let Some(series) = data["result"].as_array_mut() {
        series.sort_by_key(|series| series["metric"].to_string());
    }
    let lists = ["warnings", "infos"].map(|key| json[key].as_array().cloned().unwrap_or_default());
    let mut remarks: Vec<String> = lists.concat().iter().filter_map(|text| Some(text.as_str()?.to_owned())).collect();
    remarks.sort();
    remarks.push(json["error"].as_str().unwrap_or_default().to_owned());
    (data, remarks)
}
