//! Label pairs, each kept once per shard: `job="api"` is a number of four bytes wherever a series carries it.
//!
//! A name is a small number, a value is bytes in an arena of 64 KiB segments that are never moved, so that readers on other
//! threads resolve labels from a view without asking the shard.

use hashbrown::HashTable;
use model::identity::{IdentityKey, SymbolHash};

use crate::{
    limits::{LABEL_NAMES_MAX, LABEL_TEXT_BYTES_MAX},
    segmented::{Segmented, SegmentedView},
};

const TEXT_SEGMENT: usize = 1 << 16;
const PAIR_SEGMENT: usize = 1 << 12;
const WAYS: usize = 256;
/// Name number of a lost pair; no name has it.
const LOST_NAME: u16 = u16::MAX;
const _: () = assert!(LABEL_NAMES_MAX <= LOST_NAME as usize);

/// Number of a label pair within its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct PairRef(pub u32);

/// Where a pair's value stands, and which name it belongs to.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Pair {
    /// Byte position in the arena.
    value_start: u32,
    value_length: u16,
    name: u16,
}

const _: () = assert!(size_of::<Pair>() == 8, "the byte budget of docs/decisions counts 8 bytes a pair");

#[derive(Debug)]
struct Name {
    text: Box<str>,
    hash: SymbolHash,
    /// Pairs with this name, in order of creation.
    pairs: Vec<PairRef>,
}

/// All label pairs of a shard.
pub struct Pairs {
    key: IdentityKey,
    names: Vec<Name>,
    name_numbers: HashTable<u16>,
    text: Segmented<u8, TEXT_SEGMENT>,
    pairs: Segmented<Pair, PAIR_SEGMENT>,
    /// Split so that a rehash moves one part in 256.
    ways: Vec<HashTable<u32>>,
}

/// What a reader needs to turn pair numbers into text.
#[derive(Clone, Debug)]
pub struct PairsView {
    names: Vec<Box<str>>,
    text: SegmentedView<u8, TEXT_SEGMENT>,
    pairs: SegmentedView<Pair, PAIR_SEGMENT>,
}

/// Why a label can't be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairError {
    TextTooLong,
    TooManyNames,
    ArenaFull,
}

