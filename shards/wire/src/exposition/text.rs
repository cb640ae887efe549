//! What only the text format has: blanks, comments of any kind, times in milliseconds.

use super::{
    number,
    reader::{Metadata, MetricKind, Reader},
};

impl<'p> Reader<'p> {
    /// Blanks before a line, an empty line, or the page's end. A zero byte where a line would begin ends the page, as it does for
    /// Prometheus.
    pub(super) fn text_between_lines(&mut self) -> Result<(), &'static str> {
        match self.peek() {
            None | Some(0) => self.has_ended = true,
            Some(b' ' | b'\t' | b'\n') => self.at += 1,
            Some(_) => return Err("a line begins with a metric's name, a brace or #"),
        }
        Ok(())
    }

    /// A comment, which may be metadata.
    pub(super) fn text_comment(&mut self) -> Result<Option<Metadata<'p>>, &'static str> {
        self.at += 1;
        if !matches!(self.peek(), Some(b' ' | b'\t')) {
            // A zero byte in it ends the page, for Prometheus too.
            self.has_ended = self.text_line_rest().contains(&0);
            return Ok(None);
        }
        self.skip_blanks();
        let word = &self.page[self.at..(self.at + 4).min(self.page.len())];
        let is_metadata = matches!(word, b"HELP" | b"TYPE") && matches!(self.page.get(self.at + 4), Some(b' ' | b'\t'));
        if !is_metadata {
            self.text_line_rest();
            return Ok(None);
        }
        self.at += 4;
        self.skip_blanks();
        let name = self.metadata_name()?;
        // Whatever stands right behind the name is taken for the blank.
        let text = self.text_line_rest();
        let text = text.get(1..).unwrap_or_default();
        if word == b"HELP" {
            let text = str::from_utf8(text).map_err(|_| "a help text must be UTF-8")?;
            return Ok(Some(Metadata::Help { name, text }));
        }
        let kind = match text {
            b"counter" => MetricKind::Counter,
            b"gauge" => MetricKind::Gauge,
            b"histogram" => MetricKind::Histogram,
            b"summary" => MetricKind::Summary,
            b"untyped" => MetricKind::Unknown,
            _ => return Err("not a type of metrics"),
        };
        Ok(Some(Metadata::Type { name, kind }))
    }

    /// What is left of the line; the last one need not end.
    fn text_line_rest(&mut self) -> &'p [u8] {
        let rest = &self.page[self.at..];
        self.rest_of_line().unwrap_or_else(|| {
            self.at = self.page.len();
            rest
        })
    }

    /// A value, and perhaps a time.
    pub(super) fn text_value(&mut self) -> Result<(u64, Option<i64>), &'static str> {
        self.skip_blanks();
        let word = self.text_word();
        if word.is_empty() {
            return Err("a value must follow the metric");
        }
        let value = number::value_bits(word).ok_or("the value is not a number")?;
        self.skip_blanks();
        if self.is_text_line_end() {
            return Ok((value, None));
        }
        let rest = &self.page[self.at..];
        let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += length;
        self.skip_blanks();
        if length == 0 || !self.is_text_line_end() {
            return Err("only a timestamp, in whole milliseconds, may follow the value");
        }
        let digits = str::from_utf8(&rest[..length]).expect("digits are ASCII");
        let time = digits.parse().map_err(|_| "the timestamp is out of range")?;
        Ok((value, Some(time)))
    }

    fn text_word(&mut self) -> &'p [u8] {
        let rest = &self.page[self.at..];
        let length = rest.iter().take_while(|byte| !matches!(byte, b'{' | b' ' | b'\t' | b'\n')).count();
        self.at += length;
        &rest[..length]
    }

    fn is_text_line_end(&mut self) -> bool {
        self.skip(b'\n') || self.at == self.page.len()
    }
}
