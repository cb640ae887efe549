//! Floats as text, the way the reference implementation prints them.

/// Shortest digits without an exponent, whatever the size (Go's `'f', -1`).
pub fn plain(value: f64) -> String {
    match special(value) {
        Some(text) => text.to_owned(),
        None => format!("{value}"),
    }
}

/// Shortest digits, with an exponent below 1e-4 and from 1e6 on (Go's `%g`).
pub fn general(value: f64) -> String {
    if let Some(text) = special(value) {
        return text.to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').expect("the format has an exponent");
    let exponent: i32 = exponent.parse().expect("the format's exponent is a number");
    if value == 0.0 || (-4..6).contains(&exponent) {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

/// As `general`, but a whole number ends in `.0`, as values of `le` and `quantile` labels do.
pub fn open_metrics(value: f64) -> String {
    let mut text = general(value);
    if value.is_finite() && !text.contains(['.', 'e']) {
        text.push_str(".0");
    }
    text
}

/// Reads a float as label values hold it: decimal or an infinity in any case, with or without a sign.
pub fn parse(text: &str) -> Option<f64> {
    // Rust takes the same words as the reference implementation, but for a leading or trailing blank, which both refuse.
    text.parse().ok()
}

fn special(value: f64) -> Option<&'static str> {
    match value {
        _ if value.is_nan() => Some("NaN"),
        f64::INFINITY => Some("+Inf"),
        f64::NEG_INFINITY => Some("-Inf"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponents_where_the_reference_has_them() {
        let as_prometheus_prints = [
            (1.1, "1.1"),
            (123_456.0, "123456"),
            (1_234_567.0, "1.234567e+06"),
            (-1e21, "-1e+21"),
            (12_345_678_901_234_567_890.0, "1.2345678901234567e+19"),
            (2.5e-5, "2.5e-05"),
            (0.0001, "0.0001"),
        ];
        for (value, text) in as_prometheus_prints {
            assert_eq!(general(value), text);
        }
        assert_eq!((open_metrics(1.0).as_str(), open_metrics(0.5).as_str()), ("1.0", "0.5"));
        assert_eq!(plain(1e21), "1000000000000000000000");
        assert_eq!(
            (plain(f64::NAN).as_str(), plain(f64::NEG_INFINITY).as_str(), general(0.0).as_str()),
            ("NaN", "-Inf", "0")
        );
    }
}
