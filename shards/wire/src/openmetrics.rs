//! OpenMetrics text (github.com/prometheus/OpenMetrics, 1.0), read as strictly as Prometheus does, with its UTF-8 names.
//!
//! Of `# HELP`, `# TYPE` and `# UNIT` only the form is checked, and exemplars are left out: what is taken are samples.

use std::borrow::Cow;

use model::{Labels, LabelsBuilder, METRIC_NAME, sample::NORMAL_NAN_BITS};

/// One line with a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// With the metric's name.
    pub labels: Labels,
    /// Bits of the value. Any NaN is the ordinary one.
    pub bits: u64,
    /// Milliseconds since 1970.
    pub time: Option<i64>,
}

/// What is wrong with a text, and in which line, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct ParseError {
    pub line: u64,
    pub what: &'static str,
}

/// Tells `each` the samples of a text in their order, with the number of the line.
///
/// # Errors
/// At the first line that is not OpenMetrics, or that `each` refuses; and if the text does not end with `# EOF`.
pub fn parse(text: &[u8], mut each: impl FnMut(u64, Sample) -> Result<(), &'static str>) -> Result<(), ParseError> {
    let mut rest = text;
    let mut line = 0;
    loop {
        line += 1;
        let end = rest.iter().position(|&byte| byte == b'\n');
        let (bytes, behind) = end.map_or((rest, &[][..]), |end| (&rest[..end], &rest[end + 1..]));
        let error = |what| ParseError { line, what };
        match bytes {
            b"# EOF" if behind.is_empty() => return Ok(()),
            b"# EOF" => return Err(error("there is something behind # EOF")),
            _ if end.is_none() => return Err(error("the text does not end with # EOF")),
            [b'#', ..] => check_metadata(bytes).map_err(error)?,
            _ => {
                let sample = Cursor(bytes).sample().map_err(error)?;
                each(line, sample).map_err(error)?;
            }
        }
        rest = behind;
    }
}

const TYPES: [&[u8]; 8] =
    [b"counter", b"gauge", b"histogram", b"gaugehistogram", b"summary", b"info", b"stateset", b"unknown"];

fn check_metadata(line: &[u8]) -> Result<(), &'static str> {
    let kinds = ["# HELP ", "# TYPE ", "# UNIT "];
    let kind = kinds.into_iter().find(|kind| line.starts_with(kind.as_bytes()));
    let kind = kind.ok_or("a comment must be HELP, TYPE, UNIT or EOF")?;
    let mut rest = Cursor(&line[kind.len()..]);
    let name = rest.name(is_metric_name)?;
    let text = match rest.0 {
        [] => &[][..],
        [b' ', text @ ..] => text,
        _ => return Err("a blank must follow the metric's name"),
    };
    match kind {
        "# HELP " if str::from_utf8(text).is_err() => Err("a help text must be UTF-8"),
        "# TYPE " if !TYPES.contains(&text) => Err("not a type of metrics"),
        "# UNIT " if !text.is_empty() => {
            let stem = name.as_bytes().strip_suffix(text);
            stem.filter(|stem| stem.ends_with(b"_")).map(|_| ()).ok_or("the unit must be the end of the metric's name")
        }
        _ => Ok(()),
    }
}

fn is_metric_name(at: usize, byte: u8) -> bool {
    byte == b':' || is_label_name(at, byte)
}

fn is_label_name(at: usize, byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphabetic() || (at > 0 && byte.is_ascii_digit())
}

