//! Chunks, log columns and varints.

use codec::{
    columns, decimal,
    gorilla::{self, HEADER_BYTES, Samples},
    histogram::{self, HistogramChunk, HistogramSamples},
    varint,
};
use model::{
    Histogram,
    histogram::{Counts, ResetHint, Span},
};

use super::{Target, assert_bounded};

pub const TARGETS: &[Target] = &[
    Target { name: "chunk_decode", run: chunk_decode, seeds: chunk_seeds },
    Target { name: "decimal_chunk_decode", run: decimal_chunk_decode, seeds: decimal_chunk_seeds },
    Target { name: "histogram_chunk_decode", run: histogram_chunk_decode, seeds: histogram_chunk_seeds },
    Target { name: "columns_decode", run: columns_decode, seeds: columns_seeds },
    Target { name: "varint", run: varints, seeds: varint_seeds },
];

/// Any bytes are a chunk or an error, to the batch decoder as to the lazy one; samples survive encoding.
pub fn chunk_decode(input: &[u8]) {
    let (mut times, mut values) = (Vec::new(), Vec::new());
    let result = gorilla::decode_into(input, &mut times, &mut values);
    // Two bits a sample at least, 16 bytes of memory each.
    assert_bounded(8 * (times.capacity() + values.capacity()), input, 64);
    let walked = Samples::new(input).and_then(|walk| walk.collect::<Result<Vec<_>, _>>());
    match result {
        Ok(count) => {
            assert_eq!((times.len(), values.len()), (count, count));
            let samples: Vec<(i64, u64)> = times.into_iter().zip(values).collect();
            assert_eq!(walked.as_ref(), Ok(&samples), "lazy and batch agree");
            check_again(&samples);
        }
        Err(error) => {
            assert!(walked.is_err(), "{error}, but not to the lazy decoder");
            assert!(error.offset_bits <= input.len() * 8, "{error}, in {} bytes", input.len());
            assert!(times.is_empty() && values.is_empty());
        }
    }
    open_stream(input);
}

fn check_again(samples: &[(i64, u64)]) {
    let chunk = gorilla::encode_chunk(samples);
    let (mut times, mut values) = (Vec::new(), Vec::new());
    assert_eq!(gorilla::decode_into(&chunk, &mut times, &mut values), Ok(samples.len()));
    assert!(times.into_iter().zip(values).eq(samples.iter().copied()), "samples survive");
}

/// Any bytes are a decimal chunk or an error; what an encoder takes of its samples survives.
pub fn decimal_chunk_decode(input: &[u8]) {
    let (mut times, mut values) = (Vec::new(), Vec::new());
    let result = decimal::decode_into(input, &mut times, &mut values);
    // Two columns of two bytes for 32 samples at least, 16 bytes of memory each.
    assert_bounded(8 * (times.capacity() + values.capacity()), input, 256);
    match result {
        Ok(count) => {
            assert_eq!((times.len(), values.len()), (count, count));
            let Some(chunk) = decimal::encode(&times, &values) else { return };
            let again = decimal::to_xor(&chunk).expect("just encoded");
            assert_eq!(again, gorilla::encode_columns(&times, &values), "samples survive");
        }
        Err(error) => {
            assert!(error.offset_bits <= input.len() * 8, "{error}, in {} bytes", input.len());
            assert!(times.is_empty() && values.is_empty());
        }
    }
}

fn decimal_chunk_seeds() -> Vec<Vec<u8>> {
    let values: [fn(i64) -> f64; 4] = [
        |_| 42.0,
        |at| (at * 1999 + at * at % 1000) as f64,
        |at| (at * at % 500) as f64 / 100.0,
        |at| -((at + 1) as f64) / 1e9,
    ];
    let chunk = |(value, count): (fn(i64) -> f64, i64)| {
        let times: Vec<i64> = (0..count).map(|at| 1_700_000_000_000 + at * 15_000 + at % 7).collect();
        let values: Vec<u64> = (0..count).map(|at| value(at).to_bits()).collect();
        decimal::encode(&times, &values).expect("short decimals")
    };
    values.into_iter().zip([120, 87, 33, 2]).map(chunk).collect()
}

