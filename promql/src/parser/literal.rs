//! Numbers, durations and quoted strings: text to value, by Go's rules.

use std::str::Chars;

use model::sample::NORMAL_NAN_BITS;

use super::quote::quote;

/// The value of a number token. Integers are decimal, hexadecimal (`0x`) or, with a leading zero, octal. The error is the
/// message's ending.
pub(super) fn number(text: &str) -> Result<f64, String> {
    match text.to_ascii_lowercase().as_str() {
        "inf" => return Ok(f64::INFINITY),
        "nan" => return Ok(f64::from_bits(NORMAL_NAN_BITS)),
        _ => {}
    }
    let failed = |why: &str| format!("error parsing number: strconv.ParseFloat: parsing {}: {why}", quote(text));
    let plain = without_underscores(text).ok_or_else(|| failed("invalid syntax"))?;
    if let Some(integer) = integer(&plain) {
        #[expect(clippy::cast_precision_loss, reason = "a number is a float, however it is written")]
        return Ok(integer as f64);
    }
    match plain.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        Ok(_) => Err(failed("value out of range")),
        Err(_) => Err(failed("invalid syntax")),
    }
}

/// Underscores may stand between digits and behind the base's prefix.
fn without_underscores(text: &str) -> Option<String> {
    let (prefix, digits) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => text.split_at(2),
        _ => ("", text),
    };
    let digits = if prefix.is_empty() { digits } else { digits.strip_prefix('_').unwrap_or(digits) };
    let between = |at: usize| {
        let is_digit = |at: usize| digits.as_bytes().get(at).is_some_and(u8::is_ascii_hexdigit);
        at > 0 && is_digit(at - 1) && is_digit(at + 1)
    };
    let valid = digits.match_indices('_').all(|(at, _)| between(at));
    valid.then(|| format!("{prefix}{}", digits.replace('_', "")))
}

fn integer(plain: &str) -> Option<i64> {
    let lower = plain.to_ascii_lowercase();
    if let Some(hex) = lower.strip_prefix("0x") {
        i64::from_str_radix(hex, 16).ok()
    } else if lower.len() > 1 && lower.starts_with('0') {
        i64::from_str_radix(&lower[1..], 8).ok()
    } else {
        lower.parse().ok()
    }
}

/// Units from the longest to the shortest, as they have to stand; a year has 365 days.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 24 * 3_600_000),
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// What 63 bits of nanoseconds hold, in milliseconds.
const DURATION_MS_MAX: u64 = (i64::MAX / 1_000_000) as u64;

/// The seconds of a duration token, such as `1h30m`.
pub(super) fn duration_seconds(text: &str) -> Result<f64, String> {
    #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
    duration_ms(text).map(|milliseconds| milliseconds as f64 / 1e3)
}

fn duration_ms(text: &str) -> Result<u64, String> {
    let invalid = || format!("not a valid duration string: {}", quote(text));
    let (mut rest, mut total, mut units) = (text, 0_u64, UNITS.as_slice());
    while !rest.is_empty() {
        let digits_end = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(invalid)?;
        let (digits, tail) = rest.split_at(digits_end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        if digits.is_empty() {
            return Err(invalid());
        }
        if !UNITS.iter().any(|(name, _)| *name == unit) {
            return Err(format!("unknown unit {} in duration {}", quote(unit), quote(text)));
        }
        let at = units.iter().position(|(name, _)| *name == unit).ok_or_else(invalid)?;
        let part = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(units[at].1));
        total = part
            .and_then(|part| total.checked_add(part))
            .filter(|total| *total <= DURATION_MS_MAX)
            .ok_or("duration out of range")?;
        (rest, units) = (tail, &units[at + 1..]);
    }
    Ok(total)
}

/// The text of a string token. The lexer has checked its escapes; what is left is that they may spell bytes that are no text,
/// which no label can hold.
pub(super) fn unquote(token: &str) -> Result<String, String> {
    let inner = &token[1..token.len() - 1];
    if token.starts_with('`') || !inner.contains('\\') {
        return Ok(inner.to_owned());
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c == '\\' {
            unescape(&mut chars, &mut bytes);
        } else {
            push_char(&mut bytes, c);
        }
    }
    String::from_utf8(bytes).map_err(|_| format!("error unquoting string {}: not valid UTF-8", quote(token)))
}

/// Reads one escape sequence, behind its backslash.
fn unescape(chars: &mut Chars<'_>, bytes: &mut Vec<u8>) {
    match chars.next() {
        Some('a') => bytes.push(0x07),
        Some('b') => bytes.push(0x08),
        Some('f') => bytes.push(0x0c),
        Some('n') => bytes.push(b'\n'),
        Some('r') => bytes.push(b'\r'),
        Some('t') => bytes.push(b'\t'),
        Some('v') => bytes.push(0x0b),
        Some('x') => push_byte(bytes, code(chars, 0, 2, 16)),
        Some('u') => push_code(bytes, code(chars, 0, 4, 16)),
        Some('U') => push_code(bytes, code(chars, 0, 8, 16)),
        Some(c @ '0'..='7') => push_byte(bytes, code(chars, c as u32 - '0' as u32, 2, 8)),
        Some(c) => push_char(bytes, c),
        None => {}
    }
}

fn code(chars: &mut Chars<'_>, first: u32, digits: usize, base: u32) -> u32 {
    chars.take(digits).fold(first, |code, c| code * base + c.to_digit(base).unwrap_or(0))
}

fn push_byte(bytes: &mut Vec<u8>, code: u32) {
    bytes.push(u8::try_from(code).expect("the lexer refused greater ones"));
}

fn push_code(bytes: &mut Vec<u8>, code: u32) {
    push_char(bytes, char::from_u32(code).expect("the lexer refused what is no character"));
}

fn push_char(bytes: &mut Vec<u8>, c: char) {
    bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}