/// What is left of a line.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn sample(&mut self) -> Result<Sample, &'static str> {
        let mut labels = LabelsBuilder::default();
        if self.0.first() != Some(&b'{') {
            labels.set(METRIC_NAME, &self.plain_name(is_metric_name)?);
        }
        if self.skip(b'{') {
            self.labels(&mut labels, true)?;
        }
        if labels.get(METRIC_NAME).is_none() {
            return Err("the metric has no name");
        }
        let bits = self.value()?;
        let mut time = None;
        if self.0.first() == Some(&b' ') && !self.0.starts_with(b" #") {
            time = Some(self.time()?);
        }
        if let Some(exemplar) = self.0.strip_prefix(b" # ") {
            self.0 = exemplar;
            self.exemplar()?;
        }
        if !self.0.is_empty() {
            return Err("there is something behind the sample");
        }
        Ok(Sample { labels: labels.build(), bits, time })
    }

    fn exemplar(&mut self) -> Result<(), &'static str> {
        if !self.skip(b'{') {
            return Err("an exemplar begins with its labels");
        }
        self.labels(&mut LabelsBuilder::default(), false)?;
        self.value()?;
        if self.0.first() == Some(&b' ') {
            self.time()?;
        }
        Ok(())
    }

    /// Labels behind an opening brace; a quoted text alone is the metric's name.
    fn labels(&mut self, labels: &mut LabelsBuilder, may_name: bool) -> Result<(), &'static str> {
        let mut names: Vec<Cow<'a, str>> = Vec::new();
        while !self.skip(b'}') {
            let is_quoted = self.0.first() == Some(&b'"');
            let name = self.name(is_label_name)?;
            if is_quoted && may_name && matches!(self.0.first(), Some(b',' | b'}')) {
                if labels.get(METRIC_NAME).is_some() {
                    return Err("the metric has two names");
                }
                labels.set(METRIC_NAME, &name);
            } else {
                if !self.skip(b'=') {
                    return Err("a label's name must be followed by an equals sign");
                }
                let value = self.quoted()?;
                if names.contains(&name) || name == METRIC_NAME {
                    return Err("a label's name occurs twice");
                }
                labels.set(&name, &value);
                names.push(name);
            }
            if !self.skip(b',') && self.0.first() != Some(&b'}') {
                return Err("labels must be separated by commas and end with a brace");
            }
        }
        Ok(())
    }

    /// A name, quoted or not.
    fn name(&mut self, is_part: fn(usize, u8) -> bool) -> Result<Cow<'a, str>, &'static str> {
        if self.0.first() == Some(&b'"') { self.quoted() } else { self.plain_name(is_part) }
    }

    fn plain_name(&mut self, is_part: fn(usize, u8) -> bool) -> Result<Cow<'a, str>, &'static str> {
        let length = self.0.iter().enumerate().take_while(|&(at, &byte)| is_part(at, byte)).count();
        let (name, rest) = self.0.split_at(length);
        self.0 = rest;
        match str::from_utf8(name) {
            Ok(name) if !name.is_empty() => Ok(Cow::Borrowed(name)),
            _ => Err("a name is expected"),
        }
    }

    /// A text in quotes. Behind a backslash n is a line's end, a quote and a backslash are themselves; before others it stands for itself.
    fn quoted(&mut self) -> Result<Cow<'a, str>, &'static str> {
        if !self.skip(b'"') {
            return Err("a quoted text is expected");
        }
        let mut end = 0;
        while self.0.get(end) != Some(&b'"') {
            end += match self.0.get(end) {
                None => return Err("a quoted text does not end"),
                Some(b'\\') => 2,
                Some(_) => 1,
            };
        }
        let text = str::from_utf8(&self.0[..end]).map_err(|_| "a text must be UTF-8")?;
        self.0 = &self.0[end + 1..];
        Ok(if text.contains('\\') { Cow::Owned(unescaped(text)) } else { Cow::Borrowed(text) })
    }

    fn value(&mut self) -> Result<u64, &'static str> {
        let value = number(self.word("a value must follow, behind one blank")?).ok_or("the value is not a number")?;
        Ok(if value.is_nan() { NORMAL_NAN_BITS } else { value.to_bits() })
    }

    /// Seconds with decimals, as milliseconds.
    fn time(&mut self) -> Result<i64, &'static str> {
        let seconds = number(self.word("a timestamp must follow, behind one blank")?);
        let milliseconds = seconds.ok_or("the timestamp is not a number")? * 1000.0;
        // The same bound on both sides, so that any double in between is an i64.
        if milliseconds.abs() < i64::MAX as f64 {
            Ok(milliseconds as i64)
        } else {
            Err("the timestamp is out of range")
        }
    }

    /// What stands behind a blank, up to the next one.
    fn word(&mut self, missing: &'static str) -> Result<&'a [u8], &'static str> {
        let [b' ', rest @ ..] = self.0 else { return Err(missing) };
        let length = rest.iter().position(|&byte| byte == b' ').unwrap_or(rest.len());
        if length == 0 {
            return Err(missing);
        }
        self.0 = &rest[length..];
        Ok(&rest[..length])
    }

    fn skip(&mut self, byte: u8) -> bool {
        let rest = self.0.strip_prefix(&[byte]);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }
}

fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(letter) = rest.next() {
        match letter {
            '\\' => match rest.next() {
                Some('n') => plain.push('\n'),
                Some(other @ ('"' | '\\')) => plain.push(other),
                other => plain.extend(['\\'].into_iter().chain(other)),
            },
            other => plain.push(other),
        }
    }
    plain
}

