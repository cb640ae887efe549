//! Files of Prometheus' blocks.

use std::sync::LazyLock;

use codec::crc::crc32c;
use model::{MatchOp, Matcher};
use tsdb::{
    block::{
        BlockError, ChunkMeta, ChunkReference, Tombstones,
        index::{IndexReader, IndexWriter, SeriesEntry, SymbolPair, SymbolTable},
        segment::{self, SegmentWriter},
    },
    select::TimeRange,
};

use super::{Target, assert_bounded};

const TOC_BYTES: usize = 52;

pub const TARGETS: &[Target] = &[
    Target { name: "block_index", run: block_index, seeds: index_seeds },
    Target { name: "block_index_edits", run: block_index_edits, seeds: edit_seeds },
    Target { name: "block_segment", run: block_segment, seeds: segment_seeds },
    Target { name: "block_tombstones", run: block_tombstones, seeds: tombstone_seeds },
];

/// Any bytes are an index or an error; whatever can be opened can be asked everything, within memory that its length justifies.
pub fn block_index(input: &[u8]) {
    check_index(input);
    // What stands behind the checksums is looked at too.
    let mut mended = input.to_vec();
    mend_index(&mut mended);
    check_index(&mended);
}

/// The same for a sound index in which some bytes were overwritten: three bytes of input say where and with what. Most changes of
/// a whole file already fail where it is opened; these get to postings and series.
pub fn block_index_edits(input: &[u8]) {
    static SOUND: LazyLock<Vec<u8>> = LazyLock::new(|| index_of(6, 2));
    let mut file = SOUND.clone();
    let contents = file.len() - TOC_BYTES;
    for &[high, low, byte] in input.as_chunks::<3>().0 {
        file[usize::from(u16::from_be_bytes([high, low])) % contents] = byte;
    }
    mend_index(&mut file);
    check_index(&file);
}

fn check_index(file: &[u8]) {
    let Ok(reader) = IndexReader::open(file) else { return };
    assert_bounded(reader.heap_bytes(), file, 8);
    noted(read_symbols(&reader), file);
    noted(read_pairs(&reader), file);
    noted(read_series(&reader), file);
    static MATCHERS: LazyLock<[Vec<Matcher>; 5]> = LazyLock::new(matchers);
    for matchers in MATCHERS.iter() {
        if let Some(found) = noted(reader.select(matchers), file) {
            assert!(found.is_sorted(), "in label order");
            assert_bounded(found.capacity() * 4, file, 1);
        }
    }
}

/// What was read; an error has to lie in the file, or lead out of it from a reference of four bytes.
fn noted<T>(result: Result<T, BlockError>, file: &[u8]) -> Option<T> {
    if let Err(BlockError::Damaged { offset, what }) = &result {
        let reference = *what == tsdb::block::Damage::Reference;
        assert!(reference || *offset <= file.len() as u64, "{what} at {offset} of {}", file.len());
    }
    result.ok()
}

fn read_symbols(reader: &IndexReader<&[u8]>) -> Result<(), BlockError> {
    for (number, symbol) in reader.symbols()?.enumerate() {
        let symbol = symbol.expect("checked when it was opened");
        assert_eq!(reader.symbol(number as u32), Ok(symbol));
        assert_eq!(reader.symbol_number(symbol), Ok(Some(number as u32)));
    }
    Ok(())
}

fn read_pairs(reader: &IndexReader<&[u8]>) -> Result<(), BlockError> {
    for name in reader.label_names().expect("checked when it was opened") {
        for value in reader.label_values(name).expect("checked when it was opened") {
            let postings = reader.postings(name, value.expect("checked when it was opened"))?;
            assert!(postings.iter().is_sorted());
        }
    }
    Ok(())
}

fn read_series(reader: &IndexReader<&[u8]>) -> Result<(), BlockError> {
    let mut entry = SeriesEntry::default();
    for reference in reader.all_postings()?.iter() {
        reader.series(reference, &mut entry)?;
        let memory =
            entry.labels.capacity() * size_of::<SymbolPair>() + entry.chunks.capacity() * size_of::<ChunkMeta>();
        assert_bounded(memory, reader.bytes(), 32);
        let labels = reader.labels(&entry.labels)?;
        assert!(labels.len() <= entry.labels.len());
        assert!(entry.chunks.iter().all(|chunk| chunk.min_time <= chunk.max_time));
    }
    Ok(())
}

