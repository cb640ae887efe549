//! Written, read back and compared with a plain map; damaged in every place.

use std::collections::{BTreeMap, BTreeSet};

use model::{Labels, MatchOp, Matcher};
use proptest::prelude::*;

use super::*;
use crate::block::{BlockError, ChunkMeta, ChunkReference, Damage};

type Model = BTreeMap<Labels, Vec<ChunkMeta>>;

/// Values of a name with their series.
type Values = Vec<(String, Vec<u32>)>;

/// Everything that a reader can be asked.
#[derive(Debug, PartialEq)]
struct Contents {
    symbols: Vec<String>,
    series: Vec<(u32, Labels, Vec<ChunkMeta>)>,
    names: Vec<(String, Values)>,
}

fn symbols_of(model: &Model) -> SymbolTable {
    let texts: BTreeSet<&str> =
        model.keys().flat_map(Labels::iter).flat_map(|label| [label.name, label.value]).chain([""]).collect();
    let mut symbols = SymbolTable::default();
    for text in texts {
        symbols.push(text).expect("few symbols");
    }
    symbols
}

/// Writes an index; takes what is ready after every `drain_every`th series.
fn write(model: &Model, drain_every: usize) -> Vec<u8> {
    let mut writer = IndexWriter::new(symbols_of(model));
    let mut file = Vec::new();
    for (position, (labels, chunks)) in model.iter().enumerate() {
        let number = |text| writer.symbols().number_of(text).expect("a symbol");
        let pairs: Vec<_> = labels.iter().map(|label| (number(label.name), number(label.value))).collect();
        writer.push(&pairs, chunks).expect("within the limits");
        if position % drain_every == 0 {
            while writer.take_ready(&mut file) {}
        }
    }
    let mut finished = writer.finish().expect("within the limits");
    while finished.take_ready(&mut file) {}
    assert!(!finished.take_ready(&mut file));
    file
}

fn read(file: &[u8]) -> Result<Contents, BlockError> {
    let reader = IndexReader::open(file)?;
    let symbols = reader.symbols()?.map(|symbol| symbol.map(str::to_owned)).collect::<Result<_, _>>()?;
    let (mut series, mut entry) = (Vec::new(), SeriesEntry::default());
    for reference in reader.all_postings()?.iter() {
        reader.series(reference, &mut entry)?;
        series.push((reference, reader.labels(&entry.labels)?, entry.chunks.clone()));
    }
    let mut names = Vec::new();
    for name in reader.label_names()? {
        let mut values = Vec::new();
        for value in reader.label_values(name)? {
            let value = value?;
            values.push((value.to_owned(), reader.postings(name, value)?.iter().collect()));
        }
        names.push((name.to_owned(), values));
    }
    Ok(Contents { symbols, series, names })
}

/// What [`read`] should find, but for the references.
fn check_contents(contents: &Contents, model: &Model) {
    let read = contents.series.iter().map(|(_, labels, chunks)| (labels, chunks));
    assert!(read.eq(model.iter()), "{contents:?}");
    assert!(contents.series.is_sorted_by(|a, b| a.0 < b.0), "references rise");
    let mut pairs = BTreeMap::<&str, BTreeMap<&str, Vec<u32>>>::new();
    for (reference, labels, _) in &contents.series {
        for label in labels.iter() {
            pairs.entry(label.name).or_default().entry(label.value).or_default().push(*reference);
        }
    }
    let found = contents.names.iter().map(|(name, values)| {
        let values = values.iter().map(|(value, series)| (value.as_str(), series.clone())).collect();
        (name.as_str(), values)
    });
    assert_eq!(found.collect::<BTreeMap<_, _>>(), pairs);
    assert!(contents.symbols.iter().all(|symbol| symbol.is_empty() || model_has(model, symbol)));
}

fn model_has(model: &Model, text: &str) -> bool {
    model.keys().flat_map(Labels::iter).any(|label| label.name == text || label.value == text)
}

fn chunks_from(first_reference: u64, steps: &[(u32, u32, u16)]) -> Vec<ChunkMeta> {
    let (mut time, mut reference) = (-50_000, first_reference);
    let next = |&(gap, length, bytes): &(u32, u32, u16)| {
        let min_time = time + 1 + i64::from(gap);
        time = min_time + i64::from(length);
        reference += u64::from(bytes);
        ChunkMeta { min_time, max_time: time, reference: ChunkReference(reference) }
    };
    steps.iter().map(next).collect()
}