impl Pairs {
    pub fn new(key: IdentityKey) -> Self {
        Self {
            key,
            names: Vec::new(),
            name_numbers: HashTable::new(),
            text: Segmented::default(),
            pairs: Segmented::default(),
            ways: std::iter::repeat_with(HashTable::new).take(WAYS).collect(),
        }
    }

    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.names.iter().map(|name| &*name.text)
    }

    /// The pairs of one label name.
    pub fn of_name(&self, name: &str) -> &[PairRef] {
        self.name_number(name, self.key.symbol(name.as_bytes()))
            .map_or(&[], |number| &self.names[number as usize].pairs)
    }

    pub fn find(&self, name: &str, value: &str) -> Option<PairRef> {
        let (name_hash, value_hash) = (self.key.symbol(name.as_bytes()), self.key.symbol(value.as_bytes()));
        let number = self.name_number(name, name_hash)?;
        self.find_value(number, value.as_bytes(), self.place(name_hash, value_hash))
    }

    /// Whether a pair is this one; cheaper than to look it up.
    pub fn is(&self, pair: PairRef, name: &str, value: &str) -> bool {
        let found = self.pairs[pair.0 as usize];
        self.value_bytes(found) == value.as_bytes()
            && self.names.get(found.name as usize).is_some_and(|found| &*found.text == name)
    }

    pub fn name_of(&self, pair: PairRef) -> &str {
        &self.names[self.pairs[pair.0 as usize].name as usize].text
    }

    pub fn value_of(&self, pair: PairRef) -> &str {
        text_of(self.value_bytes(self.pairs[pair.0 as usize]))
    }

    /// The first pair that was made with the name of this one; itself, if there was none before.
    pub fn earliest_of_same_name(&self, pair: PairRef) -> PairRef {
        self.names[self.pairs[pair.0 as usize].name as usize].pairs[0]
    }

    /// Takes the place of a pair whose definition a damaged log could not give back: belongs to no name and no series.
    pub fn add_lost(&mut self) {
        self.pairs.push(Pair { value_start: 0, value_length: 0, name: LOST_NAME });
    }

    pub fn is_lost(&self, pair: PairRef) -> bool {
        self.pairs[pair.0 as usize].name == LOST_NAME
    }

    /// Number of a pair's name; the same number is the same name. Not for lost pairs.
    pub(crate) fn name_number_of(&self, pair: PairRef) -> u16 {
        self.pairs[pair.0 as usize].name
    }

    /// Finds or adds a pair; the flag says whether it is new.
    pub fn intern(&mut self, name: &str, value: &str) -> Result<(PairRef, bool), PairError> {
        if name.len() > LABEL_TEXT_BYTES_MAX || value.len() > LABEL_TEXT_BYTES_MAX {
            return Err(PairError::TextTooLong);
        }
        let (name_hash, value_hash) = (self.key.symbol(name.as_bytes()), self.key.symbol(value.as_bytes()));
        let number = self.intern_name(name, name_hash)?;
        let place = self.place(name_hash, value_hash);
        if let Some(pair) = self.find_value(number, value.as_bytes(), place) {
            return Ok((pair, false));
        }
        Ok((self.add(number, value, place)?, true))
    }

    pub fn view(&self) -> PairsView {
        PairsView {
            names: self.names.iter().map(|name| name.text.clone()).collect(),
            text: self.text.view(),
            pairs: self.pairs.view(),
        }
    }

    pub fn heap_bytes(&self) -> usize {
        let names: usize = self.names.iter().map(|name| name.text.len() + name.pairs.capacity() * 4).sum();
        let ways: usize = self.ways.iter().map(|way| way.capacity() * 8 / 7 * 5).sum();
        names + ways + self.text.heap_bytes() + self.pairs.heap_bytes()
    }

    fn add(&mut self, name: u16, value: &str, place: u64) -> Result<PairRef, PairError> {
        if self.text.len() + 2 * TEXT_SEGMENT > u32::MAX as usize || self.pairs.len() >= u32::MAX as usize {
            return Err(PairError::ArenaFull);
        }
        let pair = PairRef(self.pairs.len() as u32);
        let value_start = self.text.push_together(value.as_bytes(), 0) as u32;
        self.pairs.push(Pair { value_start, value_length: value.len() as u16, name });
        self.names[name as usize].pairs.push(pair);
        let Self { key, names, text, pairs, ways, .. } = self;
        let rehash = |&number: &u32| {
            let pair = pairs[number as usize];
            let value = text.run(pair.value_start as usize, pair.value_length as usize);
            key.pair(names[pair.name as usize].hash, key.symbol(value)).low
        };
        ways[way_of(place)].insert_unique(place, pair.0, rehash);
        Ok(pair)
    }

    fn intern_name(&mut self, name: &str, hash: SymbolHash) -> Result<u16, PairError> {
        if let Some(number) = self.name_number(name, hash) {
            return Ok(number);
        }
        if self.names.len() >= LABEL_NAMES_MAX {
            return Err(PairError::TooManyNames);
        }
        let number = self.names.len() as u16;
        self.names.push(Name { text: name.into(), hash, pairs: Vec::new() });
        let names = &self.names;
        self.name_numbers.insert_unique(hash.low(), number, |&number| names[number as usize].hash.low());
        Ok(number)
    }

    fn name_number(&self, name: &str, hash: SymbolHash) -> Option<u16> {
        self.name_numbers.find(hash.low(), |&number| &*self.names[number as usize].text == name).copied()
    }

    fn find_value(&self, name: u16, value: &[u8], place: u64) -> Option<PairRef> {
        let same = |&number: &u32| {
            let pair = self.pairs[number as usize];
            pair.name == name && self.value_bytes(pair) == value
        };
        self.ways[way_of(place)].find(place, same).copied().map(PairRef)
    }

    fn value_bytes(&self, pair: Pair) -> &[u8] {
        self.text.run(pair.value_start as usize, pair.value_length as usize)
    }

    fn place(&self, name: SymbolHash, value: SymbolHash) -> u64 {
        self.key.pair(name, value).low
    }
}

impl PairsView {
    pub fn name_of(&self, pair: PairRef) -> &str {
        &self.names[self.pairs[pair.0 as usize].name as usize]
    }

    pub fn value_of(&self, pair: PairRef) -> &str {
        let pair = self.pairs[pair.0 as usize];
        text_of(self.text.run(pair.value_start as usize, pair.value_length as usize))
    }
}

fn way_of(place: u64) -> usize {
    // The low bits choose the bucket inside a way and the top seven are its tag.
    (place >> 48) as usize % WAYS
}

fn text_of(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("only text is put into the arena")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_kept_once_and_read_back() {
        let mut pairs = Pairs::new(IdentityKey::from_bytes(&[3; IdentityKey::BYTES]));
        let mut numbers = Vec::new();
        for number in 0..50_000 {
            let (pair, is_new) = pairs.intern("instance", &format!("host-{number}")).expect("short");
            assert!(is_new);
            numbers.push(pair);
        }
        assert!(!pairs.intern("instance", "host-7").expect("short").1);
        assert!(pairs.intern("other", "host-7").expect("short").1, "same value, other name");
        let view = pairs.view();
        for (number, &pair) in numbers.iter().enumerate() {
            assert_eq!(pairs.find("instance", &format!("host-{number}")), Some(pair));
            assert_eq!(view.value_of(pair), format!("host-{number}"));
            assert_eq!(view.name_of(pair), "instance");
        }
        assert_eq!(pairs.of_name("instance").len(), 50_000);
        assert_eq!(pairs.find("instance", "nobody"), None);
    }

    #[test]
    fn long_texts_are_refused_by_name() {
        let mut pairs = Pairs::new(IdentityKey::from_bytes(&[3; IdentityKey::BYTES]));
        assert_eq!(pairs.intern("a", &"x".repeat(LABEL_TEXT_BYTES_MAX + 1)), Err(PairError::TextTooLong));
        assert!(pairs.intern("a", &"x".repeat(LABEL_TEXT_BYTES_MAX)).is_ok());
        assert!(pairs.intern("a", &"y".repeat(LABEL_TEXT_BYTES_MAX)).is_ok());
    }
}
