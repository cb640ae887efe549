//! The data that both servers get: counters with resets, gauges with odd values, classic and native histograms, series that change their type,
//! info series; with gaps, stale markers, series that come late and times off the beat.

use super::random::Random;
use crate::harness::native::{Float, Histogram, Label, Request, Series, counter, custom, gauge};

pub(super) const INTERVAL: i64 = 30_000;
pub(super) const SCRAPES: i64 = 300;
const STALE: u64 = 0x7ff0_0000_0000_0002;

#[derive(Clone, Copy)]
enum Shape {
    Counter,
    Gauge,
    /// With infinities and values that are no number.
    Special,
    /// A sample every few minutes.
    Sparse,
    Bucket(i64),
    Info,
    Native(fn(i64, i64, i64) -> Histogram),
    /// Floats for a while, then histograms, and again.
    Mixed,
}

struct Target {
    labels: Vec<(String, String)>,
    shape: Shape,
    instance: i64,
    offset: i64,
}

fn targets(random: &mut Random) -> Vec<Target> {
    let mut all = Vec::new();
    let mut add = |name: &str, instance: i64, more: &[(&str, String)], shape: Shape| {
        let job = if instance < 3 { "api" } else { "db" };
        let mut labels = vec![
            ("__name__".to_owned(), name.to_owned()),
            ("instance".to_owned(), format!("host-{instance}")),
            ("job".to_owned(), job.to_owned()),
        ];
        labels.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        labels.sort();
        all.push(Target { labels, shape, instance, offset: random.between(0, INTERVAL - 1) });
    };
    for instance in 0..5 {
        for (at, code) in ["200", "404", "500"].into_iter().enumerate() {
            let path = if (instance as usize + at).is_multiple_of(2) { "/" } else { "/metrics" };
            let more = [("code", code.to_owned()), ("path", path.to_owned())];
            add("requests_total", instance, &more, Shape::Counter);
            if at < 2 {
                add("errors_total", instance, &more, Shape::Counter);
            }
        }
        for room in ["hall", "kitchen"] {
            add("temperature", instance, &[("room", room.to_owned())], Shape::Gauge);
        }
        add("level", instance, &[], Shape::Special);
        add("sparse", instance, &[], Shape::Sparse);
        for (at, le) in ["0.1", "0.5", "1", "5", "+Inf"].into_iter().enumerate() {
            add("duration_seconds_bucket", instance, &[("le", le.to_owned())], Shape::Bucket(at as i64));
        }
        add("latency_seconds", instance, &[], Shape::Native(counter));
        add("load", instance, &[], Shape::Native(gauge));
        add("size_bytes", instance, &[], Shape::Native(custom));
        add("mixed", instance, &[], Shape::Mixed);
        add(
            "target_info",
            instance,
            &[("version", format!("1.{}", instance % 2)), ("region", "north".to_owned())],
            Shape::Info,
        );
        add("dotted.name", instance, &[("label.x", format!("v{}", instance % 2))], Shape::Gauge);
    }
    all
}

fn float(target: &Target, scrape: i64) -> f64 {
    let seed = target.instance * 7 + target.labels.iter().map(|(_, value)| value.len() as i64).sum::<i64>();
    let age = (scrape + seed * 13) % 113;
    match target.shape {
        Shape::Counter => (age * (seed % 11 + 1) + age * age % 7) as f64,
        Shape::Gauge => ((scrape * (seed % 5 + 3) + seed * 29) % 161 - 60) as f64 / 8.0,
        Shape::Special => match (scrape + seed) % 29 {
            0 => f64::NAN,
            3 => f64::INFINITY,
            5 => f64::NEG_INFINITY,
            at => at as f64 * 1.25,
        },
        Shape::Bucket(at) => (age * (at + 1) * (seed % 3 + 1)) as f64,
        Shape::Info => 1.0,
        Shape::Sparse | Shape::Mixed | Shape::Native(_) => (age * 3 % 47) as f64 / 4.0,
    }
}

fn sample(target: &Target, scrape: i64, start: i64) -> Option<Series> {
    let instance = target.instance;
    let time = start + scrape * INTERVAL + target.offset;
    let phase = (scrape + instance * 31 + target.offset % 83) % 83;
    let is_late = target.offset % 5 == 0 && scrape < 60;
    let is_between = matches!(target.shape, Shape::Sparse) && scrape % (9 + instance * 2) != 0;
    if is_late || is_between || (1..8).contains(&phase) {
        return None;
    }
    let label = |(name, value): &(String, String)| Label { name: name.clone(), value: value.clone() };
    let mut series =
        Series { labels: target.labels.iter().map(label).collect(), samples: Vec::new(), histograms: Vec::new() };
    // A gap begins with a marker or without one.
    let is_stale = phase == 0 && target.offset % 2 == 0;
    let stale = f64::from_bits(STALE);
    let histogram = |of: fn(i64, i64, i64) -> Histogram| {
        let mut histogram = of(instance, scrape, time);
        if is_stale {
            histogram = Histogram { sum: stale, time, ..Histogram::default() };
            histogram.count_int = Some(0);
            histogram.zero_count_int = Some(0);
        }
        histogram
    };
    match target.shape {
        Shape::Native(of) => series.histograms.push(histogram(of)),
        Shape::Mixed if scrape / 40 % 2 == 1 => series.histograms.push(histogram(counter)),
        _ => {
            let value = if is_stale { stale } else { float(target, scrape) };
            series.samples.push(Float { value, time });
        }
    }
    Some(series)
}

/// Requests that write everything, in the order of time.
pub(super) fn requests(seed: u64, start: i64) -> impl Iterator<Item = Request> {
    let targets = targets(&mut Random::new(seed));
    (0..SCRAPES).map(move |scrape| Request {
        series: targets.iter().filter_map(|target| sample(target, scrape, start)).collect(),
    })
}
