//! Columns for eyes: labels that all rows share stand above the table, the others in columns of their own.

use std::{
    collections::BTreeSet,
    io::{self, Write},
};

use super::{
    answer::{Data, LabelMap, Sample, Series, metric_text},
    time::rfc3339,
};

pub(super) fn write(out: &mut dyn Write, data: &Data) -> io::Result<()> {
    match data {
        Data::Scalar(point) => writeln!(out, "{}", point.text),
        Data::Text((_, text)) => writeln!(out, "{text}"),
        Data::Names(names) => names.iter().try_for_each(|name| writeln!(out, "{name}")),
        Data::Series(series) => {
            let rows: Vec<_> = series.iter().map(|labels| (labels, Vec::new())).collect();
            labeled(out, &rows, &[])
        }
        Data::Vector(samples) => {
            let rows: Vec<_> = samples.iter().map(|sample| (&sample.metric, vec![value(sample)])).collect();
            labeled(out, &rows, &["value"])
        }
        Data::Matrix(series) => series.iter().try_for_each(|one| points(out, one)),
    }
}

fn value(sample: &Sample) -> String {
    match (&sample.value, &sample.histogram) {
        (Some(point), _) => point.text.clone(),
        (None, Some(point)) => point.1.text(),
        (None, None) => String::new(),
    }
}

fn points(out: &mut dyn Write, series: &Series) -> io::Result<()> {
    writeln!(out, "{}", metric_text(&series.metric))?;
    let floats = series.values.iter().map(|point| (point.seconds, point.text.clone()));
    let histograms = series.histograms.iter().map(|point| (point.0, point.1.text()));
    let mut points: Vec<_> = floats.chain(histograms).collect();
    points.sort_by(|left, right| left.0.total_cmp(&right.0));
    let rows: Vec<_> = points.into_iter().map(|(time, text)| vec![format!("  {}", rfc3339(time)), text]).collect();
    aligned(out, &rows)?;
    writeln!(out)
}

/// Names of all labels, the metric's first.
pub(super) fn label_names<'a>(rows: impl Iterator<Item = &'a LabelMap>) -> Vec<&'a str> {
    let names: BTreeSet<&str> = rows.flat_map(|labels| labels.keys().map(String::as_str)).collect();
    let (name, others): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| *name == "__name__");
    name.into_iter().chain(others).collect()
}

fn labeled(out: &mut dyn Write, rows: &[(&LabelMap, Vec<String>)], more: &[&str]) -> io::Result<()> {
    let Some((first, _)) = rows.first() else { return writeln!(out, "(nothing)") };
    let is_shared = |name: &str| rows.len() > 1 && rows.iter().all(|(labels, _)| labels.get(name) == first.get(name));
    let (shared, own): (Vec<_>, Vec<_>) =
        label_names(rows.iter().map(|(labels, _)| *labels)).into_iter().partition(|name| is_shared(name));
    if !shared.is_empty() {
        let common = shared.iter().map(|name| ((*name).to_owned(), first[*name].clone())).collect();
        writeln!(out, "{}\n", metric_text(&common))?;
    }
    let title = |name: &&str| (if *name == "__name__" { "metric" } else { name }).to_owned();
    let head = own.iter().chain(more).map(title).collect();
    let row = |(labels, values): &(&LabelMap, Vec<String>)| {
        let cells = own.iter().map(|name| labels.get(*name).cloned().unwrap_or_default());
        cells.chain(values.iter().cloned()).collect()
    };
    let lines: Vec<Vec<String>> = std::iter::once(head).chain(rows.iter().map(row)).collect();
    aligned(out, &lines)
}

/// Two spaces between columns, none behind the last.
fn aligned(out: &mut dyn Write, lines: &[Vec<String>]) -> io::Result<()> {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for line in lines {
        let mut text = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
        }
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query_command::answer;

    fn written(json: &str) -> String {
        let body = format!("{{\"status\":\"success\",\"data\":{json}}}");
        let data = answer::data(answer::read(hyper::StatusCode::OK, body.as_bytes()).expect("a success").data)
            .expect("a type");
        let mut out = Vec::new();
        write(&mut out, &data).expect("writing to memory");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn shared_labels_stand_above() {
        let vector = r#"{"resultType":"vector","result":[
            {"metric":{"__name__":"up","job":"node","instance":"a:1"},"value":[1,"1"]},
            {"metric":{"__name__":"up","job":"node","instance":"long:12"},"value":[1,"0.25"]}]}"#;
        let table = "up{job=\"node\"}\n\ninstance  value\na:1       1\nlong:12   0.25\n";
        assert_eq!(written(vector), table);
        let series = r#"[{"a":"1"},{"b":"2"}]"#;
        assert_eq!(written(series), "a  b\n1\n   2\n");
        assert_eq!(written(r#"{"resultType":"vector","result":[]}"#), "(nothing)\n");
    }

    #[test]
    fn floats_and_histograms_of_a_series_are_in_order_of_time() {
        let matrix = r#"{"resultType":"matrix","result":[{"metric":{"a":"b"},"values":[[2.5,"7"]],
            "histograms":[[1,{"count":"3","sum":"4","buckets":[[0,"1","2","3"]]}]]}]}"#;
        let text =
            "{a=\"b\"}\n  1970-01-01T00:00:01Z      {count:3, sum:4, (1,2]:3}\n  1970-01-01T00:00:02.500Z  7\n\n";
        assert_eq!(written(matrix), text);
    }
}
