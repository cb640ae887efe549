//! The commands on folders that real shards have written, whole and damaged.

use std::{fs, path::Path};

use clap::Parser;
use model::OwnedBatch;
use shard::{
    directory::DataDirectory,
    names::{LogDirectories, Numbered, ShardFolders, log_segment, spare_segment},
};
use tsdb::{
    Head, Limits, Rejection, SeriesQuota, SeriesRef, ShardPart, Window,
    checkpoint::{CheckpointEnd, DefinitionsMark},
    chunk_file,
    wal::{FileHeader, FileKind, LogBatch, SECTOR, frame_header},
};

use super::{TsdbArgs, TsdbError, execute};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: TsdbArgs,
}

struct Unlimited;

impl SeriesQuota for Unlimited {
    fn reserve_one(&mut self) -> Result<(), Rejection> {
        Ok(())
    }
}

fn command(folder: &Path, args: &[&str]) -> (Result<(), TsdbError>, String) {
    let path = folder.display().to_string();
    let args = ["tsdb"].into_iter().chain(args.iter().copied()).chain([path.as_str()]);
    let mut out = Vec::new();
    let result = execute(Cli::parse_from(args).args, &mut out);
    (result, String::from_utf8(out).expect("text"))
}

const START: i64 = 1_700_000_000_000;

fn numbered(number: u64) -> Numbered {
    Numbered { generation: 0, number }
}

/// A directory with a checkpoint, its series log, sealed chunks, and a log behind it; written frame by frame as a shard does.
fn written_directory() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let directory = DataDirectory::open(folder.path(), 1, &LogDirectories::default()).expect("a new directory");
    let folders = ShardFolders::new(folder.path(), 0);
    fs::create_dir_all(&folders.written_logs()[0]).expect("a folder");
    fs::create_dir_all(&folders.chunks).expect("a folder");
    let mut head = Head::new(directory.key, Limits::default(), 0);
    (0..250).for_each(|round| drop(append(&mut head, &directory, round)));
    let end = head.definitions_mark();
    let mut definitions = Vec::new();
    assert_eq!(head.put_definitions(DefinitionsMark::default(), end, &mut definitions), end);
    write_frames(&folders.series_log(numbered(0)), FileKind::SeriesLog, 0, 0, &[definitions], 0);
    let (mut images, mut last) = (Vec::new(), Vec::new());
    head.put_slice(SeriesRef(0), SeriesRef(end.next_series), &mut images);
    let checkpoint_end = CheckpointEnd {
        first_segment: 1,
        first_frame: 250,
        definitions: end,
        min_time: head.min_time(),
        max_time: head.max_time(),
        floor: head.floor(),
    };
    head.put_end(&checkpoint_end, &mut last);
    write_frames(&folders.checkpoint(numbered(0)), FileKind::Checkpoint, 0, 0, &[images, last], 0);
    head.extent().finish_extent();
    let mut chunks = chunk_file::file_header(0, 0);
    while let Some(extent) = head.extent().next_to_write() {
        chunks.extend_from_slice(&extent.bytes);
        head.extent().written(&extent);
    }
    fs::write(folders.chunk_file(0), chunks).expect("written");
    let log: Vec<_> = (250..260).map(|round| append(&mut head, &directory, round)).collect();
    write_frames(&log_segment(&folders.written_logs()[0], 1), FileKind::LogSegment, 1, 250, &log, 16 * SECTOR);
    folder
}

fn append(head: &mut Head, directory: &DataDirectory, round: i64) -> Vec<u8> {
    let mut batch = OwnedBatch::default();
    for number in 0..20 {
        let instance = format!("host-{number}");
        let labels =
            [("__name__", "up"), ("instance", &instance)].map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        batch.push(&directory.key, labels, [(START + round * 1_000, (round as f64).to_bits())]);
    }
    let (mut log, mut payload) = (LogBatch::default(), Vec::new());
    let window = Window { min_time: i64::MIN, max_time: i64::MAX, out_of_order_from: None };
    assert_eq!(head.append(&batch, ShardPart::WHOLE, window, &mut Unlimited, &mut log).stored, 20);
    log.encode(&mut payload);
    payload
}

fn write_frames(path: &Path, kind: FileKind, number: u64, first_frame: u64, payloads: &[Vec<u8>], bytes_min: usize) {
    let mut file = FileHeader { kind, shard: 0, number, first_frame }.encode();
    for (payload, number) in payloads.iter().zip(first_frame..) {
        file.extend_from_slice(&frame_header(number, payload));
        file.extend_from_slice(payload);
        file.resize(file.len().next_multiple_of(SECTOR), 0);
    }
    file.resize(file.len().max(bytes_min), 0);
    fs::write(path, file).expect("written");
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("readable");
    bytes[at] ^= 1;
    fs::write(path, bytes).expect("written");
}

