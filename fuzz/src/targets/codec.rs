//! Chunks, log columns and varints.

use codec::{
    columns,
    gorilla::{self, HEADER_BYTES, Samples},
    varint,
};

use super::{Target, assert_bounded};

pub const TARGETS: &[Target] = &[
    Target { name: "chunk_decode", run: chunk_decode, seeds: chunk_seeds },
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
