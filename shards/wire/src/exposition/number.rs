//! Numbers of pages, by Go's rules: no hexadecimal, no underscores, no sign before NaN, and nothing that is too large for a float.

use model::{sample::NORMAL_NAN_BITS, value_text};

/// Powers of ten that a float holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// Mantissas up to here are exact, and so is one rounding of them by an exact power (Clinger, How to Read Floating Point Numbers
/// Accurately, 1990).
const MANTISSA_MAX: u64 = 1 << 53;

/// The bits of the number at the start of some bytes, and how many it takes, if it is one of those that are easily read: what
/// counters and gauges say nearly always.
#[inline]
pub(super) fn easy(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut at = usize::from(bytes.first() == Some(&b'-'));
    let is_negative = at == 1;
    let first = at;
    let mut mantissa = digits_into(0, bytes, &mut at);
    let mut digits = at - first;
    let mut power = 0i32;
    if digits > 0 && bytes.get(at) == Some(&b'.') {
        at += 1;
        let fraction = at;
        mantissa = digits_into(mantissa, bytes, &mut at);
        digits += at - fraction;
        power = -i32::try_from(at - fraction).ok()?;
    }
    // Nineteen digits always fit 64 bits.
    if digits == 0 || digits > 19 || mantissa > MANTISSA_MAX {
        return None;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let (exponent, end) = exponent(bytes, at + 1)?;
        power += exponent;
        at = end;
    }
    let size = mantissa as f64;
    let value = match power {
        0 => size,
        1..=22 => size * POWERS[power as usize],
        -22..0 => size / POWERS[-power as usize],
        _ => return None,
    };
    Some((if is_negative { -value } else { value }.to_bits(), at))
}

/// Appends digits to a number, eight at a time where there are so many (Daniel Lemire, Quickly parsing eight digits, 2018). It
/// overflows beyond nineteen of them.
#[inline(always)]
fn digits_into(mut number: u64, bytes: &[u8], at: &mut usize) -> u64 {
    while let Some(eight) = bytes.get(*at..).and_then(<[u8]>::first_chunk) {
        let word = u64::from_le_bytes(*eight);
        // The high half of each byte is 3, and stays it when 6 is added.
        let has_others =
            (word & 0xf0f0_f0f0_f0f0_f0f0) | (word.wrapping_add(0x0606_0606_0606_0606) & 0xf0f0_f0f0_f0f0_f0f0) >> 4;
        if has_others != 0x3333_3333_3333_3333 {
            break;
        }
        let word = (word & 0x0f0f_0f0f_0f0f_0f0f).wrapping_mul(10 * 256 + 1) >> 8;
        let word = (word & 0x00ff_00ff_00ff_00ff).wrapping_mul(100 * 65536 + 1) >> 16;
        let word = (word & 0x0000_ffff_0000_ffff).wrapping_mul(10_000 * (1 << 32) + 1) >> 32;
        number = number.wrapping_mul(100_000_000).wrapping_add(word);
        *at += 8;
    }
    while let Some(digit) = bytes.get(*at).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
        *at += 1;
    }
    number
}

fn exponent(bytes: &[u8], start: usize) -> Option<(i32, usize)> {
    let is_negative = bytes.get(start) == Some(&b'-');
    let first = start + usize::from(is_negative || bytes.get(start) == Some(&b'+'));
    let length = bytes[first.min(bytes.len())..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(1..=4).contains(&length) {
        return None;
    }
    let size = bytes[first..first + length].iter().fold(0, |sum, digit| sum * 10 + i32::from(digit - b'0'));
    Some((if is_negative { -size } else { size }, first + length))
}

/// The number that a word is.
pub(super) fn parse(word: &[u8]) -> Option<f64> {
    let text = str::from_utf8(word).ok()?;
    let value: f64 = text.parse().ok()?;
    let is_spelled = |name: &str| text.trim_start_matches(['+', '-']).eq_ignore_ascii_case(name);
    match value {
        _ if value.is_nan() => text.eq_ignore_ascii_case("nan").then_some(value),
        _ if value.is_infinite() => (is_spelled("inf") || is_spelled("infinity")).then_some(value),
        _ => Some(value),
    }
}

/// The bits of a sample's value. Any NaN is the ordinary one: the others mean something.
pub(super) fn value_bits(word: &[u8]) -> Option<u64> {
    parse(word).map(|value| if value.is_nan() { NORMAL_NAN_BITS } else { value.to_bits() })
}

/// A bound of a bucket or a quantile, as OpenMetrics writes floats: `1` is `1.0`. What is no number stays.
pub(super) fn normalized(text: &str) -> String {
    parse(text.as_bytes()).map_or_else(|| text.to_owned(), value_text::open_metrics)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_go_refuses_is_refused() {
        for word in ["", "0x1", "1_0", "-nan", "+NaN", "1e", "e1", ".", "1e999", "-1e999", "1 ", "inff", "\u{661}"] {
            assert_eq!(parse(word.as_bytes()), None, "{word:?}");
        }
        for (word, value) in [
            ("1.", 1.0),
            (".5", 0.5),
            ("+1e3", 1000.0),
            ("-0", -0.0),
            ("Inf", f64::INFINITY),
            ("-INFINITY", f64::NEG_INFINITY),
            ("1e-999", 0.0),
            ("1.7976931348623157e+308", f64::MAX),
        ] {
            assert_eq!(parse(word.as_bytes()).map(f64::to_bits), Some(value.to_bits()), "{word:?}");
        }
        assert_eq!(value_bits(b"nAn"), Some(NORMAL_NAN_BITS));
    }

    #[test]
    fn bounds_are_written_as_open_metrics_writes_them() {
        for (text, expected) in
            [("1", "1.0"), ("0.5", "0.5"), ("+Inf", "+Inf"), ("1000000", "1e+06"), ("1e-5", "1e-05"), ("x", "x")]
        {
            assert_eq!(normalized(text), expected);
        }
    }

    proptest! {
        /// Goal: the quick way says what the careful one says, to the bit, or nothing.
        #[test]
        fn the_quick_way_is_exact(text in "-?[0-9]{0,18}(\\.[0-9]{0,18})?([eE][+-]?[0-9]{0,4})?[ \n]?") {
            let word = text.trim_end_matches([' ', '\n']);
            if let Some((bits, length)) = easy(text.as_bytes()) {
                let value: Option<f64> = word[..length].parse().ok();
                prop_assert_eq!(value.map(f64::to_bits), Some(bits));
            }
        }

        #[test]
        fn ordinary_numbers_are_easy(value in -1_000_000_000_000i64..1_000_000_000_000, fraction in 0u32..1000) {
            let text = format!("{value}.{fraction}");
            prop_assert_eq!(easy(text.as_bytes()).map(|(_, length)| length), Some(text.len()));
            let exponent = format!("{:e}", value as f64);
            prop_assert!(easy(exponent.as_bytes()).is_some());
        }
    }
}