#[test]
fn a_whole_directory_is_shown_and_found_whole() {
    let folder = written_directory();
    let (result, text) = command(folder.path(), &["verify"]);
    assert!(result.is_ok() && text.contains("0 damaged, 0 harmless"), "{text}");
    assert!(text.contains("40 chunks checked"), "{text}");
    let (result, text) = command(folder.path(), &["inspect"]);
    assert!(result.is_ok() && text.contains("a start uses it; replay from segment 1, frame 250"), "{text}");
    let (result, text) = command(folder.path(), &["inspect", "--json"]);
    assert!(result.is_ok(), "{text}");
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let shard = &json["shards"][0];
    assert_eq!(shard["log_segments"][0]["frames"], 10);
    assert_eq!(shard["log_segments"][0]["samples"], 200);
    assert_eq!((&shard["series_logs"][0]["series"], &shard["series_logs"][0]["label_pairs"]), (&20.into(), &21.into()));
    assert_eq!(shard["checkpoints"][0]["series_images"], 20);
    assert_eq!(shard["checkpoints"][0]["end"]["series"], 20);
    assert_eq!(shard["chunk_files"][0]["chunks_in_checkpoint"], 40);
}

/// Goal: a flipped bit is damage, named by file and offset, or the torn tail, by where it is.
#[test]
fn each_damage_is_named_and_a_torn_tail_is_none() {
    // File, byte, what is said, whether it is damage. The segment has frames in its sectors 1 to 10.
    let cases = [
        ("shard-000/wal/00000001", 3 * SECTOR + 40, "00000001 at byte 12288: a frame whose checksum", true),
        ("shard-000/wal/00000001", 10 * SECTOR + 40, "00000001 at byte 40960: an incomplete frame at the end", false),
        ("shard-000/wal/00000001", 100, "00000001 at byte 0: the file's first sector", true),
        ("shard-000/series-00000000", SECTOR + 40, "series-00000000 at byte 4096: a frame whose checksum", true),
        ("shard-000/checkpoint-00000000", SECTOR + 40, "checkpoint-00000000 at byte 4096: a frame", true),
        ("shard-000/checkpoint-00000000", 2 * SECTOR + 40, "the checkpoint has no end record", true),
        ("shard-000/chunks/000000", SECTOR + 20, "000000 at byte 4096: the chunk's checksum", true),
        ("shard-000/chunks/000000", 100, "000000 at byte 0: the chunk file's first sector", true),
        ("identity.key", 3, "identity.key at byte 0", true),
    ];
    for (file, at, said, is_damage) in cases {
        let folder = written_directory();
        flip(&folder.path().join(file), at);
        let (result, text) = command(folder.path(), &["verify"]);
        assert_eq!(result.is_err(), is_damage, "{file} {at}: {text}");
        assert!(text.contains(said), "{file} {at}: {text}");
    }
}

#[test]
fn missing_files_are_damage_and_leftovers_are_not() {
    for missing in ["wal/00000001", "series-00000000", "chunks/000000"] {
        let folder = written_directory();
        fs::remove_file(folder.path().join("shard-000").join(missing)).expect("removed");
        let (result, text) = command(folder.path(), &["verify"]);
        assert!(matches!(result, Err(TsdbError::Damaged { .. })), "{missing}: {text}");
    }
    let folder = written_directory();
    let folders = ShardFolders::new(folder.path(), 0);
    fs::write(folders.checkpoint_draft(numbered(3)), [7; 100]).expect("written");
    fs::write(spare_segment(&folders.written_logs()[0], 3), [7; 100]).expect("written");
    let mut tail = fs::read(folders.chunk_file(0)).expect("readable");
    tail.resize(tail.len() + SECTOR, 9);
    fs::write(folders.chunk_file(0), tail).expect("written");
    let (result, text) = command(folder.path(), &["verify"]);
    assert!(result.is_ok() && text.contains("0 damaged, 1 harmless"), "{text}");
}

#[test]
fn a_running_server_is_left_alone_unless_forced() {
    let folder = written_directory();
    let server = DataDirectory::open(folder.path(), 1, &LogDirectories::default()).expect("not in use");
    let (result, _) = command(folder.path(), &["verify"]);
    assert!(result.expect_err("in use").to_string().contains("--force"));
    assert!(command(folder.path(), &["verify", "--force"]).0.is_ok());
    drop(server);
    assert!(command(folder.path(), &["verify"]).0.is_ok());
    let (result, _) = command(&ShardFolders::new(folder.path(), 0).root, &["inspect"]);
    assert!(result.expect_err("not the directory itself").to_string().contains("FORMAT"));
}