fn matchers() -> [Vec<Matcher>; 5] {
    let matcher = |op, name, value| Matcher::new(op, name, value).expect("a sound pattern");
    [
        Vec::new(),
        vec![Matcher::equal("job", "node")],
        vec![matcher(MatchOp::Regex, "instance", ".*1.*"), matcher(MatchOp::NotEqual, "job", "node")],
        vec![matcher(MatchOp::NotRegex, "__name__", "up|l.*"), Matcher::equal("zone", "")],
        vec![matcher(MatchOp::Regex, "", ".+"), matcher(MatchOp::NotEqual, "instance", "")],
    ]
}

/// Puts the right checksums where the table of contents leads to.
fn mend_index(file: &mut [u8]) {
    let Some(toc) = file.len().checked_sub(TOC_BYTES) else { return };
    put_sum(file, toc, TOC_BYTES - 4);
    let offset = |entry: usize| {
        let bytes = file[toc + 8 * entry..toc + 8 * entry + 8].try_into().expect("eight bytes");
        usize::try_from(u64::from_be_bytes(bytes)).unwrap_or(usize::MAX)
    };
    let (symbols, series, series_end, postings, table) = (offset(0), offset(1), offset(2), offset(4), offset(5));
    mend_section(file, symbols);
    mend_section(file, table);
    // What follows the postings are sections too.
    let mut section = Some(postings.saturating_add(3) / 4 * 4);
    while let Some(start) = section.filter(|&start| start < toc) {
        section = mend_section(file, start);
    }
    let align = |start: usize| start.saturating_add(15) / 16 * 16;
    let mut entry = Some(align(series));
    while let Some(start) = entry.filter(|&start| start < series_end) {
        entry = mend_counted(file, start, 0).map(align);
    }
}

/// Mends a section with four bytes of length; returns where the next one begins.
fn mend_section(file: &mut [u8], start: usize) -> Option<usize> {
    let length = file.get(start..)?.first_chunk()?;
    let length = u32::from_be_bytes(*length) as usize;
    put_sum(file, start + 4, length)
}

/// Mends an entry whose length is a varint, and counts `more` bytes less than there are.
fn mend_counted(file: &mut [u8], start: usize, more: usize) -> Option<usize> {
    let mut rest = file.get(start..)?;
    let before = rest.len();
    let length = codec::varint::take_unsigned(&mut rest).ok()?;
    let contents = start + before - rest.len();
    put_sum(file, contents, usize::try_from(length).ok()?.checked_add(more)?)
}

/// Puts the checksum of some bytes behind them; returns where it ends.
fn put_sum(file: &mut [u8], start: usize, length: usize) -> Option<usize> {
    let end = start.checked_add(length)?;
    let sum = crc32c(file.get(start..end)?);
    file.get_mut(end..)?.first_chunk_mut::<4>()?.copy_from_slice(&sum.to_be_bytes());
    Some(end + 4)
}

/// Any bytes are a chunk or an error at every offset, and a chunk is where a writer would have put it.
pub fn block_segment(input: &[u8]) {
    segment::check_header(input).ok();
    let mut mended = input.to_vec();
    for offset in 0..input.len().min(64) {
        check_chunk(input, offset);
        mend_counted(&mut mended, offset, 1);
        check_chunk(&mended, offset);
    }
}

fn check_chunk(file: &[u8], offset: usize) {
    let Some((encoding, data)) = noted(segment::chunk(file, offset as u32), file) else { return };
    let mut writer = SegmentWriter::default();
    let reference = writer.push(encoding, data);
    let again = writer.take_ready().expect("a chunk").bytes;
    assert_eq!(segment::chunk(&again, reference.offset()), Ok((encoding, data)));
}

/// Any bytes are tombstones or an error, and tombstones survive.
pub fn block_tombstones(input: &[u8]) {
    check_tombstones(input);
    let mut mended = input.to_vec();
    if let Some(length) = input.len().checked_sub(9) {
        put_sum(&mut mended, 5, length);
    }
    check_tombstones(&mended);
}

