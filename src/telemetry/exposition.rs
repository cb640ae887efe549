//! Prometheus' text format 0.0.4, written.

use std::fmt::Write as _;

use crate::json::number;

/// Media type of the format.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";

#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Summary,
    Histogram,
}

/// A page of metrics in the making. Samples belong to the family opened last.
#[derive(Default)]
pub(crate) struct Exposition {
    out: String,
}

impl Exposition {
    pub(crate) fn family(&mut self, name: &str, kind: Kind, help: &str) -> &mut Self {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Summary => "summary",
            Kind::Histogram => "histogram",
        };
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("writing to memory");
        self
    }

    pub(crate) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) -> &mut Self {
        self.out.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            write!(self.out, "{}{label}=\"{text}\"", if index == 0 { '{' } else { ',' }).expect("writing to memory");
        }
        self.out.push_str(if labels.is_empty() { " " } else { "} " });
        self.out.push_str(&number::value_text(value));
        self.out.push('\n');
        self
    }

    /// A family of one sample without labels.
    pub(crate) fn single(&mut self, name: &str, kind: Kind, help: &str, value: f64) -> &mut Self {
        self.family(name, kind, help).sample(name, &[], value)
    }

    pub(crate) fn finish(self) -> String {
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page() {
        let mut page = Exposition::default();
        page.single("a_total", Kind::Counter, "Counts\nthings.", 3.0);
        page.family("b", Kind::Gauge, "B.").sample("b", &[("x", "a\"b\\c"), ("y", "z")], 1e21);
        let expected = "# HELP a_total Counts\\nthings.\n# TYPE a_total counter\na_total 3\n# HELP b B.\n# TYPE b gauge\n\
                        b{x=\"a\\\"b\\\\c\",y=\"z\"} 1e+21\n";
        assert_eq!(page.finish(), expected);
    }
}
