//! The table from label pairs to their postings, of which every 32nd entry of a name is remembered.

use std::cmp::Ordering;

use crate::block::{BlockError, Damage, bytes::Cursor};

/// Prometheus' choice: a look-up walks 16 entries in the middle, and a remembered one takes four bytes here.
const STRIDE: u32 = 32;
/// Keys of an entry: name and value.
const PAIR_KEYS: u64 = 2;

/// Where the entries of each name are.
#[derive(Debug, Default)]
pub(super) struct OffsetTable {
    /// Sorted by the text that their first entry has.
    names: Vec<Name>,
    /// Every [`STRIDE`]th entry of each name, relative to the first of all.
    samples: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Name {
    /// First of its places in `samples`; they go on to the next name's.
    first_sample: u32,
    entries: u32,
}

#[derive(Clone, Copy, Debug)]
struct Entry<'a> {
    name: &'a [u8],
    value: &'a [u8],
    postings: u64,
}

impl<'a> Entry<'a> {
    fn take(cursor: &mut Cursor<'a>) -> Result<Self, BlockError> {
        let start = *cursor;
        if cursor.unsigned()? != PAIR_KEYS {
            return Err(start.damage(Damage::Count));
        }
        Ok(Self { name: cursor.counted()?, value: cursor.counted()?, postings: cursor.unsigned()? })
    }
}

impl OffsetTable {
    /// Walks the table, from its count on, and checks order and texts.
    pub(super) fn read(entries: Cursor<'_>, count: u32) -> Result<Self, BlockError> {
        let (mut rest, mut table) = (entries, Self::default());
        let mut last: Option<Entry<'_>> = None;
        for _ in 0..count {
            let start = rest;
            let entry = Entry::take(&mut rest)?;
            let order = last.map(|last| (last.name.cmp(entry.name), last.value.cmp(entry.value)));
            if order.is_some_and(|order| order >= (Ordering::Equal, Ordering::Equal)) {
                return Err(start.damage(Damage::Order));
            }
            let is_new = order.is_none_or(|(name, _)| name != Ordering::Equal);
            if str::from_utf8(entry.value).is_err() || is_new && str::from_utf8(entry.name).is_err() {
                return Err(start.damage(Damage::Text));
            }
            // A section is shorter than 4 GiB.
            table.push(is_new, (start.offset() - entries.offset()) as u32);
            last = Some(entry);
        }
        if !rest.is_empty() {
            return Err(rest.damage(Damage::Count));
        }
        table.names.shrink_to_fit();
        table.samples.shrink_to_fit();
        Ok(table)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.names.capacity() * size_of::<Name>() + self.samples.capacity() * size_of::<u32>()
    }

    /// All names, the empty one of the list of all series included.
    pub(super) fn names<'a>(&self, entries: Cursor<'a>) -> impl Iterator<Item = Result<&'a str, BlockError>> {
        self.names.iter().map(move |name| {
            let cursor = self.sample(entries, name.first_sample)?;
            let name = Entry::take(&mut cursor.clone())?.name;
            str::from_utf8(name).map_err(|_| cursor.damage(Damage::Text))
        })
    }

    /// The values of a name and where their postings are.
    pub(super) fn values<'a>(&self, entries: Cursor<'a>, name: &str) -> Result<LabelValues<'a>, BlockError> {
        match self.find_name(entries, name)? {
            Some(index) => {
                let Name { first_sample, entries: left } = self.names[index];
                Ok(LabelValues { cursor: self.sample(entries, first_sample)?, left })
            }
            None => Ok(LabelValues { cursor: entries, left: 0 }),
        }
    }

    /// Where the postings of a pair are.
    pub(super) fn find(&self, entries: Cursor<'_>, name: &str, value: &str) -> Result<Option<u64>, BlockError> {
        let Some(index) = self.find_name(entries, name)? else { return Ok(None) };
        let Name { first_sample, entries: of_name } = self.names[index];
        let (mut low, mut high) = (0, of_name.div_ceil(STRIDE));
        while low < high {
            let middle = low.midpoint(high);
            let entry = Entry::take(&mut self.sample(entries, first_sample + middle)?)?;
            (low, high) = if entry.value > value.as_bytes() { (low, middle) } else { (middle + 1, high) };
        }
        let Some(nearest) = low.checked_sub(1) else { return Ok(None) };
        let mut cursor = self.sample(entries, first_sample + nearest)?;
        for _ in nearest * STRIDE..of_name.min((nearest + 1) * STRIDE) {
            let entry = Entry::take(&mut cursor)?;
            match entry.value.cmp(value.as_bytes()) {
                Ordering::Less => {}
                Ordering::Equal => return Ok(Some(entry.postings)),
                Ordering::Greater => break,
            }
        }
        Ok(None)
    }

    fn push(&mut self, is_new_name: bool, offset: u32) {
        if is_new_name {
            self.names.push(Name { first_sample: self.samples.len() as u32, entries: 0 });
        }
        let name = self.names.last_mut().expect("the first entry has a new name");
        if name.entries.is_multiple_of(STRIDE) {
            self.samples.push(offset);
        }
        name.entries += 1;
    }

    fn find_name(&self, entries: Cursor<'_>, name: &str) -> Result<Option<usize>, BlockError> {
        let (mut low, mut high) = (0, self.names.len());
        while low < high {
            let middle = low.midpoint(high);
            let entry = Entry::take(&mut self.sample(entries, self.names[middle].first_sample)?)?;
            match entry.name.cmp(name.as_bytes()) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok(Some(middle)),
                Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    }

    fn sample<'a>(&self, mut entries: Cursor<'a>, sample: u32) -> Result<Cursor<'a>, BlockError> {
        entries.take(u64::from(self.samples[sample as usize]))?;
        Ok(entries)
    }
}

/// The values of a label name in order.
#[derive(Clone, Debug)]
pub struct LabelValues<'a> {
    cursor: Cursor<'a>,
    left: u32,
}

impl<'a> LabelValues<'a> {
    /// How many are left.
    pub fn len(&self) -> usize {
        self.left as usize
    }

    pub fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// The same without any of them.
    pub(super) fn none(self) -> Self {
        Self { left: 0, ..self }
    }

    /// The next value and where its postings are.
    pub(super) fn next_with_postings(&mut self) -> Option<Result<(&'a str, u64), BlockError>> {
        self.left = self.left.checked_sub(1)?;
        Some(self.take())
    }

    fn take(&mut self) -> Result<(&'a str, u64), BlockError> {
        let start = self.cursor;
        let entry = Entry::take(&mut self.cursor)?;
        let value = str::from_utf8(entry.value).map_err(|_| start.damage(Damage::Text))?;
        Ok((value, entry.postings))
    }
}

impl<'a> Iterator for LabelValues<'a> {
    type Item = Result<&'a str, BlockError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_with_postings().map(|entry| entry.map(|(value, _)| value))
    }
}