fn check_tombstones(file: &[u8]) {
    let Some(tombstones) = noted(Tombstones::decode(file), file) else { return };
    assert!(tombstones.count() * 3 <= file.len(), "an interval takes three bytes at least");
    for (_, intervals) in tombstones.iter() {
        let all: Vec<TimeRange> = intervals.iter().collect();
        assert!(all.iter().all(|range| range.min_time <= range.max_time && intervals.covers(*range)));
        assert!(all.windows(2).all(|pair| pair[0].max_time < pair[1].min_time - 1), "{all:?}");
    }
    assert_eq!(Tombstones::decode(&tombstones.encode()), Ok(tombstones));
}

fn index_seeds() -> Vec<Vec<u8>> {
    vec![index_of(0, 0), index_of(1, 1), index_of(6, 2), index_of(90, 1)]
}

/// An index of some series with some chunks each.
fn index_of(series: u32, chunks: i64) -> Vec<u8> {
    let instances: Vec<String> = (0..=series / 2).map(|number| format!("host-{number:03}")).collect();
    let texts = ["", "__name__"].into_iter().chain(instances.iter().map(String::as_str));
    let mut symbols = SymbolTable::default();
    for text in texts.chain(["instance", "job", "load", "node", "up"]) {
        symbols.push(text).expect("few symbols");
    }
    let mut writer = IndexWriter::new(symbols);
    let number = |writer: &IndexWriter, text: &str| writer.symbols().number_of(text).expect("a symbol");
    let mut reference = 8;
    for at in 0..series {
        let (name, instance) =
            (["load", "up"][(2 * at / series) as usize], &instances[(at % series.div_ceil(2)) as usize]);
        let labels = [("__name__", name), ("instance", instance), ("job", "node")];
        let labels = labels.map(|(name, value)| (number(&writer, name), number(&writer, value)));
        let chunk_of = |at: i64| {
            reference += 93;
            let min_time = 1_700_000_000_000 + at * 1_800_000;
            ChunkMeta { min_time, max_time: min_time + 1_785_000, reference: ChunkReference(reference) }
        };
        let chunks: Vec<ChunkMeta> = (0..chunks).map(chunk_of).collect();
        // Every second one has a job.
        let labels = &labels[..if at % 2 == 0 { 3 } else { 2 }];
        writer.push(labels, &chunks).expect("within the limits");
    }
    let (mut finished, mut file) = (writer.finish().expect("within the limits"), Vec::new());
    while finished.take_ready(&mut file) {}
    file
}

fn edit_seeds() -> Vec<Vec<u8>> {
    let edit = |place: u16, byte| [place.to_be_bytes()[0], place.to_be_bytes()[1], byte];
    [7, 53, 120, 161].map(|step| (1..5).flat_map(|at| edit(step * at, at as u8)).collect()).to_vec()
}

fn segment_seeds() -> Vec<Vec<u8>> {
    let mut writer = SegmentWriter::default();
    for length in [0, 3, 20, 130] {
        writer.push(1, &vec![length as u8; length]);
    }
    let file = writer.take_ready().expect("four chunks").bytes;
    vec![file[..8].to_vec(), file[8..].to_vec(), file]
}

fn tombstone_seeds() -> Vec<Vec<u8>> {
    let mut tombstones = Tombstones::default();
    let empty = tombstones.encode();
    for series in 0..5 {
        tombstones
            .add(series * series * 100, TimeRange { min_time: -series.cast_signed(), max_time: 1_700_000_000_000 });
        tombstones.add(series * series * 100, TimeRange { min_time: i64::MIN, max_time: -1_000 });
    }
    vec![empty, tombstones.encode()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_sound_and_mending_does_not_change_them() {
        for seed in index_seeds() {
            let reader = IndexReader::open(&seed[..]).expect("a sound index");
            assert_eq!(read_series(&reader).and_then(|()| read_pairs(&reader)), Ok(()));
            let mut mended = seed.clone();
            mend_index(&mut mended);
            assert!(mended == seed);
            // Mending is worth something: it makes up for a lost checksum.
            let toc = mended.len() - 1;
            mended[toc] ^= 1;
            mend_index(&mut mended);
            assert!(mended == seed);
        }
        assert!(tombstone_seeds().iter().all(|seed| Tombstones::decode(seed).is_ok()));
        assert!(segment::check_header(&segment_seeds()[2]).is_ok());
    }
}
