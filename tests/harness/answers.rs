//! Answers of the query API, to be compared with a peer's.

use serde_json::Value;

use super::http::Answer;

/// Equal but for rounding in numbers that are written as text.
pub(crate) fn is_close(ours: &Value, theirs: &Value) -> bool {
    is_within(ours, theirs, 1e-9, 0.0)
}

/// Equal but for numbers, written as text, that differ by no more than a share of them, or by less than `rest`.
pub(crate) fn is_within(ours: &Value, theirs: &Value, share: f64, rest: f64) -> bool {
    match (ours, theirs) {
        (Value::String(left), Value::String(right)) => {
            let close = |left: f64, right: f64| (left - right).abs() <= (share * left.abs().max(right.abs())).max(rest);
            left == right || matches!((left.parse(), right.parse()), (Ok(left), Ok(right)) if close(left, right))
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| is_within(left, right, share, rest))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .all(|(key, left)| right.get(key).is_some_and(|right| is_within(left, right, share, rest)))
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

/// Where two answers differ first, and what they have there.
pub(crate) fn first_difference(ours: &Value, theirs: &Value) -> Option<String> {
    if is_close(ours, theirs) {
        return None;
    }
    let within = |key: &str, left: &Value, right: &Value| Some(format!(".{key}{}", first_difference(left, right)?));
    let found = match (ours, theirs) {
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            left.iter().zip(right).enumerate().find_map(|(at, (left, right))| within(&at.to_string(), left, right))
        }
        (Value::Object(left), Value::Object(right)) if left.keys().eq(right.keys()) => {
            let found = left.iter().find_map(|(key, value)| within(key, value, &right[key]));
            found.map(|found| left.get("metric").map_or(found.clone(), |metric| format!(" of {metric}{found}")))
        }
        _ => None,
    };
    found.or_else(|| Some(format!(": ours {}, theirs {}", short(ours), short(theirs))))
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    let kept: String = text.chars().take(300).collect();
    if kept.len() < text.len() {
        format!("{kept}... ({} elements)", value.as_array().map_or(0, Vec::len))
    } else {
        kept
    }
}
