//! What a shard reads back from its disk: files of frames, records, checkpoints, chunk files.

use codec::{columns, gorilla};
use model::{
    Histogram, IdentityKey, OwnedBatch,
    histogram::{Counts, ResetHint, Span},
};
use tsdb::{
    Head, Limits, Rejection, SeriesQuota, SeriesRef, ShardPart, Window,
    checkpoint::{CheckpointEnd, DefinitionsMark},
    chunk_file::{self, EntryError, ExtentBuilder, SeriesTag, check_any_entry, check_entry, check_file_header},
    exemplars::SelectingExemplars,
    head::HeapBytes,
    select::{Progress, SelectedChunk, Selecting, Selection, TimeRange, Wanted},
    wal::{FileHeader, FileKind, LogBatch, Records, SECTOR, Scan, Scanner, frame_header, generation_of},
};

use super::Target;

pub const TARGETS: &[Target] = &[
    Target { name: "head_replay", run: head_replay, seeds: replay_seeds },
    Target { name: "frame_scan", run: frame_scan, seeds: frame_seeds },
    Target { name: "file_headers", run: file_headers, seeds: header_seeds },
    Target { name: "checkpoint_end", run: checkpoint_end, seeds: end_seeds },
    Target { name: "chunk_entries", run: chunk_entries, seeds: entry_seeds },
];

const START: i64 = 1_700_000_000_000;
const OPEN: Window = Window { min_time: i64::MIN, max_time: i64::MAX, out_of_order_from: None };
/// Places that a hostile definition may have filled up; the bound of a real head is some thousand times as large.
const LIMITS: Limits = Limits { labels_per_series_max: 128, lost_places_max: 1 << 12, shares: Vec::new() };

const EXEMPLARS_MAX: usize = 100;

struct Unlimited;

impl SeriesQuota for Unlimited {
    fn reserve_one(&mut self) -> Result<(), Rejection> {
        Ok(())
    }
}

fn key() -> IdentityKey {
    IdentityKey::from_bytes(&std::array::from_fn(|at| (at * 37 + 11) as u8))
}

fn new_head() -> Head {
    let mut head = Head::new(key(), LIMITS, 100);
    head.set_exemplars_max(EXEMPLARS_MAX);
    head
}

/// Any bytes are records or an error; memory is bounded; whatever came of them can be queried, written on, and survives a
/// checkpoint.
pub fn head_replay(input: &[u8]) {
    let mut head = new_head();
    replay(&mut head, input);
    check_memory(head.heap_bytes(), input);
    check_checkpoint(&head, input);
    check_exemplars(&head);
    let selection = select(&head);
    check_selection(&selection);
    write_on(&mut head);
    check_checkpoint(&head, input);
}

/// Applies what can be applied, as a recovery does: an error costs its record and no more.
fn replay(head: &mut Head, payload: &[u8]) {
    for record in Records::of(payload) {
        let Ok(record) = record else { return };
        let described = record.contents(&mut |_, chunk| assert!(chunk.min_time <= chunk.max_time));
        let applied = head.replay(record);
        assert!(described.is_ok() || applied.is_err(), "{record:?}: {described:?}, but a head takes it");
        take_extents(head);
    }
}

fn take_extents(head: &mut Head) {
    while let Some(extent) = head.extent().next_to_write() {
        head.extent().written(&extent);
    }
}

/// Pages and tables are allocated in steps; beyond those a byte of input may cost no more than the smallest definition does.
fn check_memory(used: HeapBytes, input: &[u8]) {
    let steps = 2 << 20;
    // A lost place is a hot line, a reference to chunks, a position of labels.
    let lost = LIMITS.lost_places_max * 128;
    let bound = steps + lost + input.len() * 256;
    assert!(used.total() <= bound, "{used:?} for {} bytes of input", input.len());
}

/// Definitions and images of a head, in the payloads of a checkpoint.
fn checkpoint_of(head: &Head) -> Vec<Vec<u8>> {
    let (mut payloads, mut mark, end) = (Vec::new(), DefinitionsMark::default(), head.definitions_mark());
    while mark != end {
        let mut payload = Vec::new();
        mark = head.put_definitions(mark, end, &mut payload);
        payloads.push(payload);
    }
    let (mut next, end) = (SeriesRef(0), SeriesRef(end.next_series));
    while next < end {
        let mut payload = Vec::new();
        next = head.put_slice(next, end, &mut payload);
        payloads.push(payload);
    }
    payloads
}

