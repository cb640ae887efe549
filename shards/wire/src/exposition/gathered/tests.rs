use model::value_text;
use prost::Message as _;

use super::*;
use crate::exposition::families::{
    BucketMessage, CounterMessage, ExemplarMessage, FamilyMessage, HistogramMessage, LabelPairMessage, MetricMessage,
    QuantileMessage, SpanMessage, SummaryMessage, TimestampMessage, ValueMessage, kind,
};

struct Numbers;

impl model::histogram::buckets::PrintNumber for Numbers {
    fn print(&self, value: f64) -> String {
        value_text::plain(value)
    }
}

/// A page as lines: series, value, time, `from` its start, and its exemplars.
fn shown(gathered: &Gathered<'_>) -> Vec<String> {
    let line = |sample: &GatheredSample<'_>| {
        let (start, end) = gathered.place(sample);
        let value = match &sample.value {
            SampleValue::Float(bits) => value_text::plain(f64::from_bits(*bits)),
            SampleValue::Histogram(histogram) => model::histogram::buckets::Text(histogram, &Numbers).to_string(),
        };
        let mut line = format!("{} {value}", String::from_utf8_lossy(&gathered.text()[start..end]));
        sample.time.into_iter().for_each(|time| line += &format!(" @{time}"));
        if sample.start_time != 0 {
            line += &format!(" from {}", sample.start_time);
        }
        for exemplar in &sample.exemplars {
            let labels: Vec<String> = exemplar.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
            line += &format!(" # {} {} {:?}", labels.join(","), f64::from_bits(exemplar.value), exemplar.time);
        }
        line
    };
    gathered.samples.iter().map(line).collect()
}

fn from_text(page: &str, wanted: Wanted) -> Vec<String> {
    shown(&Gathered::from_text(Dialect::OpenMetrics, page.as_bytes(), wanted).expect("a good page"))
}

const NOTHING: Wanted = Wanted { native: false, convert_classic: false, keep_classic: false, start_times: false };

const HISTOGRAM: &str = "# TYPE h histogram\n\
    h_bucket{a=\"b\",le=\"1\"} 2 # {t=\"x\"} 0.5 2\n\
    h_bucket{a=\"b\",le=\"+Inf\"} 3 # {t=\"y\"} 5 1\n\
    h_count{a=\"b\"} 3\n\
    h_sum{a=\"b\"} 6.5\n\
    h_created{a=\"b\"} 1.5\n\
    h_bucket{a=\"c\",le=\"+Inf\"} 1\n\
    h_count{a=\"c\"} 1\n\
    # TYPE g gauge\n\
    g 1\n\
    # EOF\n";

#[test]
fn classic_histograms_become_native_ones() {
    let converted = [
        "h_created{a=\"b\"} 1.5",
        "h{a=\"b\"} {count:3, sum:6.5, [-Inf,1]:2, (1,+Inf]:1} # t=y 5 Some(1000) # t=x 0.5 Some(2000)",
        "h{a=\"c\"} {count:1, sum:0, [-Inf,+Inf]:1}",
        "g 1",
    ];
    assert_eq!(from_text(HISTOGRAM, Wanted { convert_classic: true, ..NOTHING }), converted);
    let with_classic = from_text(HISTOGRAM, Wanted { convert_classic: true, keep_classic: true, ..NOTHING });
    assert_eq!(with_classic.len(), from_text(HISTOGRAM, NOTHING).len() + 2);
}

/// Goal: nothing is lost where lines of a histogram make none.
#[test]
fn counts_that_contradict_each_other_stay_lines() {
    let page = "# TYPE h histogram\nh_bucket{le=\"1.0\"} 4\nh_bucket{le=\"+Inf\"} 3\nh_count 3\nh_other 1\n# EOF\n";
    assert_eq!(from_text(page, Wanted { convert_classic: true, ..NOTHING }), from_text(page, NOTHING));
}

