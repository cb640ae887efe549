//! Numbers as Prometheus prints them.
//!
//! Promise: the text is the shortest decimal that reads back as the same float, laid out by the rules of Go's
//! `strconv.FormatFloat`, so that an answer is equal to Prometheus' own byte by byte.

/// How a finite number is laid out.
#[derive(Clone, Copy)]
enum Layout {
    Plain,
    /// `1e+21`, `1.5e-07`: at least two digits in the exponent.
    Exponent,
}

/// The value of a sample: plain notation, but with an exponent below 1e-6 and from 1e21 on.
pub(crate) fn push_value(out: &mut Vec<u8>, value: f64) {
    let size = value.abs();
    let layout = if size != 0.0 && !(1e-6..1e21).contains(&size) { Layout::Exponent } else { Layout::Plain };
    push(out, value, layout);
}

/// The value of a scalar result: always plain.
pub(crate) fn push_plain(out: &mut Vec<u8>, value: f64) {
    push(out, value, Layout::Plain);
}

/// Seconds, with three digits behind the point only where milliseconds are not zero.
pub(crate) fn push_time(out: &mut Vec<u8>, time_ms: i64) {
    if time_ms < 0 {
        out.push(b'-');
    }
    let size = time_ms.unsigned_abs();
    push_integer(out, size / 1000);
    let ms = size % 1000;
    if ms != 0 {
        let digit = |value: u64| b'0' + u8::try_from(value % 10).expect("one digit");
        out.extend_from_slice(&[b'.', digit(ms / 100), digit(ms / 10), digit(ms)]);
    }
}

/// A float as text, by the rule for samples.
pub(crate) fn value_text(value: f64) -> String {
    let mut out = Vec::new();
    push_value(&mut out, value);
    String::from_utf8(out).expect("digits are ASCII")
}

