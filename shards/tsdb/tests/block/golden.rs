//! Files that promtool wrote: see `tests/data/block/README.md`.

use std::{fs, path::PathBuf};

use codec::gorilla;
use model::Matcher;
use tsdb::block::{
    Tombstones,
    index::{IndexReader, SeriesEntry},
    segment,
};

use crate::folder;

fn file(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/block").join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn written_again_they_are_the_same_bytes() {
    let (index, segments) = (file("index"), vec![file("000001")]);
    assert!(folder::rewritten(&index, &segments) == (index, segments));
    let tombstones = file("tombstones");
    assert_eq!(Tombstones::decode(&tombstones).expect("sound tombstones").encode(), tombstones);
}

#[test]
fn they_hold_what_was_put_in() {
    let (index, segment) = (IndexReader::open(file("index")).expect("a sound index"), file("000001"));
    assert_eq!(index.label_names(), Ok(vec!["__name__", "instance", "job"]));
    let found = index.select(&[Matcher::equal("instance", "b:1")]).expect("sound postings");
    let mut entry = SeriesEntry::default();
    index.series(found[0], &mut entry).expect("a sound series");
    let labels = index.labels(&entry.labels).expect("sound labels");
    assert_eq!(labels.to_string(), r#"{__name__="up", instance="b:1", job="n"}"#);
    let (encoding, data) = segment::chunk(&segment, entry.chunks[0].reference.offset()).expect("a sound chunk");
    let (mut times, mut values) = (Vec::new(), Vec::new());
    gorilla::decode_into(data, &mut times, &mut values).expect("a sound chunk");
    assert_eq!((found.len(), encoding), (1, 1));
    assert_eq!(times, [1_700_000_000_000, 1_700_000_015_000]);
    assert_eq!(values, [1f64.to_bits(), 0f64.to_bits()]);
}
