//! Chunks that a real Prometheus wrote are read sample for sample and written again bit for bit.
//!
//! Where the data comes from: `data/README.md`.

use std::{fs, path::Path};

use codec::{crc, gorilla, varint};

const SEGMENT_MAGIC: [u8; 4] = 0x85bd_40ddu32.to_be_bytes();
const XOR: u8 = 1;

type Samples = Vec<(i64, u64)>;

fn read(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The chunks of a segment: an entry is a varint length, the encoding, the chunk and a checksum of the two.
fn chunks(segment: &[u8]) -> Vec<&[u8]> {
    let (header, mut rest) = segment.split_at(8);
    assert_eq!(header[..5], [SEGMENT_MAGIC.as_slice(), &[1]].concat(), "magic and version");
    let mut chunks = Vec::new();
    while !rest.is_empty() {
        let length = varint::take_unsigned(&mut rest).expect("a length") as usize;
        let (entry, after) = rest.split_at(1 + length);
        let (checksum, after) = after.split_at(4);
        assert_eq!(crc::crc32c(entry).to_be_bytes(), checksum, "checksum of chunk {}", chunks.len());
        assert_eq!(entry[0], XOR, "encoding of chunk {}", chunks.len());
        chunks.push(&entry[1..]);
        rest = after;
    }
    chunks
}

/// The series that were sent, by name.
fn series(text: &str) -> Vec<(&str, Samples)> {
    let mut series: Vec<(&str, Samples)> = Vec::new();
    for line in text.lines() {
        match line.strip_prefix(' ').and_then(|sample| sample.split_once(' ')) {
            None => series.push((line, Vec::new())),
            Some((time, bits)) => {
                let sample = (time.parse().expect("a time"), u64::from_str_radix(bits, 16).expect("bits"));
                series.last_mut().expect("a name comes first").1.push(sample);
            }
        }
    }
    series
}

#[track_caller]
fn check(name: &str, chunks_expected: usize, samples_expected: usize) {
    let (segment, text) = (read(&format!("{name}.segment")), read(&format!("{name}.samples")));
    let mut missing = series(std::str::from_utf8(&text).expect("text"));
    assert_eq!(missing.iter().map(|series| series.1.len()).sum::<usize>(), samples_expected);
    let chunks = chunks(&segment);
    assert_eq!(chunks.len(), chunks_expected);
    for (index, chunk) in chunks.into_iter().enumerate() {
        let (mut times, mut values) = (Vec::new(), Vec::new());
        let count = gorilla::decode_into(chunk, &mut times, &mut values).expect("a chunk of Prometheus");
        let samples: Samples = times.into_iter().zip(values).collect();
        assert_eq!(gorilla::encode_chunk(&samples), chunk, "bits of chunk {index}, {samples:?}");
        // No two series begin alike, and the chunks of one are in order.
        let (_, source) = missing
            .iter_mut()
            .find(|(_, sent)| sent.starts_with(&samples))
            .unwrap_or_else(|| panic!("chunk {index} is not what was sent: {samples:?}"));
        source.drain(..count);
    }
    missing.retain(|(_, samples)| !samples.is_empty());
    assert_eq!(missing, [], "every sample is in a chunk");
}

#[test]
fn chunks_of_a_snapshot() {
    check("remote-write", 22, 1091);
}

#[test]
fn chunks_of_promtool() {
    check("openmetrics", 13, 519);
}