fn check_checkpoint(head: &Head, input: &[u8]) {
    let payloads = checkpoint_of(head);
    let mut other = new_head();
    for payload in &payloads {
        for record in Records::of(payload) {
            let record = record.expect("a record that was just written");
            other.replay(record).unwrap_or_else(|error| panic!("{error}, from {} bytes of input", input.len()));
        }
    }
    assert_eq!(other.definitions_mark(), head.definitions_mark(), "every place is kept, the lost ones too");
    assert!(checkpoint_of(&other) == payloads, "a checkpoint of what a checkpoint gave is the same");
}

/// As many as may be, each found once, and what a checkpoint holds of them can be read.
fn check_exemplars(head: &Head) {
    let range = TimeRange { min_time: i64::MIN, max_time: i64::MAX };
    let mut selecting = SelectingExemplars::new([vec![]].into(), range);
    while selecting.advance(head) {}
    let found: usize = selecting.finish().iter().map(|series| series.exemplars.len()).sum();
    assert_eq!((found as u64, found <= EXEMPLARS_MAX), (head.exemplar_counts().exemplars, true));
    let (mut next, end, mut payload) = (head.first_exemplar(), head.next_exemplar(), Vec::new());
    while next < end {
        next = head.put_exemplar_slice(next, end, &mut payload);
    }
    let mut other = new_head();
    for record in Records::of(&payload) {
        // Series of one label set under two identities, which only a forger writes, become one.
        let record = record.expect("a record that was just written");
        if generation_of(&payload) == 0 {
            other.replay(record).expect("exemplars that were just written");
        }
    }
    assert!(other.exemplar_counts().exemplars <= found as u64);
}

fn select(head: &Head) -> Selection {
    let range = TimeRange { min_time: i64::MIN, max_time: i64::MAX };
    let mut selecting = Selecting::new(&[], range, Wanted::Samples);
    loop {
        if let Progress::Done(selection) = selecting.advance(head) {
            return *selection;
        }
    }
}

/// Chunks may make no sense, as images are taken on trust; they never make a reader panic.
fn check_selection(selection: &Selection) {
    for (position, &series) in selection.series.iter().enumerate() {
        assert!(selection.labels.labels(series).iter().count() > 0, "a lost series is never found");
        for chunk in selection.chunks_of(position) {
            if let SelectedChunk::Copied { encoding, start, length } = *chunk {
                let chunk = selection.copied(encoding, start, length);
                codec::count_samples(chunk.encoding, chunk.data).ok();
            }
        }
    }
}

/// Samples for the first series: near the newest, then in the next window, so that open chunks are sealed.
fn write_on(head: &mut Head) {
    let start = head.max_time().unwrap_or(START);
    for step in [1, 10_000, 7_200_000, 7_210_000] {
        let series: Vec<u32> = (0..head.series_count().min(50) as u32).collect();
        let times = vec![start.saturating_add(step); series.len()];
        let values: Vec<u64> = series.iter().map(|&series| f64::from(series).to_bits() ^ step as u64).collect();
        let mut payload = Vec::new();
        put_samples(&series, &times, &values, &mut payload);
        replay(head, &payload);
    }
}

fn put_samples(series: &[u32], times: &[i64], values: &[u64], payload: &mut Vec<u8>) {
    let mut body = Vec::new();
    columns::encode(series, times, values, &mut body);
    payload.push(2);
    payload.extend_from_slice(&(body.len() as u32).to_le_bytes());
    payload.extend_from_slice(&body);
}