#[test]
fn lines_say_when_counters_began() {
    let wanted = Wanted { start_times: true, ..NOTHING };
    let started = from_text(HISTOGRAM, wanted);
    assert_eq!(started[2], "h_count{a=\"b\"} 3 from 1500");
    assert_eq!(started[4], "h_bucket{a=\"c\",le=\"+Inf\"} 1");
    let page = "# TYPE c counter\nc_created 1\nc_total 2\n# TYPE s summary\ns{quantile=\"0.5\"} 1\ns_count 1\n\
                s_created 2\n# TYPE g gauge\ng_created 3\n# EOF\n";
    let expected = ["c_total 2 from 1000", "s{quantile=\"0.5\"} 1", "s_count 1 from 2000", "g_created 3"];
    assert_eq!(from_text(page, wanted), expected);
    let both = from_text(HISTOGRAM, Wanted { start_times: true, convert_classic: true, ..NOTHING });
    assert!(both[0].contains("{count:3, sum:6.5, [-Inf,1]:2, (1,+Inf]:1} from 1500"), "{both:?}");
}

fn pair(name: &str, value: &str) -> LabelPairMessage {
    LabelPairMessage { name: name.to_owned(), value: value.to_owned() }
}

fn family(name: &str, kind: i32, metric: MetricMessage) -> FamilyMessage {
    FamilyMessage { name: name.to_owned(), kind, metric: vec![metric], ..FamilyMessage::default() }
}

fn page_of(families: &[FamilyMessage]) -> Vec<u8> {
    families.iter().flat_map(FamilyMessage::encode_length_delimited_to_vec).collect()
}

fn exemplar(seconds: Option<i64>) -> Option<ExemplarMessage> {
    let timestamp = seconds.map(|seconds| TimestampMessage { seconds, nanos: 5_000_000 });
    Some(ExemplarMessage { label: vec![pair("t", "x")], value: 0.5, timestamp })
}

fn histogram() -> HistogramMessage {
    let bucket = |upper_bound, cumulative_count, exemplar| BucketMessage {
        upper_bound,
        cumulative_count,
        exemplar,
        ..BucketMessage::default()
    };
    HistogramMessage {
        sample_count: 3,
        sample_sum: 6.5,
        bucket: vec![bucket(0.5, 1, exemplar(None)), bucket(4.0, 3, exemplar(Some(7)))],
        created: Some(TimestampMessage { seconds: 3, nanos: 0 }),
        schema: 0,
        zero_threshold: 0.25,
        zero_count: 1,
        positive_span: vec![SpanMessage { offset: 0, length: 3 }],
        positive_delta: vec![1, -1, 1],
        ..HistogramMessage::default()
    }
}

fn families() -> Vec<FamilyMessage> {
    let created = Some(TimestampMessage { seconds: 2, nanos: 500_000_000 });
    let counter = CounterMessage { value: 1.5, exemplar: exemplar(Some(1)), created };
    let summary = SummaryMessage {
        sample_count: 2,
        sample_sum: f64::NAN,
        quantile: vec![QuantileMessage { quantile: 1.0, value: 9.0 }],
        created,
    };
    let label = vec![pair("a", "b\"\n\\")];
    vec![
        family(
            "c_total",
            kind::COUNTER,
            MetricMessage { label: label.clone(), counter: Some(counter), ..MetricMessage::default() },
        ),
        family(
            "g.h",
            kind::GAUGE,
            MetricMessage {
                label: vec![pair("c d", "")],
                gauge: Some(ValueMessage { value: -1.0 }),
                timestamp_ms: 17,
                ..MetricMessage::default()
            },
        ),
        family("u", kind::UNTYPED, MetricMessage::default()),
        family("s", kind::SUMMARY, MetricMessage { label, summary: Some(summary), ..MetricMessage::default() }),
        family("h", kind::HISTOGRAM, MetricMessage { histogram: Some(histogram()), ..MetricMessage::default() }),
    ]
}

