//! label_replace and label_join: other labels for the same values.

use model::{Labels, LabelsBuilder, METRIC_NAME};

use crate::{
    error::QueryError,
    exec::{BoxOperator, Operator, Result, batch::Batch, matrix::SeriesInfo},
};

/// Passes rows through under the labels of a list.
pub(crate) struct Relabel<'q> {
    input: BoxOperator<'q>,
    series: Vec<SeriesInfo>,
}

impl<'q> Relabel<'q> {
    pub(crate) fn new(input: BoxOperator<'q>, change: impl Fn(SeriesInfo) -> SeriesInfo) -> Self {
        let info = |series| SeriesInfo { labels: input.labels(series), drops_name: input.drops_name(series) };
        let series = (0..input.series_count()).map(|series| change(info(series))).collect();
        Self { input, series }
    }
}

impl Operator for Relabel<'_> {
    fn series_count(&self) -> usize {
        self.series.len()
    }

    fn labels(&self, series: usize) -> Labels {
        self.series[series].labels.clone()
    }

    fn drops_name(&self, series: usize) -> bool {
        self.series[series].drops_name
    }

    fn is_unique_without_name(&self) -> bool {
        false
    }

    fn next(&mut self, batch: &mut Batch) -> Result<bool> {
        self.input.next(batch)
    }
}

/// Sets `destination` to the expanded `replacement` where the whole value of `source` matches the pattern.
pub(crate) fn replace<'q>(
    input: BoxOperator<'q>,
    [destination, replacement, source, pattern]: [&str; 4],
) -> Result<Relabel<'q>> {
    let regex = regex::RegexBuilder::new(&format!("^(?s:{pattern})$"))
        .size_limit(REGEX_BYTES_MAX)
        .build()
        .map_err(|_| QueryError::execution(format!("invalid regular expression in label_replace(): {pattern}")))?;
    check_name(destination, "destination", "label_replace")?;
    Ok(Relabel::new(input, |info| {
        let value = info.labels.get(source).unwrap_or_default();
        let Some(captures) = regex.captures(value) else { return info };
        let mut expanded = String::new();
        captures.expand(replacement, &mut expanded);
        with_label(&info, destination, &expanded)
    }))
}

/// Bound on one compiled pattern, as for matchers.
const REGEX_BYTES_MAX: usize = 10 << 20;

/// Sets `destination` to the values of `sources`, put together with a separator.
pub(crate) fn join<'q>(
    input: BoxOperator<'q>,
    destination: &str,
    separator: &str,
    sources: &[String],
) -> Result<Relabel<'q>> {
    for source in sources {
        check_name(source, "source", "label_join")?;
    }
    check_name(destination, "destination", "label_join")?;
    Ok(Relabel::new(input, |info| {
        let values: Vec<_> = sources.iter().map(|source| info.labels.get(source).unwrap_or_default()).collect();
        with_label(&info, destination, &values.join(separator))
    }))
}

fn with_label(info: &SeriesInfo, name: &str, value: &str) -> SeriesInfo {
    let labels = LabelsBuilder::from_labels(&info.labels).set(name, value).build();
    SeriesInfo { labels, drops_name: info.drops_name && name != METRIC_NAME }
}

fn check_name(name: &str, role: &str, function: &str) -> Result<()> {
    // Any other UTF-8 text is a label name.
    if name.is_empty() {
        return Err(QueryError::execution(format!("invalid {role} label name in {function}(): {name}")));
    }
    Ok(())
}
