//! As `promtool query` writes answers.

use std::io::{self, Write};

use super::{
    answer::{Data, Histogram, Series, metric_text},
    time::seconds_text,
};

pub(super) fn write(out: &mut dyn Write, data: &Data) -> io::Result<()> {
    match data {
        Data::Scalar(point) => writeln!(out, "scalar: {} @[{}]", point.text, seconds_text(point.seconds)),
        Data::Text((_, text)) => writeln!(out, "{text}"),
        Data::Names(names) => names.iter().try_for_each(|name| writeln!(out, "{name}")),
        Data::Series(series) => series.iter().try_for_each(|labels| {
            let pairs: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
            writeln!(out, "{{{}}}", pairs.join(", "))
        }),
        Data::Vector(samples) if samples.is_empty() => writeln!(out),
        Data::Matrix(series) if series.is_empty() => writeln!(out),
        Data::Vector(samples) => samples.iter().try_for_each(|sample| {
            let metric = metric_text(&sample.metric);
            match (&sample.value, &sample.histogram) {
                (Some(point), _) => writeln!(out, "{metric} => {} @[{}]", point.text, seconds_text(point.seconds)),
                (None, Some(point)) => {
                    writeln!(out, "{metric} => {} @[{}]", histogram_text(&point.1), seconds_text(point.0))
                }
                (None, None) => Ok(()),
            }
        }),
        Data::Matrix(series) => series.iter().try_for_each(|one| points(out, one)),
    }
}

fn histogram_text(histogram: &Histogram) -> String {
    let six_digits = |text: &str| text.parse().map_or_else(|_| text.to_owned(), |number: f64| format!("{number:.6}"));
    let (count, sum) = (six_digits(&histogram.count), six_digits(&histogram.sum));
    let buckets: Vec<_> = histogram.bucket_texts().collect();
    format!("Count: {count}, Sum: {sum}, Buckets: [{}]", buckets.join(" "))
}

fn points(out: &mut dyn Write, series: &Series) -> io::Result<()> {
    writeln!(out, "{} =>", metric_text(&series.metric))?;
    for point in &series.values {
        writeln!(out, "{} @[{}]", point.text, seconds_text(point.seconds))?;
    }
    for point in &series.histograms {
        writeln!(out, "{} @[{}]", histogram_text(&point.1), seconds_text(point.0))?;
    }
    Ok(())
}