prop_compose! {
    fn any_labels()(pairs in prop::collection::vec(("[abc]", prop_oneof!["[xyz]", "[0-9]{1,2}", "é|ü{2}"]), 0..4)) -> Labels {
        Labels::from_pairs(pairs)
    }
}

fn any_model() -> impl Strategy<Value = Model> {
    let chunks = prop::collection::vec((any::<u32>(), any::<u32>(), any::<u16>()), 0..4);
    prop::collection::btree_map(any_labels(), chunks, 0..80).prop_map(|series| {
        let mut reference = 8;
        let with_chunks = |(labels, steps): (Labels, Vec<_>)| {
            let chunks = chunks_from(reference, &steps);
            reference = chunks.last().map_or(reference, |chunk| chunk.reference.0);
            (labels, chunks)
        };
        series.into_iter().map(with_chunks).collect()
    })
}

fn any_matcher() -> impl Strategy<Value = Matcher> {
    let op = prop::sample::select(vec![MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex]);
    let text = prop::sample::select(vec!["", "x", "y", "7", "42", "é", ".*", ".+", "x|y|1.", "[0-9]*", "|z", "absent"]);
    (op, "[abcd]|", text).prop_map(|(op, name, text)| Matcher::new(op, name, text).expect("a sound pattern"))
}

proptest! {
    #[test]
    fn what_is_written_is_read(model in any_model(), drain_every in 1..9usize) {
        let file = write(&model, drain_every);
        let contents = read(&file).expect("a sound file");
        check_contents(&contents, &model);
        let reader = IndexReader::open(&file).expect("a sound file");
        for (number, symbol) in contents.symbols.iter().enumerate() {
            prop_assert_eq!(reader.symbol(number as u32), Ok(symbol.as_str()));
            prop_assert_eq!(reader.symbol_number(symbol), Ok(Some(number as u32)));
        }
        prop_assert!(reader.symbol(reader.symbol_count()).is_err());
        prop_assert_eq!(reader.symbol_number("no symbol"), Ok(None));
        prop_assert!(reader.postings("a", "no value").expect("a sound file").is_empty());
        prop_assert!(reader.postings("no name", "x").expect("a sound file").is_empty());
        prop_assert!(reader.label_values("").expect("a sound file").is_empty());
    }

    #[test]
    fn matchers_find_what_a_look_at_every_series_finds(
        model in any_model(),
        matchers in prop::collection::vec(any_matcher(), 0..4),
    ) {
        let file = write(&model, 1000);
        let reader = IndexReader::open(&file).expect("a sound file");
        let contents = read(&file).expect("a sound file");
        let matches = |labels: &Labels| {
            matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default()))
        };
        let expected: Vec<u32> = contents.series.iter().filter(|series| matches(&series.1)).map(|series| series.0).collect();
        prop_assert_eq!(reader.select(&matchers), Ok(expected), "{:?}", matchers);
    }

    #[test]
    fn any_bytes_between_sound_ends_are_an_index_or_an_error(
        at in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(any::<u8>(), 1..20),
    ) {
        let mut file = write(&small_model(), 1);
        let at = at.index(file.len());
        let end = file.len().min(at + bytes.len());
        file[at..end].copy_from_slice(&bytes[..end - at]);
        read(&file).ok();
    }
}

/// A few series with everything in them that a file can have.
fn small_model() -> Model {
    let sets: [&[(&str, &str)]; 4] = [
        &[("__name__", "up"), ("instance", "a:1"), ("job", "node")],
        &[("__name__", "up"), ("instance", "b:1"), ("job", "node")],
        &[("__name__", "load"), ("instance", "a:1")],
        &[],
    ];
    let mut reference = 8;
    let mut model: Model = sets.iter().map(|&pairs| (Labels::from_pairs(pairs.iter().copied()), Vec::new())).collect();
    for (number, chunks) in model.values_mut().enumerate() {
        *chunks = chunks_from(reference, &vec![(100, 15_000, 90); number]);
        reference += 90 * number as u64;
    }
    model
}

#[test]
fn every_changed_bit_is_noticed_or_changes_nothing() {
    let file = write(&small_model(), 1);
    let contents = read(&file).expect("a sound file");
    check_contents(&contents, &small_model());
    let mut harmless = 0;
    for at in 0..file.len() {
        for bit in 0..8 {
            let mut damaged = file.clone();
            damaged[at] ^= 1 << bit;
            match read(&damaged) {
                Err(BlockError::Damaged { offset, .. }) => assert!(offset <= file.len() as u64, "byte {at}, bit {bit}"),
                Err(_) => assert!(at < HEADER_BYTES, "byte {at}, bit {bit}"),
                Ok(read) => {
                    assert_eq!(read, contents, "byte {at}, bit {bit}");
                    harmless += 1;
                }
            }
        }
        assert!(read(&file[..at]).is_err(), "cut at {at}");
    }
    // Padding, and the tables that nobody reads.
    assert!(harmless < file.len() * 8 / 3, "{harmless} of {} bits", file.len() * 8);
}