/// As Go reads numbers, which knows no sign before NaN.
fn number(word: &[u8]) -> Option<f64> {
    let value: f64 = str::from_utf8(word).ok()?.parse().ok()?;
    (!value.is_nan() || word.eq_ignore_ascii_case(b"nan")).then_some(value)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    fn samples(text: &str) -> Result<Vec<Sample>, String> {
        let mut samples = Vec::new();
        parse(text.as_bytes(), |_, sample| {
            samples.push(sample);
            Ok(())
        })
        .map_err(|error| error.to_string())?;
        Ok(samples)
    }

    fn sample(labels: &[(&str, &str)], value: f64, time: Option<i64>) -> Sample {
        Sample { labels: Labels::from_pairs(labels.iter().copied()), bits: value.to_bits(), time }
    }

    #[test]
    fn samples_of_all_forms_are_read() {
        let text = "# HELP a_seconds Says \\n what.\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\n# UNIT b\n\
                    a_seconds_total 1\n\
                    a:b{} 1.5e3 -1.5\n\
                    a{l=\"\\\"\\\\\\n\\x,}\",_m=\"\",n1=\"é\",} +Inf 1395066363.5 # {trace=\"1\"} 0.5 1.25\n\
                    a -inf # {} 1\n\
                    {\"utf8.name\",\"a.b\"=\"x\"} .5 1.0005\n\
                    {l=\"v\",\"name\"} 0x 1\n# EOF\n";
        assert_eq!(samples(text), Err("line 10: the value is not a number".to_owned()));
        let text = text.replace("0x", "-0.");
        let expected = [
            sample(&[("__name__", "a_seconds_total")], 1.0, None),
            sample(&[("__name__", "a:b")], 1500.0, Some(-1500)),
            sample(&[("__name__", "a"), ("l", "\"\\\n\\x,}"), ("n1", "é")], f64::INFINITY, Some(1_395_066_363_500)),
            sample(&[("__name__", "a")], f64::NEG_INFINITY, None),
            sample(&[("__name__", "utf8.name"), ("a.b", "x")], 0.5, Some(1000)),
            sample(&[("__name__", "name"), ("l", "v")], -0.0, Some(1000)),
        ];
        assert_eq!(samples(&text).as_deref(), Ok(&expected[..]));
        assert_eq!(samples("a nan\n# EOF").map(|samples| samples[0].bits), Ok(NORMAL_NAN_BITS));
    }

    #[test]
    fn what_prometheus_refuses_is_refused_with_its_line() {
        for (line, what) in [
            ("", "a name is expected"),
            ("1a 1", "a name is expected"),
            ("a", "a value must follow, behind one blank"),
            ("a ", "a value must follow, behind one blank"),
            ("a  1", "a value must follow, behind one blank"),
            ("a\t1", "a value must follow, behind one blank"),
            ("a 1_0", "the value is not a number"),
            ("a -nan", "the value is not a number"),
            ("a 1 ", "a timestamp must follow, behind one blank"),
            ("a 1 inf", "the timestamp is out of range"),
            ("a 1 1 1", "there is something behind the sample"),
            ("a 1 1 # 1", "an exemplar begins with its labels"),
            ("a{b=\"c\" 1", "labels must be separated by commas and end with a brace"),
            ("a{b=\"c\", d=\"e\"} 1", "a name is expected"),
            ("a{b=\"c} 1", "a quoted text does not end"),
            ("a{b=\"c\\", "a quoted text does not end"),
            ("a{b} 1", "a label's name must be followed by an equals sign"),
            ("a{b=c} 1", "a quoted text is expected"),
            ("a{b=\"c\",b=\"d\"} 1", "a label's name occurs twice"),
            ("a{\"b\"} 1", "the metric has two names"),
            ("{b=\"c\"} 1", "the metric has no name"),
            ("# a", "a comment must be HELP, TYPE, UNIT or EOF"),
            ("# TYPE a thing", "not a type of metrics"),
            ("# UNIT a_seconds second", "the unit must be the end of the metric's name"),
        ] {
            assert_eq!(samples(&format!("ok 1\n{line}\n# EOF\n")), Err(format!("line 2: {what}")), "{line:?}");
        }
        assert_eq!(samples("a 1\n"), Err("line 2: the text does not end with # EOF".to_owned()));
        assert_eq!(samples("a 1"), Err("line 1: the text does not end with # EOF".to_owned()));
        assert_eq!(samples("# EOF\na 1\n"), Err("line 1: there is something behind # EOF".to_owned()));
    }

    #[test]
    fn upstreams_examples_are_read_whole() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance/exposition");
        for name in ["1histogram.om.txt", "alltypes.5mfs.om.txt"] {
            let text = fs::read_to_string(folder.join(name)).expect("conformance data");
            let expected = text.lines().filter(|line| !line.starts_with('#')).count();
            assert_eq!(samples(&text).map(|samples| samples.len()), Ok(expected), "{name}");
        }
    }
}
