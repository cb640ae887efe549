//! JSON written straight into bytes, without a tree in between.
//!
//! The writer keeps commas right and nothing else: whoever calls it opens and closes objects and arrays in pairs and writes a
//! key before each value of an object. Numbers of samples have rules of their own, see [`number`].

pub(crate) mod number;

use promql::histogram::{Bucket, FloatHistogram};

/// Where JSON is written to.
#[derive(Debug, Default)]
pub(crate) struct Json {
    out: Vec<u8>,
    /// Whether something stands before the place of the next key or value.
    comma: bool,
}

impl Json {
    pub(crate) fn object(&mut self) -> &mut Self {
        self.open(b'{')
    }

    pub(crate) fn end_object(&mut self) -> &mut Self {
        self.close(b'}')
    }

    pub(crate) fn array(&mut self) -> &mut Self {
        self.open(b'[')
    }

    pub(crate) fn end_array(&mut self) -> &mut Self {
        self.close(b']')
    }

    pub(crate) fn key(&mut self, key: &str) -> &mut Self {
        self.separate();
        escape(&mut self.out, key, Signs::Escaped);
        self.out.push(b':');
        self.comma = false;
        self
    }

    /// A string as Go's encoder writes it: also safe inside a script of a web page.
    pub(crate) fn string(&mut self, value: &str) -> &mut Self {
        self.separate();
        escape(&mut self.out, value, Signs::Escaped);
        self.comma = true;
        self
    }

    /// As [`Self::string`], but with the signs of HTML as they are. Prometheus writes the labels of query results so.
    pub(crate) fn bare_string(&mut self, value: &str) -> &mut Self {
        self.separate();
        escape(&mut self.out, value, Signs::AsTheyAre);
        self.comma = true;
        self
    }

    pub(crate) fn integer(&mut self, value: impl Into<i128>) -> &mut Self {
        self.raw(value.into().to_string().as_bytes())
    }

    pub(crate) fn bool(&mut self, value: bool) -> &mut Self {
        self.raw(if value { b"true" } else { b"false" })
    }

    /// A value that is JSON already.
    pub(crate) fn raw(&mut self, value: &[u8]) -> &mut Self {
        self.separate();
        self.out.extend_from_slice(value);
        self.comma = true;
        self
    }

    /// `[<seconds>,"<value>"]`, the shape of a sample in every answer.
    pub(crate) fn sample(&mut self, time_ms: i64, value: f64) -> &mut Self {
        self.separate();
        self.out.push(b'[');
        number::push_time(&mut self.out, time_ms);
        self.out.extend_from_slice(b",\"");
        number::push_value(&mut self.out, value);
        self.out.extend_from_slice(b"\"]");
        self.comma = true;
        self
    }

    /// `[<seconds>,{"count":...}]`, the shape of a native histogram in every answer.
    pub(crate) fn histogram(&mut self, time_ms: i64, histogram: &FloatHistogram) -> &mut Self {
        self.separate();
        self.out.push(b'[');
        number::push_time(&mut self.out, time_ms);
        self.out.push(b',');
        self.comma = false;
        self.object();
        self.key("count").float(histogram.count).key("sum").float(histogram.sum);
        let mut buckets = histogram.buckets().filter(|bucket| bucket.count != 0.0).peekable();
        if buckets.peek().is_some() {
            self.key("buckets").array();
            for bucket in buckets {
                self.bucket(&bucket);
            }
            self.end_array();
        }
        self.end_object();
        self.out.push(b']');
        self.comma = true;
        self
    }

    /// Which ends belong to it, as a number from 0 to 3, both bounds and the count.
    fn bucket(&mut self, bucket: &Bucket) {
        let ends = match (bucket.lower_inclusive, bucket.upper_inclusive) {
            (false, true) => 0,
            (true, false) => 1,
            (false, false) => 2,
            (true, true) => 3,
        };
        self.array().integer(ends);
        self.float(bucket.lower).float(bucket.upper).float(bucket.count).end_array();
    }