fn push_integer(out: &mut Vec<u8>, mut value: u64) {
    // 20 digits hold 2^64 - 1.
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + u8::try_from(value % 10).expect("one digit");
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

fn push(out: &mut Vec<u8>, value: f64, layout: Layout) {
    if !value.is_finite() {
        let text: &[u8] = if value.is_nan() {
            b"NaN"
        } else if value > 0.0 {
            b"+Inf"
        } else {
            b"-Inf"
        };
        return out.extend_from_slice(text);
    }
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(value);
    match text.split_once('e') {
        // Between 1e-5 and 1e16 the printer uses no exponent, and neither do the rules above.
        None => out.extend_from_slice(text.strip_suffix(".0").unwrap_or(text).as_bytes()),
        Some((mantissa, exponent)) => {
            let exponent = exponent.parse().expect("the printer writes a small integer");
            lay_out(out, mantissa, exponent, layout);
        }
    }
}

/// Lays out `mantissa` x 10^`exponent`, where the mantissa has one digit before its point.
fn lay_out(out: &mut Vec<u8>, mantissa: &str, exponent: i32, layout: Layout) {
    let unsigned = mantissa.strip_prefix('-').unwrap_or(mantissa);
    if unsigned.len() < mantissa.len() {
        out.push(b'-');
    }
    let (first, rest) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let rest = if rest == "0" { "" } else { rest };
    match layout {
        Layout::Exponent => {
            out.extend_from_slice(first.as_bytes());
            if !rest.is_empty() {
                out.push(b'.');
                out.extend_from_slice(rest.as_bytes());
            }
            out.extend_from_slice(format!("e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs()).as_bytes());
        }
        Layout::Plain if exponent < 0 => {
            out.extend_from_slice(b"0.");
            out.extend((1..exponent.unsigned_abs()).map(|_| b'0'));
            out.extend_from_slice(first.as_bytes());
            out.extend_from_slice(rest.as_bytes());
        }
        Layout::Plain => {
            let whole = exponent.unsigned_abs() as usize;
            out.extend_from_slice(first.as_bytes());
            out.extend_from_slice(&rest.as_bytes()[..whole.min(rest.len())]);
            out.extend((rest.len()..whole).map(|_| b'0'));
            if rest.len() > whole {
                out.push(b'.');
                out.extend_from_slice(&rest.as_bytes()[whole..]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(value: f64) -> String {
        let mut out = Vec::new();
        push_plain(&mut out, value);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn values_as_go_prints_them() {
        let check = |value: f64, text: &str| assert_eq!(value_text(value), text);
        check(0.0, "0");
        check(-0.0, "-0");
        check(1.0, "1");
        check(-1.5, "-1.5");
        check(0.1, "0.1");
        check(1e-6, "0.000001");
        check(9.99e-7, "9.99e-07");
        check(1e-7, "1e-07");
        check(123_456_789.125, "123456789.125");
        check(9_007_199_254_740_993.0, "9007199254740992");
        check(1e16, "10000000000000000");
        check(1.234_567_890_123_456_7e20, "123456789012345670000");
        check(999_999_999_999_999_900_000.0, "999999999999999900000");
        check(1e21, "1e+21");
        check(-1.5e300, "-1.5e+300");
        check(5e-324, "5e-324");
        check(f64::MAX, "1.7976931348623157e+308");
        check(f64::NAN, "NaN");
        check(f64::INFINITY, "+Inf");
        check(f64::NEG_INFINITY, "-Inf");
    }

    #[test]
    fn scalars_are_always_plain() {
        assert_eq!(plain(1e21), "1000000000000000000000");
        assert_eq!(plain(1.5e-7), "0.00000015");
        assert_eq!(plain(-1.25e-10), "-0.000000000125");
    }

    #[test]
    fn times_have_milliseconds_only_where_needed() {
        let check = |time: i64, text: &str| {
            let mut out = Vec::new();
            push_time(&mut out, time);
            assert_eq!(String::from_utf8(out).expect("ASCII"), text);
        };
        check(0, "0");
        check(1_435_781_451_781, "1435781451.781");
        check(1_435_781_451_000, "1435781451");
        check(1_001, "1.001");
        check(-1_500, "-1.500");
        check(i64::MIN, "-9223372036854775.808");
    }

    /// Two shortest decimals can be equally near: Go takes the one that ends in an even digit, and so do we. These are Go's.
    #[test]
    fn ties_end_in_an_even_digit() {
        assert_eq!(value_text(2_721_602_514_796_721.0 / 4.0), "680400628699180.2");
        assert_eq!(value_text(2_721_602_514_796_723.0 / 4.0), "680400628699180.8");
        assert_eq!(value_text(562_949_953_421_312.0 + 0.1875), "562949953421312.2");
    }

    /// Rust's own printer gives the same shortest digits; it takes another one of two equally near decimals at times, and
    /// exponents look different in Go.
    fn check_against_the_standard_library(value: f64) {
        let (ours, theirs) = (value_text(value), by_the_standard_library(value));
        assert_eq!(
            ours.parse::<f64>().expect("a float").to_bits(),
            value.to_bits(),
            "{ours} reads back as another value"
        );
        let last_digit = ours.split('e').next().and_then(|mantissa| mantissa.bytes().last()).expect("a digit");
        let is_tie = ours.len() == theirs.len() && (last_digit - b'0').is_multiple_of(2);
        assert!(ours == theirs || is_tie, "{ours} instead of {theirs}");
    }

    fn by_the_standard_library(value: f64) -> String {
        let size = value.abs();
        if size == 0.0 || (1e-6..1e21).contains(&size) {
            return value.to_string();
        }
        let text = format!("{value:e}");
        let (mantissa, exponent) = text.split_once('e').expect("an exponent");
        let exponent: i32 = exponent.parse().expect("a number");
        format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn any_bits_print_as_the_standard_library_prints_them(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            check_against_the_standard_library(value);
            prop_assert_eq!(plain(value).parse::<f64>().expect("reads back").to_bits(), value.to_bits());
            prop_assert!(!plain(value).contains('e'));
        }

        #[test]
        fn everyday_values_too(mantissa in -1_000_000_i64..1_000_000, exponent in -12_i32..25) {
            let value = format!("{mantissa}e{exponent}").parse::<f64>().expect("a float");
            check_against_the_standard_library(value);
        }
    }
}