/// Any bytes are a chunk of histograms or an error; what is in it survives encoding.
pub fn histogram_chunk_decode(input: &[u8]) {
    let Some((&first, chunk)) = input.split_first() else { return };
    let encoding = if first & 1 == 0 { histogram::ENCODING_INTEGER } else { histogram::ENCODING_FLOAT };
    let Ok(samples) = HistogramSamples::new(encoding, chunk) else { return };
    let mut seen = Vec::new();
    for sample in samples {
        let Ok(sample) = sample else { return };
        // A bit a bucket at least.
        assert!(sample.1.bucket_count() <= chunk.len() * 8 && seen.len() < chunk.len() * 8);
        seen.push(sample);
    }
    let mut chunks: Vec<HistogramChunk> = Vec::new();
    for (time, histogram) in seen.iter().filter(|(_, histogram)| histogram.check().is_ok()) {
        let is_taken = chunks.last_mut().is_some_and(|last| !last.is_full() && last.append(*time, histogram));
        if !is_taken {
            chunks.push(HistogramChunk::begin(*time, histogram, chunks.last()));
        }
    }
    let again = chunks.iter().flat_map(|chunk| {
        let bytes = chunk.to_bytes();
        HistogramSamples::new(chunk.encoding(), &bytes)
            .expect("sound")
            .map(|sample| sample.expect("sound"))
            .collect::<Vec<_>>()
    });
    let sound = seen.iter().filter(|(_, histogram)| histogram.check().is_ok());
    assert!(again.zip(sound).all(|((time, a), (sent, b))| time == *sent && a.says_the_same(b)), "histograms survive");
}

fn histogram_chunk_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (is_float, hint) in [(false, ResetHint::Unknown), (false, ResetHint::Gauge), (true, ResetHint::Reset)] {
        let histogram = |round: i64| {
            let counts = match is_float {
                false => Counts::Integer {
                    count: 4 * round as u64,
                    zero_count: 0,
                    positive: vec![round, round, -round],
                    negative: Vec::new(),
                },
                true => Counts::Float {
                    count: round as f64,
                    zero_count: 0.5,
                    positive: vec![round as f64; 3],
                    negative: Vec::new(),
                },
            };
            let positive_spans = vec![Span { offset: 3, length: 2 }, Span { offset: 1, length: 1 }];
            let reset_hint = if round > 1 && hint == ResetHint::Reset { ResetHint::Unknown } else { hint };
            Histogram { reset_hint, sum: round as f64, counts, positive_spans, ..Histogram::default() }
        };
        let mut chunk = HistogramChunk::begin(1_700_000_000_000, &histogram(1), None);
        (2..30).for_each(|round| assert!(chunk.append(1_700_000_000_000 + round * 15_000, &histogram(round))));
        seeds.push([&[u8::from(is_float)][..], &chunk.to_bytes()].concat());
    }
    seeds
}

/// The entry for open chunks: count and length in bits are somebody else's word.
fn open_stream(input: &[u8]) {
    let Some((&[high, low, length_low, length_high], bits)) = input.split_first_chunk() else { return };
    let (count, bit_len) =
        (u16::from_be_bytes([high, low]), usize::from(u16::from_le_bytes([length_low, length_high])));
    let (mut times, mut values) = (Vec::new(), Vec::new());
    let decoded = gorilla::decode_bits_into(count, bits, bit_len, &mut times, &mut values);
    assert!(decoded.is_err() || (decoded == Ok(times.len()) && bit_len <= bits.len() * 8));
    assert_bounded(8 * (times.capacity() + values.capacity()), input, 64);
}

