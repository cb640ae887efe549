//! Texts between quotes: names and values of labels.

use std::borrow::Cow;

/// Where a quoted text ends that begins at `start`, behind its opening quote: the closing quote's place.
///
/// A backslash takes the next character with it, which must not be a line's end.
pub(super) fn closing_quote(page: &[u8], start: usize, may_span_lines: bool) -> Option<usize> {
    let mut at = start;
    loop {
        match *page.get(at)? {
            b'"' => return Some(at),
            b'\\' if *page.get(at + 1)? == b'\n' => return None,
            b'\\' => at += 2,
            b'\n' if !may_span_lines => return None,
            _ => at += 1,
        }
    }
}

/// Behind a backslash n is a line's end, a quote and a backslash are themselves; before others it stands for itself.
pub(super) fn unescaped(text: &str) -> Cow<'_, str> {
    with_escapes(text, &['"', '\\'])
}

/// The same of help texts, in which quotes are as they are.
pub fn unescaped_help(text: &str) -> Cow<'_, str> {
    with_escapes(text, &['\\'])
}

fn with_escapes<'t>(text: &'t str, themselves: &[char]) -> Cow<'t, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(letter) = rest.next() {
        match letter {
            '\\' => match rest.next() {
                Some('n') => plain.push('\n'),
                Some(other) if themselves.contains(&other) => plain.push(other),
                other => plain.extend(['\\'].into_iter().chain(other)),
            },
            other => plain.push(other),
        }
    }
    Cow::Owned(plain)
}

/// Length of a plain name at the start of some bytes: letters, digits but not first, `_`, and `:` where one may be.
pub(super) fn plain_name_length(bytes: &[u8], with_colons: bool) -> usize {
    let is_part = |(at, byte): (usize, &u8)| {
        byte.is_ascii_alphabetic()
            || *byte == b'_'
            || (with_colons && *byte == b':')
            || (at > 0 && byte.is_ascii_digit())
    };
    bytes.iter().enumerate().take_while(|&place| is_part(place)).count()
}

/// A plain name is ASCII.
pub(super) fn plain_text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).expect("letters, digits, _ and : are ASCII")
}