    /// A float in quotes, as everywhere in answers.
    fn float(&mut self, value: f64) -> &mut Self {
        self.separate();
        self.out.push(b'"');
        number::push_value(&mut self.out, value);
        self.out.push(b'"');
        self.comma = true;
        self
    }

    /// `"name":"value"` pairs as an object.
    pub(crate) fn string_map<'a>(&mut self, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> &mut Self {
        self.object();
        for (key, value) in pairs {
            self.key(key).string(value);
        }
        self.end_object()
    }

    pub(crate) fn strings<'a>(&mut self, values: impl IntoIterator<Item = &'a str>) -> &mut Self {
        self.array();
        for value in values {
            self.string(value);
        }
        self.end_array()
    }

    pub(crate) fn len(&self) -> usize {
        self.out.len()
    }

    /// Makes room for so many bytes at once.
    pub(crate) fn reserve(&mut self, bytes: usize) {
        self.out.reserve(bytes);
    }

    /// What has been written since the last call; writing goes on behind it.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    fn open(&mut self, byte: u8) -> &mut Self {
        self.separate();
        self.out.push(byte);
        self.comma = false;
        self
    }

    fn close(&mut self, byte: u8) -> &mut Self {
        self.out.push(byte);
        self.comma = true;
        self
    }

    fn separate(&mut self) {
        if self.comma {
            self.out.push(b',');
        }
    }
}

/// What becomes of `<`, `>`, `&` and of the two line separators of Unicode, which end a line in old JavaScript.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Signs {
    Escaped,
    AsTheyAre,
}

fn escape(out: &mut Vec<u8>, text: &str, signs: Signs) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut written = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let is_sign = signs == Signs::Escaped
            && (matches!(byte, b'<' | b'>' | b'&') || (byte == 0xe2 && is_line_separator(&bytes[at..])));
        if byte >= 0x20 && byte != b'"' && byte != b'\\' && !is_sign {
            continue;
        }
        out.extend_from_slice(&bytes[written..at]);
        written = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0xe2 => {
                out.extend_from_slice(if bytes[at + 2] == 0xa8 { b"\\u2028" } else { b"\\u2029" });
                written = at + 3;
            }
            _ => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
        }
    }
    out.extend_from_slice(&bytes[written..]);
    out.push(b'"');
}

/// U+2028 or U+2029 in UTF-8.
fn is_line_separator(bytes: &[u8]) -> bool {
    matches!(bytes, [0xe2, 0x80, 0xa8 | 0xa9, ..])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn commas_and_nesting() {
        let mut json = Json::default();
        json.object().key("a").array().integer(1).integer(-2).array().end_array().end_array();
        json.key("b").object().end_object().key("c").bool(true).key("s").sample(1500, 0.5).end_object();
        let text = String::from_utf8(json.take()).expect("UTF-8");
        assert_eq!(text, r#"{"a":[1,-2,[]],"b":{},"c":true,"s":[1.500,"0.5"]}"#);
    }

    #[test]
    fn strings_are_safe_in_a_page_unless_bare() {
        let mut json = Json::default();
        json.array().string("<&>\u{2028}\u{2029}\u{2027}").bare_string("<&>\u{2028}\u{1}").end_array();
        let text = String::from_utf8(json.take()).expect("UTF-8");
        assert_eq!(text, "[\"\\u003c\\u0026\\u003e\\u2028\\u2029\u{2027}\",\"<&>\u{2028}\\u0001\"]");
    }

    proptest! {
        #[test]
        fn any_string_survives(text in any::<String>()) {
            let mut json = Json::default();
            json.array().string(&text).bare_string(&text).end_array();
            let back: Vec<String> = serde_json::from_slice(&json.take()).expect("valid JSON");
            prop_assert_eq!(back, vec![text.clone(), text]);
        }
    }
}
