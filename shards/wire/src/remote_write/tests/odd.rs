//! Writes messages the way no sender does and every decoder must accept: fields in any order, unknown ones between them, lists
//! packed in pieces or not at all, varints longer than needed.

use prost::Message as _;

use super::naive::{ExemplarV1, ExemplarV2, Label, RequestV1, RequestV2, Sample, SampleV2, SeriesV1, SeriesV2};

/// A small generator of pseudo-random numbers, so that a case is repeated by its seed.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % bound
    }

    fn varint(&mut self, out: &mut Vec<u8>, value: u64) {
        let start = out.len();
        crate::protobuf::put_varint(out, value);
        let spare = 10 - (out.len() - start);
        if spare > 0 && self.below(6) == 0 {
            let extra = 1 + self.below(spare);
            *out.last_mut().expect("at least one byte") |= 0x80;
            out.extend(std::iter::repeat_n(0x80, extra - 1));
            out.push(0);
        }
    }

    fn field(&mut self, field: u64, wire: u64, write: impl FnOnce(&mut Self, &mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        self.varint(&mut out, field << 3 | wire);
        write(self, &mut out);
        out
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) -> Vec<u8> {
        self.field(field, 2, |random, out| {
            random.varint(out, bytes.len() as u64);
            out.extend_from_slice(bytes);
        })
    }

    fn number(&mut self, field: u64, value: u64) -> Vec<u8> {
        self.field(field, 0, |random, out| random.varint(out, value))
    }

    fn double(&mut self, field: u64, value: f64) -> Vec<u8> {
        self.field(field, 1, |_, out| out.extend_from_slice(&value.to_bits().to_le_bytes()))
    }

    /// A field that no message has.
    fn unknown(&mut self) -> Vec<u8> {
        let field = 20 + self.below(1000) as u64;
        match self.below(5) {
            0 => self.number(field, u64::MAX),
            1 => self.double(field, 1.0),
            2 => self.bytes(field, b"unknown"),
            3 => self.field(field, 5, |_, out| out.extend_from_slice(&[1, 2, 3, 4])),
            _ => self.group(field),
        }
    }

    fn group(&mut self, field: u64) -> Vec<u8> {
        let inner = self.number(1, 7);
        let end = self.field(field, 4, |_, _| ());
        self.field(field, 3, |_, out| out.extend([inner, end].concat()))
    }

    /// Mixes lists of fields, each list in its own order, with unknown fields between them.
    fn mix(&mut self, lists: Vec<Vec<Vec<u8>>>) -> Vec<u8> {
        let mut lists: Vec<_> = lists.into_iter().map(Vec::into_iter).collect();
        let mut out = Vec::new();
        while lists.iter().any(|list| list.len() > 0) {
            if self.below(8) == 0 {
                out.extend(self.unknown());
            }
            let which = self.below(lists.len());
            // Runs of one list are as frequent as changes.
            for _ in 0..=self.below(3) {
                out.extend(lists[which].next().unwrap_or_default());
            }
        }
        out
    }

    fn all_bytes(&mut self, field: u64, all: &[Vec<u8>]) -> Vec<Vec<u8>> {
        all.iter().map(|bytes| self.bytes(field, bytes)).collect()
    }

    fn messages<T>(&mut self, field: u64, all: &[T], mut encode: impl FnMut(&mut Self, &T) -> Vec<u8>) -> Vec<Vec<u8>> {
        all.iter()
            .map(|one| {
                let inner = encode(self, one);
                self.bytes(field, &inner)
            })
            .collect()
    }
}

pub(super) fn encode_v1(request: &RequestV1, random: &mut Random) -> Vec<u8> {
    let lists = vec![random.messages(1, &request.series, series_v1), random.all_bytes(3, &request.metadata)];
    random.mix(lists)
}

fn series_v1(random: &mut Random, series: &SeriesV1) -> Vec<u8> {
    let labels = random.messages(1, &series.labels, label);
    let samples = random.messages(2, &series.samples, sample_v1);
    let lists = vec![
        labels,
        samples,
        random.messages(3, &series.exemplars, exemplar_v1),
        random.messages(4, &series.histograms, |_, histogram| histogram.encode_to_vec()),
    ];
    random.mix(lists)
}

fn label(random: &mut Random, label: &Label) -> Vec<u8> {
    let lists = vec![vec![random.bytes(1, &label.name)], vec![random.bytes(2, &label.value)]];
    random.mix(lists)
}

fn exemplar_v1(random: &mut Random, exemplar: &ExemplarV1) -> Vec<u8> {
    let lists = vec![
        random.messages(1, &exemplar.labels, label),
        vec![random.double(2, exemplar.value)],
        vec![random.number(3, exemplar.time as u64)],
    ];
    random.mix(lists)
}

fn exemplar_v2(random: &mut Random, exemplar: &ExemplarV2) -> Vec<u8> {
    let lists = vec![
        references(random, &exemplar.references),
        vec![random.double(2, exemplar.value)],
        vec![random.number(3, exemplar.time as u64)],
    ];
    random.mix(lists)
}

fn sample_v1(random: &mut Random, sample: &Sample) -> Vec<u8> {
    let lists = vec![vec![random.double(1, sample.value)], vec![random.number(2, sample.time as u64)]];
    random.mix(lists)
}

pub(super) fn encode_v2(request: &RequestV2, random: &mut Random) -> Vec<u8> {
    let lists = vec![random.all_bytes(4, &request.symbols), random.messages(5, &request.series, series_v2)];
    random.mix(lists)
}

fn series_v2(random: &mut Random, series: &SeriesV2) -> Vec<u8> {
    let lists = vec![
        references(random, &series.references),
        random.messages(2, &series.samples, sample_v2),
        random.messages(3, &series.histograms, |_, histogram| histogram.encode_to_vec()),
        random.messages(4, &series.exemplars, exemplar_v2),
        random.all_bytes(5, &series.metadata),
        vec![random.number(6, series.created as u64)],
    ];
    random.mix(lists)
}

/// Packed in pieces of any size, pieces of none among them, or one by one.
fn references(random: &mut Random, mut references: &[u64]) -> Vec<Vec<u8>> {
    let mut fields = Vec::new();
    while !references.is_empty() {
        let (piece, rest) = references.split_at(random.below(references.len() + 1));
        let mut packed = Vec::new();
        piece.iter().for_each(|&reference| random.varint(&mut packed, reference));
        fields.push(match *piece {
            [single] if random.below(2) == 0 => random.number(1, single),
            _ => random.bytes(1, &packed),
        });
        references = rest;
    }
    fields
}

fn sample_v2(random: &mut Random, sample: &SampleV2) -> Vec<u8> {
    let lists = vec![
        vec![random.double(1, sample.value)],
        vec![random.number(2, sample.time as u64)],
        vec![random.number(3, sample.start_time as u64)],
    ];
    random.mix(lists)
}
