//! Constants, by Go's rules: <https://go.dev/ref/spec#Constants>.

use std::str::Chars;

use crate::tree::Number;

/// The text of a string in double quotes. Bytes that are no text become U+FFFD.
pub(crate) fn unquote(token: &str) -> Result<String, String> {
    let inner = token.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default();
    let (mut bytes, mut chars) = (Vec::with_capacity(inner.len()), inner.chars());
    while let Some(c) = chars.next() {
        match c {
            '\\' => match escape(&mut chars, '"')? {
                Escaped::Byte(byte) => bytes.push(byte),
                Escaped::Char(c) => push_char(&mut bytes, c),
            },
            c => push_char(&mut bytes, c),
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The text of a string in backquotes.
pub(crate) fn raw(token: &str) -> String {
    token.trim_matches('`').replace('\r', "")
}

fn push_char(bytes: &mut Vec<u8>, c: char) {
    bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

enum Escaped {
    Byte(u8),
    Char(char),
}

/// Reads one escape sequence, behind its backslash.
fn escape(chars: &mut Chars<'_>, quote: char) -> Result<Escaped, String> {
    let c = chars.next().ok_or("a backslash stands at the end")?;
    let byte = match c {
        'a' => 0x07,
        'b' => 0x08,
        'f' => 0x0c,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 0x0b,
        'x' => code(chars, c, 2, 16)? as u8,
        'u' => return character(code(chars, c, 4, 16)?),
        'U' => return character(code(chars, c, 8, 16)?),
        '0'..='7' => {
            let rest = code(chars, c, 2, 8)?;
            u8::try_from((c as u32 - '0' as u32) * 64 + rest).map_err(|_| "an octal escape is above \\377")?
        }
        '\\' => return Ok(Escaped::Char('\\')),
        c if c == quote => return Ok(Escaped::Char(quote)),
        c => return Err(format!("\\{c} is no escape sequence")),
    };
    Ok(Escaped::Byte(byte))
}

fn code(chars: &mut Chars<'_>, kind: char, digits: usize, base: u32) -> Result<u32, String> {
    let mut code = 0u32;
    for _ in 0..digits {
        let digit = chars.next().and_then(|c| c.to_digit(base));
        let digit = digit.ok_or_else(|| format!("\\{kind} wants {digits} more digits"))?;
        code = code.wrapping_mul(base).wrapping_add(digit);
    }
    Ok(code)
}

fn character(code: u32) -> Result<Escaped, String> {
    char::from_u32(code).map(Escaped::Char).ok_or_else(|| format!("{code:#x} is no character"))
}

/// The number that a character in single quotes stands for.
pub(crate) fn character_constant(token: &str) -> Result<Number, String> {
    let inner = token.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')).unwrap_or_default();
    let mut chars = inner.chars();
    let first = chars.next().ok_or("no character stands between the quotes")?;
    let code = match first {
        '\\' => match escape(&mut chars, '\'')? {
            Escaped::Byte(byte) => i64::from(byte),
            Escaped::Char(c) => i64::from(u32::from(c)),
        },
        c => i64::from(u32::from(c)),
    };
    if chars.next().is_some() {
        return Err("more than one character stands between the quotes".to_owned());
    }
    Ok(Number::Integer(code))
}

/// The value of a real or an imaginary number.
pub(crate) fn number(token: &str) -> Result<Number, String> {
    if let Some(text) = token.strip_suffix('i') {
        return Ok(Number::Complex { real: 0.0, imaginary: imaginary(text)? });
    }
    if let Some(integer) = integer(token) {
        let number = i64::try_from(integer).map(Number::Integer);
        return number.or_else(|_| u64::try_from(integer).map(Number::Unsigned)).map_err(|_| overflow(token));
    }
    if !token.contains(['.', 'e', 'E', 'p', 'P']) {
        return Err(if float(token).is_some() { overflow(token) } else { malformed(token) });
    }
    float(token).map(Number::Float).ok_or_else(|| malformed(token))
}

/// The value of a sum of a real and an imaginary number.
pub(crate) fn complex(token: &str) -> Result<Number, String> {
    // Behind the letter of an exponent a sign belongs to it; `e` is a digit too.
    let is_hexadecimal = token.contains(['x', 'X']);
    let is_exponents = |at: usize| match token.as_bytes()[at - 1] {
        b'p' | b'P' => true,
        b'e' | b'E' => !is_hexadecimal,
        _ => false,
    };
    let mut signs = token.match_indices(['+', '-']).map(|(at, _)| at).filter(|&at| at > 0 && !is_exponents(at));
    let middle = signs.next_back().ok_or_else(|| malformed(token))?;
    let (real, rest) = token.split_at(middle);
    let real = float(real).ok_or_else(|| malformed(token))?;
    Ok(Number::Complex { real, imaginary: imaginary(rest.trim_end_matches('i'))? })
}

fn imaginary(text: &str) -> Result<f64, String> {
    float(text).ok_or_else(|| malformed(text))
}

fn malformed(token: &str) -> String {
    format!("{token:?} is not a number")
}

fn overflow(token: &str) -> String {
    format!("{token} does not fit into 64 bits")
}

/// An integer, decimal or in the base that its prefix says.
fn integer(token: &str) -> Option<i128> {
    let (sign, digits) = signed(token);
    let (base, digits) = match digits.get(..2) {
        Some("0x" | "0X") => (16, &digits[2..]),
        Some("0o" | "0O") => (8, &digits[2..]),
        Some("0b" | "0B") => (2, &digits[2..]),
        Some(_) if digits.starts_with('0') => (8, &digits[1..]),
        _ => (10, digits),
    };
    // Behind a prefix one may stand.
    let plain = without_underscores(if base == 10 { digits } else { digits.strip_prefix('_').unwrap_or(digits) })?;
    if !plain.starts_with(|c: char| c.is_digit(base)) {
        return None;
    }
    i128::from_str_radix(&plain, base).ok().map(|value| sign * value)
}

fn signed(token: &str) -> (i128, &str) {
    match token.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, token.strip_prefix('+').unwrap_or(token)),
    }
}

/// Digits between which underscores may stand.
fn without_underscores(digits: &str) -> Option<String> {
    let is_digit = |at: Option<usize>| at.and_then(|at| digits.as_bytes().get(at)).is_some_and(u8::is_ascii_hexdigit);
    let between = |at: usize| is_digit(at.checked_sub(1)) && is_digit(Some(at + 1));
    digits.match_indices('_').all(|(at, _)| between(at)).then(|| digits.replace('_', ""))
}

fn float(token: &str) -> Option<f64> {
    let (sign, digits) = signed(token);
    let magnitude = match digits.get(..2) {
        Some("0x" | "0X") => hexadecimal_float(&digits[2..])?,
        _ => {
            let plain = without_underscores(digits)?;
            // The words for what is no number are none here.
            plain.starts_with(|c: char| c.is_ascii_digit() || c == '.').then(|| plain.parse::<f64>().ok())??
        }
    };
    (magnitude.is_finite()).then_some(if sign < 0 { -magnitude } else { magnitude })
}

/// A mantissa and a power of two, which has to be there. Exact up to 52 bits, rounded beyond.
fn hexadecimal_float(digits: &str) -> Option<f64> {
    let (mantissa, exponent) = digits.split_once(['p', 'P'])?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let plain = without_underscores(whole.strip_prefix('_').unwrap_or(whole))? + &without_underscores(fraction)?;
    if plain.is_empty() {
        return None;
    }
    let value = plain.chars().try_fold(0.0, |value, c| Some(value * 16.0 + f64::from(c.to_digit(16)?)))?;
    let exponent: i32 = without_underscores(exponent)?.parse().ok()?;
    let fraction_digits = i32::try_from(fraction.replace('_', "").len()).ok()?;
    Some(value * 2f64.powi(exponent.checked_sub(fraction_digits.checked_mul(4)?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_what_go_makes_of_them() {
        let good = [
            ("0", Number::Integer(0)),
            ("-12", Number::Integer(-12)),
            ("+1_000", Number::Integer(1000)),
            ("0x_ff", Number::Integer(255)),
            ("017", Number::Integer(15)),
            ("0b101", Number::Integer(5)),
            ("18446744073709551615", Number::Unsigned(u64::MAX)),
            ("1e3", Number::Float(1000.0)),
            ("-.5", Number::Float(-0.5)),
            ("0x1p-2", Number::Float(0.25)),
            ("2i", Number::Complex { real: 0.0, imaginary: 2.0 }),
        ];
        for (text, value) in good {
            assert_eq!(number(text), Ok(value), "{text}");
        }
        for text in ["", "-", ".", "1__0", "_1", "08", "0x", "1e", "18446744073709551616", "1e999", "0x1.8", "inf"] {
            assert!(number(text).is_err(), "{text}");
        }
        assert_eq!(complex("1e+2-0.5i"), Ok(Number::Complex { real: 100.0, imaginary: -0.5 }));
        assert!(complex("1+-2i").is_err());
    }

    #[test]
    fn strings_and_characters_are_unquoted() {
        assert_eq!(unquote(r#""a\"\n\x41\101\u00e4\U0001F600""#), Ok("a\"\nAA\u{e4}\u{1f600}".to_owned()));
        for text in [r#""\'""#, r#""\q""#, r#""\x4""#, r#""\400""#, r#""\ud800""#] {
            assert!(unquote(text).is_err(), "{text}");
        }
        assert_eq!(raw("`a\\n\r`"), "a\\n");
        assert_eq!(character_constant(r"'\''"), Ok(Number::Integer(39)));
        assert_eq!(character_constant("'ä'"), Ok(Number::Integer(0xe4)));
        assert!(character_constant("''").is_err() && character_constant("'ab'").is_err());
    }
}