/// Any bytes are walked to their end in steps of a sector at least; a frame that is found is one that would be written.
pub fn frame_scan(input: &[u8]) {
    let Some((&[first_frame, window], file)) = input.split_first_chunk() else { return };
    let scanner = Scanner { first_frame: u64::from(first_frame) };
    let mut offset = 0;
    while offset < file.len() {
        let rest = &file[offset..];
        let seen = &rest[..rest.len().min(SECTOR * usize::from(window).max(1))];
        let step = match scanner.look(seen, seen.len() == rest.len()) {
            Scan::NeedBytes(bytes) => {
                assert!(bytes > seen.len() && seen.len() < rest.len(), "{bytes} bytes asked for with {}", seen.len());
                scanner.look(&rest[..rest.len().min(bytes)], rest.len() <= bytes)
            }
            other => other,
        };
        offset += match step {
            Scan::Frame { header, payload } => {
                assert!(header.number >= scanner.first_frame);
                assert_eq!(header.payload_bytes as usize, payload.len());
                let again = frame_header(header.number, payload);
                // Sixteen bytes are not used and under the checksum all the same.
                assert!(rest[16..28] != [0; 12] || again == rest[..again.len()], "the frame is not as it is written");
                header.sectors_bytes() as usize
            }
            Scan::NeedBytes(bytes) => panic!("{bytes} bytes were asked for and given"),
            Scan::Nothing | Scan::Damaged => SECTOR,
        };
    }
}

/// Any bytes are the first sector of a file or an error, and a header survives.
pub fn file_headers(input: &[u8]) {
    if let Ok(header) = FileHeader::decode(input) {
        assert_eq!(FileHeader::decode(&header.encode()), Ok(header));
    }
    // With a checksum that fits, so that what stands behind it is looked at too.
    let mut sector = input.to_vec();
    sector.resize(SECTOR, 0);
    let sum = codec::crc::crc32c(&sector[..SECTOR - 4]);
    sector[SECTOR - 4..].copy_from_slice(&sum.to_le_bytes());
    if let Ok(header) = FileHeader::decode(&sector) {
        assert_eq!(FileHeader::decode(&header.encode()), Ok(header));
    }
    let number = u32::from_le_bytes(sector[12..16].try_into().expect("four bytes"));
    if check_file_header(&sector, number).is_ok() {
        assert!(check_file_header(&sector, number ^ 1).is_err(), "the number counts");
        assert!(check_file_header(&sector[..SECTOR - 1], number).is_err(), "the length counts");
    }
}

/// Any bytes are the end of a checkpoint or are not, and an end survives.
pub fn checkpoint_end(input: &[u8]) {
    let head = new_head();
    for record in Records::of(input) {
        let Ok(record) = record else { return };
        let Some(end) = CheckpointEnd::decode(record) else { continue };
        let mut payload = Vec::new();
        head.put_end(&end, &mut payload);
        let again = Records::of(&payload).next().expect("one record").expect("a record that was just written");
        assert_eq!(CheckpointEnd::decode(again), Some(end));
    }
}

/// Any bytes are a row of chunks or an error; a walk ends and an entry is of one series only.
pub fn chunk_entries(input: &[u8]) {
    let mut offset = 0;
    while offset < input.len() {
        let entry = &input[offset..];
        offset += chunk_file::ENTRY_HEADER_BYTES;
        let Ok((series, chunk)) = check_any_entry(entry) else { continue };
        assert_eq!(check_entry(entry, series), Ok(chunk));
        assert_eq!(check_entry(entry, SeriesTag(series.0 ^ 1)), Err(EntryError::Series));
        codec::count_samples(chunk.encoding, chunk.data).ok();
        offset += chunk.data.len().next_multiple_of(16);
    }
}

/// A counter of one more bucket each time, or a gauge.
fn histogram(round: i64) -> Histogram {
    let buckets = 1 + round.rem_euclid(20) as u32;
    Histogram {
        reset_hint: if round % 40 < 20 { ResetHint::Unknown } else { ResetHint::Gauge },
        sum: round as f64,
        counts: Counts::Integer {
            count: u64::from(buckets) * 9 + 3,
            zero_count: 3,
            positive: (0..buckets).map(|bucket| if bucket == 0 { 9 } else { 0 }).collect(),
            negative: Vec::new(),
        },
        positive_spans: vec![Span { offset: -2, length: buckets }],
        ..Histogram::default()
    }
}

