//! Quoting as Go does it, which is what Prometheus prints in messages and in canonical text.

use std::fmt::Write;

/// A double-quoted string that reads back to the same text.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    text.chars().for_each(|c| push_escaped(&mut quoted, c, '"'));
    quoted.push('"');
    quoted
}

/// One character in single quotes; the end of the input shows as the replacement character.
pub(crate) fn quote_char(c: Option<char>) -> String {
    let mut quoted = String::from("'");
    push_escaped(&mut quoted, c.unwrap_or(char::REPLACEMENT_CHARACTER), '\'');
    quoted.push('\'');
    quoted
}

/// `U+0027 '''`: the number, and the character where it can be shown.
pub(crate) fn unicode_name(c: char) -> String {
    if is_printable(c) { format!("U+{:04X} '{c}'", c as u32) } else { format!("U+{:04X}", c as u32) }
}

fn push_escaped(out: &mut String, c: char, quote: char) {
    match c {
        '\\' => out.push_str("\\\\"),
        _ if c == quote => out.extend(['\\', c]),
        _ if is_printable(c) => out.push(c),
        '\x07' => out.push_str("\\a"),
        '\x08' => out.push_str("\\b"),
        '\x0c' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\x0b' => out.push_str("\\v"),
        _ => push_number(out, c),
    }
}

fn push_number(out: &mut String, c: char) {
    let written = match c as u32 {
        code @ (0..=0x1f | 0x7f) => write!(out, "\\x{code:02x}"),
        code @ 0..=0xffff => write!(out, "\\u{code:04x}"),
        code => write!(out, "\\U{code:08x}"),
    };
    written.expect("writing to a String can't fail");
}

/// Printable in Go's sense: letters, marks, numbers, punctuation, symbols and the plain space.
fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return c == ' ' || c.is_ascii_graphic();
    }
    // Behind another character the library escapes exactly what can't be shown; in front it would escape marks too.
    let mut behind = [b'a'; 5];
    let length = 1 + c.encode_utf8(&mut behind[1..]).len();
    std::str::from_utf8(&behind[..length]).is_ok_and(|text| text.escape_debug().count() == 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_shown_is_escaped() {
        let cases = [
            ("a b\"c'\\", r#""a b\"c'\\""#),
            ("\x07\x08\x0c\n\r\t\x0b\x00\x7f", r#""\a\b\f\n\r\t\v\x00\x7f""#),
            ("é日😀e\u{301}", "\"é日😀e\u{301}\""),
            ("\u{301}\u{e0100}", "\"\u{301}\u{e0100}\""),
            ("\u{a0}\u{200b}\u{feff}\u{e000}\u{10ffff}", r#""\u00a0\u200b\ufeff\ue000\U0010ffff""#),
        ];
        for (text, expected) in cases {
            assert_eq!(quote(text), expected);
        }
        assert_eq!(quote_char(Some('\'')), r"'\''");
        assert_eq!(quote_char(Some('"')), "'\"'");
        assert_eq!(quote_char(None), "'\u{fffd}'");
    }
}
