//! A line for each sample: its labels in columns, its time in seconds, its value. Quoted as RFC 4180 has it; lines end as files' do here.

use std::{
    borrow::Cow,
    io::{self, Write},
};

use super::{
    answer::{Data, LabelMap},
    table::label_names,
    time::seconds_text,
};

pub(super) fn write(out: &mut dyn Write, data: &Data) -> io::Result<()> {
    match data {
        Data::Scalar(point) => {
            line(out, ["time", "value"])?;
            line(out, [seconds_text(point.seconds).as_str(), &point.text])
        }
        Data::Text((seconds, text)) => {
            line(out, ["time", "value"])?;
            line(out, [seconds_text(*seconds).as_str(), text])
        }
        Data::Names(names) => {
            line(out, ["name"])?;
            names.iter().try_for_each(|name| line(out, [name.as_str()]))
        }
        Data::Series(series) => {
            let names = label_names(series.iter());
            line(out, names.iter().copied())?;
            series.iter().try_for_each(|labels| line(out, cells(&names, labels)))
        }
        Data::Vector(samples) => {
            let names = label_names(samples.iter().map(|sample| &sample.metric));
            head(out, &names)?;
            samples.iter().try_for_each(|sample| {
                let float = sample.value.as_ref().map(|point| (point.seconds, point.text.clone()));
                let histogram = sample.histogram.as_ref().map(|point| (point.0, point.1.text()));
                float.into_iter().chain(histogram).try_for_each(|point| row(out, &names, &sample.metric, &point))
            })
        }
        Data::Matrix(series) => {
            let names = label_names(series.iter().map(|one| &one.metric));
            head(out, &names)?;
            series.iter().try_for_each(|one| {
                let floats = one.values.iter().map(|point| (point.seconds, point.text.clone()));
                let histograms = one.histograms.iter().map(|point| (point.0, point.1.text()));
                floats.chain(histograms).try_for_each(|point| row(out, &names, &one.metric, &point))
            })
        }
    }
}

fn cells<'a>(names: &[&str], labels: &'a LabelMap) -> impl Iterator<Item = &'a str> {
    names.iter().map(|name| labels.get(*name).map_or("", String::as_str))
}

fn head(out: &mut dyn Write, names: &[&str]) -> io::Result<()> {
    line(out, names.iter().copied().chain(["time", "value"]))
}

fn row(out: &mut dyn Write, names: &[&str], labels: &LabelMap, (time, text): &(f64, String)) -> io::Result<()> {
    let time = seconds_text(*time);
    line(out, cells(names, labels).chain([time.as_str(), text]))
}

fn line<'a>(out: &mut dyn Write, cells: impl IntoIterator<Item = &'a str>) -> io::Result<()> {
    let cells: Vec<Cow<'_, str>> = cells.into_iter().map(quoted).collect();
    writeln!(out, "{}", cells.join(","))
}

fn quoted(cell: &str) -> Cow<'_, str> {
    match cell.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")).into(),
        false => cell.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query_command::answer;

    #[test]
    fn cells_are_quoted_where_they_must_be() {
        let body = r#"{"status":"success","data":{"resultType":"matrix","result":[
            {"metric":{"__name__":"m","a":"x,\"y\""},"values":[[1.5,"7"],[2,"NaN"]]},{"metric":{"b":"z"},"values":[[1,"1"]]}]}}"#;
        let data = answer::data(answer::read(hyper::StatusCode::OK, body.as_bytes()).expect("a success").data)
            .expect("a type");
        let mut out = Vec::new();
        write(&mut out, &data).expect("writing to memory");
        let text = "__name__,a,b,time,value\nm,\"x,\"\"y\"\"\",,1.5,7\nm,\"x,\"\"y\"\"\",,2,NaN\n,,z,1,1\n";
        assert_eq!(String::from_utf8_lossy(&out), text);
    }
}
