//! What only OpenMetrics text has: one blank where one must be, units, times in seconds, exemplars, and a mark at the end.

use super::{
    number,
    reader::{Exemplar, Metadata, MetricKind, Reader},
};

const NOT_ENDED: &str = "the text does not end with # EOF";

/// A value with its time and its exemplar.
type Value<'p> = (u64, Option<i64>, Option<Box<Exemplar<'p>>>);

impl<'p> Reader<'p> {
    pub(super) fn open_metrics_without_line(&self) -> &'static str {
        match self.peek() {
            None => NOT_ENDED,
            Some(_) => "a line begins with a metric's name, a brace or #",
        }
    }

    pub(super) fn open_metrics_comment(&mut self) -> Result<Option<Metadata<'p>>, &'static str> {
        let rest = &self.page[self.at..];
        let kind = [&b"# HELP "[..], b"# TYPE ", b"# UNIT "].into_iter().find(|kind| rest.starts_with(kind));
        let Some(kind) = kind else {
            return match rest.strip_prefix(b"# EOF") {
                Some(b"" | b"\n") => {
                    self.has_ended = true;
                    Ok(None)
                }
                Some(_) => Err("there is something behind # EOF"),
                None => Err("a comment must be HELP, TYPE, UNIT or EOF"),
            };
        };
        self.at += kind.len();
        let name = self.metadata_name()?;
        if !self.skip(b' ') {
            return Err("a blank and a text must follow the metric's name");
        }
        let text = self.rest_of_line().ok_or(NOT_ENDED)?;
        match kind {
            b"# HELP " => {
                let text = str::from_utf8(text).map_err(|_| "a help text must be UTF-8")?;
                Ok(Some(Metadata::Help { name, text }))
            }
            b"# TYPE " => Ok(Some(Metadata::Type { name, kind: kind_of(text).ok_or("not a type of metrics")? })),
            _ => {
                let is_end = name.strip_suffix(text).is_some_and(|stem| stem.ends_with(b"_"));
                if !text.is_empty() && !is_end {
                    return Err("the unit must be the end of the metric's name");
                }
                Ok(Some(Metadata::Unit { name, text }))
            }
        }
    }

    pub(super) fn open_metrics_value(&mut self) -> Result<Value<'p>, &'static str> {
        let value = self.value_word()?;
        let mut time = None;
        if self.peek() == Some(b' ') && !self.page[self.at..].starts_with(b" # {") {
            time = Some(self.seconds()?);
        }
        let mut exemplar = None;
        if self.page[self.at..].starts_with(b" # {") {
            self.at += 4;
            exemplar = Some(Box::new(self.exemplar()?));
        }
        self.line_end()?;
        Ok((value, time, exemplar))
    }

    fn exemplar(&mut self) -> Result<Exemplar<'p>, &'static str> {
        let mut labels = Vec::new();
        self.labels_into(&mut labels, false, false)?;
        let value = self.value_word()?;
        let time = if self.peek() == Some(b' ') { Some(self.seconds()?) } else { None };
        Ok(Exemplar { labels, value, time })
    }

    fn line_end(&mut self) -> Result<(), &'static str> {
        match self.peek() {
            Some(b'\n') => {
                self.at += 1;
                Ok(())
            }
            Some(_) => Err("there is something behind the sample"),
            None => Err(NOT_ENDED),
        }
    }

    fn value_word(&mut self) -> Result<u64, &'static str> {
        let word = self.word("a value must follow, behind one blank")?;
        number::value_bits(word).ok_or("the value is not a number")
    }

    /// Seconds with decimals, as milliseconds.
    fn seconds(&mut self) -> Result<i64, &'static str> {
        let word = self.word("a timestamp must follow, behind one blank")?;
        let milliseconds = number::parse(word).ok_or("the timestamp is not a number")? * 1000.0;
        // The same bound on both sides, so that any double in between is an i64.
        if milliseconds.abs() < i64::MAX as f64 {
            Ok(milliseconds as i64)
        } else {
            Err("the timestamp is out of range")
        }
    }

    /// What stands behind a blank, up to the next one.
    fn word(&mut self, missing: &'static str) -> Result<&'p [u8], &'static str> {
        if !self.skip(b' ') {
            return Err(missing);
        }
        let rest = &self.page[self.at..];
        let length = rest.iter().take_while(|byte| !matches!(byte, b' ' | b'\n')).count();
        self.at += length;
        if length == 0 { Err(missing) } else { Ok(&rest[..length]) }
    }
}

fn kind_of(text: &[u8]) -> Option<MetricKind> {
    Some(match text {
        b"counter" => MetricKind::Counter,
        b"gauge" => MetricKind::Gauge,
        b"histogram" => MetricKind::Histogram,
        b"gaugehistogram" => MetricKind::GaugeHistogram,
        b"summary" => MetricKind::Summary,
        b"info" => MetricKind::Info,
        b"stateset" => MetricKind::StateSet,
        b"unknown" => MetricKind::Unknown,
        _ => return None,
    })
}