const PLAIN: [&str; 6] = [
    "c_total{a=\"b\\\"\\n\\\\\"} 1.5 # t=x 0.5 Some(1005)",
    "{\"g.h\",\"c d\"=\"\"} -1 @17",
    "u 0",
    "s_count{a=\"b\\\"\\n\\\\\"} 2",
    "s_sum{a=\"b\\\"\\n\\\\\"} NaN",
    "s{a=\"b\\\"\\n\\\\\",quantile=\"1.0\"} 9",
];
const NATIVE: &str = "h {count:3, sum:6.5, [-0.25,0.25]:1, (0.5,1]:1, (2,4]:1}";
const CLASSIC: [&str; 5] = [
    "h_count 3",
    "h_sum 6.5",
    "h_bucket{le=\"0.5\"} 1 # t=x 0.5 None",
    "h_bucket{le=\"4.0\"} 3 # t=x 0.5 Some(7005)",
    "h_bucket{le=\"+Inf\"} 3",
];

fn from_protobuf(wanted: Wanted) -> Vec<String> {
    shown(&Gathered::from_protobuf(&page_of(&families()), wanted).expect("a good page"))
}

#[test]
fn families_in_protobuf_are_what_they_are_in_text() {
    assert_eq!(from_protobuf(NOTHING), [&PLAIN[..], &CLASSIC].concat());
    let native = format!("{NATIVE} # t=x 0.5 Some(7005)");
    let expected = [&PLAIN[..], &[&native]].concat();
    assert_eq!(from_protobuf(Wanted { native: true, ..NOTHING }), expected);
    let both = Wanted { native: true, keep_classic: true, convert_classic: true, ..NOTHING };
    assert_eq!(from_protobuf(both), [&expected[..], &CLASSIC].concat());
    let converted = "h {count:3, sum:6.5, [-Inf,0.5]:1, (0.5,4]:2}";
    let converted = from_protobuf(Wanted { convert_classic: true, ..NOTHING })[6].starts_with(converted);
    assert!(converted);
    let started = from_protobuf(Wanted { native: true, start_times: true, ..NOTHING });
    let of_native = format!("{NATIVE} from 3000 # t=x 0.5 Some(7005)");
    assert!(started.contains(&of_native) && started[0].contains(" from 2500"), "{started:?}");
}

#[test]
fn what_is_no_page_is_refused_with_its_place() {
    let wrong = |change: fn(&mut FamilyMessage)| {
        let mut families = families();
        change(families.last_mut().expect("a histogram"));
        Gathered::from_protobuf(&page_of(&families), Wanted { native: true, ..NOTHING }).map(drop)
    };
    assert_eq!(wrong(|_| ()), Ok(()));
    let what = |result: Result<(), crate::exposition::ProtobufError>| result.expect_err("not a page").what;
    assert_eq!(what(wrong(|family| family.name.clear())), "the metric has no name");
    assert_eq!(what(wrong(|family| family.kind = 6)), "the metric's type is none of 0 to 5");
    assert_eq!(what(wrong(|family| family.unit = "seconds".into())), "the unit is not the end of the metric's name");
    let contradiction = wrong(|family| {
        family.metric[0].histogram.as_mut().expect("a histogram").positive_delta.push(1);
    });
    assert_eq!(what(contradiction), "a native histogram whose numbers contradict each other");
    let page = page_of(&families());
    let cut = Gathered::from_protobuf(&page[..page.len() - 1], NOTHING).map(drop);
    assert_eq!(what(cut), "a length beyond the end of its message");
}

/// Goal: a page of a few kilobytes can't take all memory.
#[test]
fn a_long_name_of_many_metrics_is_refused() {
    let metric = vec![MetricMessage::default(); 300];
    let family = FamilyMessage { name: "n".repeat(1 << 20), kind: kind::GAUGE, metric, ..FamilyMessage::default() };
    let error = Gathered::from_protobuf(&page_of(&[family]), NOTHING).map(drop).expect_err("too much");
    assert_eq!(error.what, "the series up to here take more than 256 MiB as text");
}

/// Goal: what was gathered is found again by its text, whatever format it came in.
#[test]
fn texts_of_series_have_their_labels() {
    let page = page_of(&families());
    let gathered = Gathered::from_protobuf(&page, NOTHING).expect("a good page");
    let (start, end) = gathered.place(&gathered.samples[0]);
    let labels = Reader::series_labels(Dialect::Text, super::super::Bounds::None, &gathered.text()[start..end]);
    let labels = labels.expect("a series");
    assert_eq!(labels, [("__name__".into(), "c_total".into()), ("a".into(), "b\"\n\\".into())]);
}
