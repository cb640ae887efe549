use super::{buckets::*, *};

fn histogram() -> Histogram {
    Histogram {
        schema: 0,
        zero_threshold: 0.001,
        sum: 3.5,
        counts: Counts::Integer { count: 9, zero_count: 2, positive: vec![1, 1, -1], negative: vec![3] },
        positive_spans: vec![Span { offset: 0, length: 2 }, Span { offset: 3, length: 1 }],
        negative_spans: vec![Span { offset: -1, length: 1 }],
        ..Histogram::default()
    }
}

struct Plain;

impl PrintNumber for Plain {
    fn print(&self, value: f64) -> String {
        value.to_string()
    }
}

#[test]
fn buckets_come_in_order_with_their_bounds() {
    let text = Text(&histogram(), &Plain).to_string();
    assert_eq!(text, "{count:9, sum:3.5, [-0.5,-0.25):3, [-0.001,0.001]:2, (0.5,1]:1, (1,2]:2, (16,32]:1}");
    let custom = Histogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        custom_values: vec![1.0, 2.0],
        counts: Counts::Float { count: 3.5, zero_count: 0.0, positive: vec![1.0, 0.0, 2.5], negative: vec![] },
        positive_spans: vec![Span { offset: 0, length: 3 }],
        ..Histogram::default()
    };
    assert_eq!(custom.check(), Ok(()));
    assert_eq!(Text(&custom, &Plain).to_string(), "{count:3.5, sum:0, [-inf,1]:1, (2,inf]:2.5}");
}

#[test]
fn spans_and_numbers_say_the_same() {
    for numbers in [vec![], vec![0], vec![-3, -2, 5], vec![7, 9, 10], vec![i32::MIN, i32::MAX]] {
        assert_eq!(bucket_numbers(&spans_of(&numbers)).collect::<Vec<_>>(), numbers);
    }
    let spans = [Span { offset: 2, length: 0 }, Span { offset: 1, length: 2 }];
    assert_eq!(bucket_numbers(&spans).collect::<Vec<_>>(), [3, 4]);
}

#[test]
fn what_a_receiver_must_refuse_is_refused() {
    assert_eq!(histogram().check(), Ok(()));
    assert_eq!(Histogram::stale(false).check(), Ok(()));
    assert_eq!(Histogram::stale(true).check(), Ok(()));
    type Change = fn(&mut Histogram);
    let cases: [(Change, HistogramError); 12] = [
        (|h| h.schema = 9, HistogramError::Schema),
        (|h| h.schema = -5, HistogramError::Schema),
        (|h| h.zero_threshold = -1.0, HistogramError::ZeroThreshold),
        (|h| h.zero_threshold = f64::NAN, HistogramError::ZeroThreshold),
        (|h| h.positive_spans[1].offset = -1, HistogramError::SpanOffset),
        (|h| h.positive_spans[1].length = 2, HistogramError::SpansDiffer),
        (|h| h.negative_spans[0].offset = i32::MAX, HistogramError::SpansDiffer),
        (|h| h.custom_values.push(1.0), HistogramError::CustomWithExponential),
        (|h| h.schema = CUSTOM_BUCKETS_SCHEMA, HistogramError::CustomWithZeroOrNegative),
        (
            |h| h.counts = Counts::Integer { count: 9, zero_count: 2, positive: vec![1, -2, 3], negative: vec![3] },
            HistogramError::NegativeBucket,
        ),
        (
            |h| h.counts = Counts::Integer { count: 8, zero_count: 2, positive: vec![1, 1, -1], negative: vec![3] },
            HistogramError::CountMismatch,
        ),
        (
            |h| {
                h.counts =
                    Counts::Float { count: f64::NAN, zero_count: 2.0, positive: vec![1.0; 3], negative: vec![3.0] };
            },
            HistogramError::NegativeCount,
        ),
    ];
    for (change, error) in cases {
        let mut other = histogram();
        change(&mut other);
        assert_eq!(other.check(), Err(error));
    }
    let mut not_numbers = histogram();
    not_numbers.sum = f64::NAN;
    not_numbers.counts = Counts::Integer { count: 10, zero_count: 2, positive: vec![1, 1, -1], negative: vec![3] };
    assert_eq!(not_numbers.check(), Ok(()), "an observation that is not a number is in no bucket");
}
