//! A block as a folder, the way a driver would keep it, but in memory and all at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use codec::gorilla;
use model::Labels;
use tsdb::{
    block::{
        ChunkMeta, Tombstones,
        index::{IndexReader, IndexWriter, SeriesEntry, SymbolTable},
        segment::{self, SegmentWriter},
    },
    chunk_file::ENCODING_XOR,
    select::TimeRange,
};

/// Times and bits of values by label set.
pub(crate) type Series = BTreeMap<Labels, Vec<(i64, u64)>>;

const SAMPLES_PER_CHUNK: usize = 120;
pub(crate) const ULID: &str = "01HF7YAT00QS6GV3S6YQNQ5X2J";

/// Writes a block; returns the references of its series in label order.
pub(crate) fn write(
    folder: &Path,
    series: &Series,
    segment_bytes_max: u32,
    deleted: &[(usize, TimeRange)],
) -> Vec<u32> {
    fs::create_dir_all(folder.join("chunks")).expect("a folder");
    let mut segments = SegmentWriter::new(segment_bytes_max);
    let (mut writer, mut index, mut references) = (IndexWriter::new(symbols_of(series)), Vec::new(), Vec::new());
    for (labels, samples) in series {
        let number = |text| writer.symbols().number_of(text).expect("a symbol");
        let pairs: Vec<_> = labels.iter().map(|label| (number(label.name), number(label.value))).collect();
        let chunks: Vec<_> =
            samples.chunks(SAMPLES_PER_CHUNK).map(|samples| put_chunk(samples, &mut segments)).collect();
        references.push(writer.push(&pairs, &chunks).expect("within the limits"));
        while writer.take_ready(&mut index) {}
    }
    let mut finished = writer.finish().expect("within the limits");
    while finished.take_ready(&mut index) {}
    fs::write(folder.join("index"), index).expect("a file");
    write_segments(&mut segments, &folder.join("chunks"));
    let mut tombstones = Tombstones::default();
    deleted.iter().for_each(|&(position, range)| tombstones.add(u64::from(references[position]), range));
    fs::write(folder.join("tombstones"), tombstones.encode()).expect("a file");
    fs::write(folder.join("meta.json"), meta(series, tombstones.count())).expect("a file");
    references
}

fn symbols_of(series: &Series) -> SymbolTable {
    let labels = series.keys().flat_map(Labels::iter);
    let texts: BTreeSet<&str> = labels.flat_map(|label| [label.name, label.value]).chain([""]).collect();
    let mut symbols = SymbolTable::default();
    for text in texts {
        symbols.push(text).expect("few symbols");
    }
    symbols
}

fn put_chunk(samples: &[(i64, u64)], segments: &mut SegmentWriter) -> ChunkMeta {
    let reference = segments.push(ENCODING_XOR, &gorilla::encode_chunk(samples));
    ChunkMeta { min_time: samples[0].0, max_time: samples[samples.len() - 1].0, reference }
}

fn write_segments(segments: &mut SegmentWriter, folder: &Path) {
    let mut files = BTreeMap::<u32, Vec<u8>>::new();
    while let Some(piece) = segments.take_ready() {
        files.entry(piece.segment).or_default().extend_from_slice(&piece.bytes);
    }
    for (number, bytes) in files {
        fs::write(folder.join(segment::file_name(number)), bytes).expect("a file");
    }
}

fn meta(series: &Series, tombstones: usize) -> String {
    let times = || series.values().flatten().map(|sample| sample.0);
    let (min_time, max_time) = (times().min().expect("samples"), times().max().expect("samples") + 1);
    let (samples, count) = (times().count(), series.len());
    let chunks: usize = series.values().map(|samples| samples.len().div_ceil(SAMPLES_PER_CHUNK)).sum();
    format!(
        r#"{{"ulid": "{ULID}", "minTime": {min_time}, "maxTime": {max_time},
        "stats": {{"numSamples": {samples}, "numSeries": {count}, "numChunks": {chunks}, "numTombstones": {tombstones}}},
        "compaction": {{"level": 1, "sources": ["{ULID}"]}}, "version": 1}}"#
    )
}

/// The segments of a block in order.
pub(crate) fn segments(folder: &Path) -> Vec<Vec<u8>> {
    let count = fs::read_dir(folder.join("chunks")).expect("a folder").count() as u32;
    (0..count)
        .map(|number| fs::read(folder.join("chunks").join(segment::file_name(number))).expect("a segment"))
        .collect()
}

/// Reads a block; deleted samples are left out.
pub(crate) fn read(folder: &Path) -> Series {
    let index = IndexReader::open(fs::read(folder.join("index")).expect("an index")).expect("a sound index");
    let segments = segments(folder);
    segments.iter().for_each(|segment| segment::check_header(segment).expect("a sound segment"));
    let tombstones = Tombstones::decode(&fs::read(folder.join("tombstones")).expect("tombstones")).expect("sound ones");
    let (mut series, mut entry) = (Series::new(), SeriesEntry::default());
    for reference in index.all_postings().expect("sound postings").iter() {
        index.series(reference, &mut entry).expect("a sound series");
        let mut samples: Vec<_> = entry.chunks.iter().flat_map(|chunk| samples_of(chunk, &segments)).collect();
        if let Some(deleted) = tombstones.get(u64::from(reference)) {
            samples.retain(|sample| !deleted.contains(sample.0));
        }
        series.insert(index.labels(&entry.labels).expect("sound labels"), samples);
    }
    series
}

fn samples_of(meta: &ChunkMeta, segments: &[Vec<u8>]) -> Vec<(i64, u64)> {
    let segment = &segments[meta.reference.segment() as usize];
    let (encoding, data) = segment::chunk(segment, meta.reference.offset()).expect("a sound chunk");
    assert_eq!(encoding, ENCODING_XOR);
    let (mut times, mut values) = (Vec::new(), Vec::new());
    gorilla::decode_into(data, &mut times, &mut values).expect("a sound chunk");
    assert_eq!((times.first(), times.last()), (Some(&meta.min_time), Some(&meta.max_time)));
    times.into_iter().zip(values).collect()
}

/// Reads an index and its segments and writes both again from what was read.
pub(crate) fn rewritten(index: &[u8], segments: &[Vec<u8>]) -> (Vec<u8>, Vec<Vec<u8>>) {
    let reader = IndexReader::open(index).expect("a sound index");
    let mut symbols = SymbolTable::default();
    for symbol in reader.symbols().expect("sound symbols") {
        symbols.push(symbol.expect("a sound symbol")).expect("few symbols");
    }
    let (mut writer, mut chunks, mut entry) =
        (IndexWriter::new(symbols), SegmentWriter::default(), SeriesEntry::default());
    for reference in reader.all_postings().expect("sound postings").iter() {
        reader.series(reference, &mut entry).expect("a sound series");
        for meta in &mut entry.chunks {
            let segment = &segments[meta.reference.segment() as usize];
            let (encoding, data) = segment::chunk(segment, meta.reference.offset()).expect("a sound chunk");
            meta.reference = chunks.push(encoding, data);
        }
        assert_eq!(writer.push(&entry.labels, &entry.chunks), Ok(reference));
    }
    let (mut finished, mut bytes, mut files) = (writer.finish().expect("within the limits"), Vec::new(), Vec::new());
    while finished.take_ready(&mut bytes) {}
    while let Some(piece) = chunks.take_ready() {
        files.push(piece.bytes);
    }
    (bytes, files)
}