/// Any bytes are columns or an error; samples survive packing.
pub fn columns_decode(input: &[u8]) {
    let (mut series, mut times, mut values) = (Vec::new(), Vec::new(), Vec::new());
    let result = columns::decode(input, &mut series, &mut times, &mut values);
    assert_bounded(4 * series.capacity() + 8 * (times.capacity() + values.capacity()), input, 40);
    match result {
        Ok(decoded) => {
            assert!(decoded.bytes <= input.len());
            assert_eq!((series.len(), times.len(), values.len()), (decoded.samples, decoded.samples, decoded.samples));
            let mut packed = Vec::new();
            columns::encode(&series, &times, &values, &mut packed);
            assert!(packed.len() <= columns::encoded_bytes_max(series.len()));
            let (mut s, mut t, mut v) = (Vec::new(), Vec::new(), Vec::new());
            let again = columns::decode(&packed, &mut s, &mut t, &mut v).expect("what was just packed");
            assert_eq!(again.bytes, packed.len());
            assert!(s == series && t == times && v == values, "samples survive");
        }
        Err(error) => {
            assert!(error.offset <= input.len(), "{error}, in {} bytes", input.len());
            assert!(series.is_empty() && times.is_empty() && values.is_empty());
        }
    }
}

/// Any bytes are a row of varints or an error; what was read is written in no more bytes and read again.
pub fn varints(input: &[u8]) {
    let mut rest = input;
    while !rest.is_empty() {
        let before = rest.len();
        let Ok(number) = varint::take_unsigned(&mut rest) else {
            assert_eq!(rest.len(), before, "an error takes nothing");
            return;
        };
        let taken = before - rest.len();
        let mut written = Vec::new();
        varint::put_unsigned(&mut written, number);
        assert!(written.len() <= taken && taken <= varint::BYTES_MAX);
        assert_eq!(varint::take_unsigned(&mut written.as_slice()), Ok(number));
        assert_eq!(varint::zigzag(varint::unzigzag(number)), number);
    }
}

/// Samples of several kinds: a constant, a counter, bits all over, times all over.
fn samples_of_kinds() -> Vec<Vec<(i64, u64)>> {
    let at = |i: i64| 1_700_000_000_000 + i * 15_000;
    let scrambled = |i: i64| (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let kinds: [&dyn Fn(i64) -> (i64, u64); 5] = [
        &|i| (at(i), 1f64.to_bits()),
        &|i| (at(i), ((i * i) as f64).to_bits()),
        &|i| (at(i) + i % 7, (i as f64 / 100.0).to_bits()),
        &|i| (at(i), scrambled(i)),
        &|i| (scrambled(i) as i64, scrambled(i).rotate_left(i as u32)),
    ];
    kinds.iter().flat_map(|kind| [0, 1, 2, 3, 20, 120].map(|count| (0..count).map(kind).collect())).collect()
}

fn chunk_seeds() -> Vec<Vec<u8>> {
    let chunks = samples_of_kinds().into_iter().map(|samples| gorilla::encode_chunk(&samples));
    // Each as a finished chunk, and with a length in bits for the open ones.
    chunks
        .flat_map(|chunk| {
            let (count, bits) = chunk.split_at(HEADER_BYTES);
            let open = [count, &(bits.len() as u16 * 8).to_le_bytes(), bits].concat();
            [chunk, open]
        })
        .collect()
}

fn columns_seeds() -> Vec<Vec<u8>> {
    let pack = |samples: Vec<(i64, u64)>| {
        let (times, values): (Vec<i64>, Vec<u64>) = samples.into_iter().unzip();
        [1, 0, 77].map(|step| {
            let series: Vec<u32> = (0..times.len() as u32).map(|i| 5_000 + i * step % 1_000).collect();
            let mut packed = Vec::new();
            columns::encode(&series, &times, &values, &mut packed);
            packed
        })
    };
    samples_of_kinds().into_iter().flat_map(pack).collect()
}

fn varint_seeds() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    (0..64).for_each(|shift| varint::put_unsigned(&mut all, u64::MAX >> shift));
    vec![all, vec![0x80; 12], vec![0x81, 0x80, 0]]
}