/// A head that was written to, and the payloads of its log.
fn written_head(series: u64, rounds: i64) -> (Head, Vec<Vec<u8>>) {
    let (mut head, mut log) = (new_head(), Vec::new());
    for round in 0..rounds {
        let mut batch = OwnedBatch::default();
        for number in 0..series {
            let instance = format!("host-{}:9100", number / 3);
            let name = ["up", "requests_total", "load"][(number % 3) as usize];
            let labels = [("__name__", name), ("instance", &instance), ("job", "node")];
            let labels = labels.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
            let time = START + round * 15_000 + number as i64 % 7;
            let value = [1.0, (round * 17) as f64, 0.3 * round as f64][(number % 3) as usize];
            match number % 5 {
                4 => batch.push_histograms(&key(), labels, [(time, histogram(round))]),
                _ => batch.push(&key(), labels, [(time, value.to_bits())]),
            }
        }
        let mut commit = LogBatch::default();
        head.append(&batch, ShardPart::WHOLE, OPEN, &mut Unlimited, &mut commit);
        let mut payload = Vec::new();
        commit.encode(&mut payload);
        log.push(payload);
    }
    (head, log)
}

fn replay_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (series, rounds) in [(1, 1), (1, 3), (7, 2), (12, 130), (60, 2)] {
        let (head, log) = written_head(series, rounds);
        seeds.push(log.concat());
        seeds.push(checkpoint_of(&head).concat());
        // Definitions missing.
        seeds.push(log[1..].concat());
    }
    // A checkpoint with lost places in it.
    let (_, mut log) = written_head(4, 1);
    let mut head = new_head();
    let mut far = log[0].clone();
    // First pair and first series.
    far[5] = 9;
    far[7] = 9;
    replay(&mut head, &far);
    log.push(checkpoint_of(&head).concat());
    log.push(far);
    seeds.extend(log);
    seeds
}

fn frame_seeds() -> Vec<Vec<u8>> {
    let file_of = |payloads: &[Vec<u8>], first: u64| {
        let mut file = Vec::new();
        for (payload, number) in payloads.iter().zip(first..) {
            file.extend_from_slice(&frame_header(number, payload));
            file.extend_from_slice(payload);
            file.resize(file.len().next_multiple_of(SECTOR), 0);
        }
        file
    };
    let (_, log) = written_head(5, 3);
    let long = vec![vec![7; 3 * SECTOR], vec![8; SECTOR - 32], Vec::new()];
    [(file_of(&log, 0), [0, 1]), (file_of(&log, 200), [201, 255]), (file_of(&long, 5), [5, 1])]
        .map(|(file, how)| [&how[..], &file].concat())
        .to_vec()
}

fn header_seeds() -> Vec<Vec<u8>> {
    let kinds = [FileKind::LogSegment, FileKind::SeriesLog, FileKind::Checkpoint];
    let headers = kinds.map(|kind| FileHeader { kind, shard: 3, number: 77, first_frame: 1 << 40 }.encode());
    let short = headers.clone().map(|header| header[..32].to_vec());
    let chunks = [chunk_file::file_header(1, 5), chunk_file::file_header(0, 0)[..16].to_vec()];
    headers.into_iter().chain(short).chain(chunks).collect()
}

fn end_seeds() -> Vec<Vec<u8>> {
    let head = new_head();
    let definitions = DefinitionsMark { next_pair: 300, next_series: 70_000 };
    let ends = [(0, None, None), (1 << 40, Some(START), Some(START + 1)), (u64::MAX, Some(i64::MIN), Some(i64::MAX))];
    let payload_of = |(number, min_time, max_time)| {
        let end = CheckpointEnd {
            first_segment: number,
            first_frame: number,
            definitions,
            min_time,
            max_time,
            floor: i64::MIN,
        };
        let mut payload = Vec::new();
        head.put_end(&end, &mut payload);
        payload
    };
    ends.map(payload_of).to_vec()
}

fn entry_seeds() -> Vec<Vec<u8>> {
    let mut builder = ExtentBuilder::new(0);
    for count in [1, 2, 20, 120] {
        let samples: Vec<_> = (0..count).map(|at| (START + at * 15_000, (at as f64).to_bits())).collect();
        builder.push(SeriesTag(count as u32), chunk_file::ENCODING_XOR, &gorilla::encode_chunk(&samples));
    }
    builder.finish_extent();
    let extent = builder.next_to_write().expect("four chunks");
    vec![extent.bytes[..1024].to_vec(), extent.bytes.clone()]
}
