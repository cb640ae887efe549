//! OpenMetrics text (github.com/prometheus/OpenMetrics, 1.0) as samples with their labels, for whoever imports it.
//!
//! Metadata is only checked, and exemplars are left out.

use model::{Labels, LabelsBuilder, METRIC_NAME};

pub use crate::exposition::ParseError;
use crate::exposition::{Dialect, Item, Reader, reader::LabelText};

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

/// Tells `each` the samples of a text in their order, with the number of the line.
///
/// # Errors
/// At the first line that is not OpenMetrics, or that `each` refuses; and if the text does not end with `# EOF`.
pub fn parse(text: &[u8], mut each: impl FnMut(u64, Sample) -> Result<(), &'static str>) -> Result<(), ParseError> {
    let mut reader = Reader::new(Dialect::OpenMetrics, text);
    // A text is large, and a line's number is for its samples too: counted here, not from the beginning for each.
    let (mut line, mut counted) = (1, 0);
    while let Some(item) = reader.next(&mut ())? {
        line += newlines(&text[counted..reader.line_start()]);
        counted = reader.line_start();
        let Item::Sample(sample) = item else { continue };
        let error = |what| ParseError { line, what };
        let labels = labels_of(reader.labels()).map_err(error)?;
        each(line, Sample { labels, bits: sample.value, time: sample.time }).map_err(error)?;
    }
    Ok(())
}

fn newlines(text: &[u8]) -> u64 {
    text.iter().filter(|byte| **byte == b'\n').count() as u64
}

fn labels_of(texts: &[LabelText<'_>]) -> Result<Labels, &'static str> {
    let mut labels = LabelsBuilder::default();
    for (at, (name, value)) in texts.iter().enumerate() {
        if texts[..at].iter().any(|(other, _)| other == name) {
            return Err("a label's name occurs twice");
        }
        labels.set(name, value);
    }
    if labels.get(METRIC_NAME).is_none_or(str::is_empty) {
        return Err("the metric has no name");
    }
    Ok(labels.build())
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use model::sample::NORMAL_NAN_BITS;

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
        let text = "# HELP a_seconds Says \\n what.\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\n# UNIT b \n\
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
            ("", "a line begins with a metric's name, a brace or #"),
            ("1a 1", "a line begins with a metric's name, a brace or #"),
            ("a", "a value must follow, behind one blank"),
            ("a ", "a value must follow, behind one blank"),
            ("a  1", "a value must follow, behind one blank"),
            ("a\t1", "a value must follow, behind one blank"),
            ("a 1_0", "the value is not a number"),
            ("a -nan", "the value is not a number"),
            ("a 1 ", "a timestamp must follow, behind one blank"),
            ("a 1 inf", "the timestamp is out of range"),
            ("a 1 1 1", "there is something behind the sample"),
            ("a 1 1 # 1", "there is something behind the sample"),
            ("a{b=\"c\" 1", "labels must be separated by commas and end with a brace"),
            ("a{b=\"c\", d=\"e\"} 1", "a label's name is expected"),
            ("a{b=\"c} 1", "a quoted text does not end"),
            ("a{b=\"c\\", "a quoted text does not end"),
            ("a{b} 1", "a label's name must be followed by an equals sign"),
            ("a{b=c} 1", "a quoted text is expected"),
            ("a{b=\"c\",b=\"d\"} 1", "a label's name occurs twice"),
            ("a{\"b\"} 1", "the metric has two names"),
            ("{b=\"c\"} 1", "the metric has no name"),
            ("# a", "a comment must be HELP, TYPE, UNIT or EOF"),
            ("{\"\"} 1", "the metric has no name"),
            ("# UNIT a", "a blank and a text must follow the metric's name"),
            ("a 1e999 1", "the value is not a number"),
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