/// More series and values than one step, one piece or one stride takes.
#[test]
fn long_lists_come_in_pieces() {
    let name = |number: u32| format!("metric_{:02}", number / 2_000);
    let labels = |number: u32| {
        let instance = format!("host-{:05}", number % 10_000);
        Labels::from_pairs([("__name__", name(number)), ("instance", instance), ("job", "node".to_owned())])
    };
    let model: Model = (0..40_000).map(|number| (labels(number), chunks_from(8, &[(5, 7_200_000, 0)]))).collect();
    let file = write(&model, 777);
    assert_eq!(file, write(&model, 1), "how it is taken does not matter");
    check_contents(&read(&file).expect("a sound file"), &model);
    let reader = IndexReader::open(&file).expect("a sound file");
    assert_eq!(reader.postings("job", "node").expect("sound").len(), 40_000);
    let matchers = [
        Matcher::equal("job", "node"),
        Matcher::new(MatchOp::Regex, "instance", "host-0.*7").expect("a sound pattern"),
        Matcher::new(MatchOp::NotEqual, "__name__", "metric_03").expect("no pattern"),
    ];
    let expected = model.keys().filter(|labels| {
        matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default()))
    });
    assert_eq!(reader.select(&matchers).expect("sound").len(), expected.count());
    assert!(reader.heap_bytes() < file.len() / 50, "{} bytes for {}", reader.heap_bytes(), file.len());
}

#[test]
fn other_files_and_versions_are_refused() {
    let mut file = write(&Model::new(), 1);
    check_contents(&read(&file).expect("a file without series"), &Model::new());
    file[4] = 1;
    assert_eq!(read(&file), Err(BlockError::Version(1)));
    file[0] = 0;
    assert_eq!(read(&file), Err(BlockError::Magic));
    assert_eq!(read(&[]), Err(BlockError::damaged(0, Damage::Truncated)));
}

/// Later versions of Prometheus leave out what nobody reads; their tables of contents point to what comes next instead.
#[test]
fn label_indices_may_be_missing() {
    let mut file = write(&small_model(), 1);
    let contents = read(&file);
    let mut toc = toc::Toc::decode(&file).expect("a sound file");
    (toc.postings, toc.label_offset_table) = (toc.label_indices, toc.postings_offset_table);
    file.truncate(file.len() - toc::Toc::BYTES);
    toc.encode(&mut file);
    assert!(contents.is_ok() && read(&file) == contents);
}

/// Many pairs that lead to one long list would cost their product.
#[test]
fn lists_that_can_not_be_are_refused_before_they_are_collected() {
    let model: Model =
        (0..100).map(|number| (Labels::from_pairs([("a", format!("{number:03}"))]), Vec::new())).collect();
    let mut file = write(&model, 1);
    let toc = toc::Toc::decode(&file).expect("a sound file");
    // Claim 99 series for the list of the third value.
    let third = toc.postings as usize + 4 + 4 + 400 + 4 + 2 * 16;
    assert_eq!(file[third..third + 8], [0, 0, 0, 8, 0, 0, 0, 1]);
    file[third + 7] = 99;
    let reader = IndexReader::open(&file).expect("postings are not looked at");
    let all = Matcher::new(MatchOp::Regex, "a", ".+").expect("a sound pattern");
    assert_eq!(reader.select(&[all]).map(|series| series.len()), Err(BlockError::damaged(third as u64, Damage::Count)));
    assert!(reader.select(&[Matcher::equal("a", "002")]).is_err(), "the checksum");
    assert_eq!(reader.select(&[Matcher::equal("a", "003")]).map(|series| series.len()), Ok(1));
}

#[test]
#[should_panic(expected = "series rise in label order")]
fn series_out_of_order_are_a_broken_invariant() {
    let mut symbols = SymbolTable::default();
    ["a", "b"].iter().for_each(|text| assert!(symbols.push(text).is_ok()));
    let mut writer = IndexWriter::new(symbols);
    writer.push(&[(0, 1)], &[]).expect("within the limits");
    writer.push(&[(0, 1)], &[]).expect("not reached");
}
