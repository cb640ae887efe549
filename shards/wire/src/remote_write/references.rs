//! From the label references of a series to its identity.
//!
//! Neighbours in a request are mostly alike: the same label names, most of the same values. Their references then stand at the same
//! bytes, so comparing a few words tells which labels differ, and only those are decoded and joined.

use std::ops::Range;

use model::{IdentityKey, SeriesId};

use super::columns::{RejectReason, Symbol};
use crate::protobuf::{Malformed, Reader};

/// Bytes of references that are remembered; a longer list is decoded whole.
const BYTES: usize = 128;
const LABELS: usize = u64::BITS as usize;
const WORD: usize = size_of::<u64>();
/// The bit of each byte that says whether a varint goes on.
const CONTINUATION: u64 = 0x8080_8080_8080_8080;

/// The symbols of a request.
#[derive(Clone, Copy)]
pub(super) struct SymbolHashes<'a> {
    pub(super) key: &'a IdentityKey,
    pub(super) symbols: &'a [Symbol],
}

impl SymbolHashes<'_> {
    /// A label's part of the identity, from its two references.
    #[inline(always)]
    fn take_label(self, references: &mut Reader<'_>) -> Result<Result<SeriesId, RejectReason>, Malformed> {
        let name = references.varint()?;
        if references.is_empty() {
            return Ok(Err(RejectReason::OddReferences));
        }
        let value = references.varint()?;
        Ok(self.join(name, value))
    }

    #[inline(always)]
    fn join(self, name: u64, value: u64) -> Result<SeriesId, RejectReason> {
        let (name, value) = (self.symbol(name)?, self.symbol(value)?);
        Ok(if value.length == 0 { SeriesId::default() } else { self.key.pair(name.hash, value.hash) })
    }

    #[inline(always)]
    fn symbol(self, reference: u64) -> Result<Symbol, RejectReason> {
        let found = usize::try_from(reference).ok().and_then(|position| self.symbols.get(position));
        found.copied().ok_or(RejectReason::ReferenceOutOfRange { reference, symbols: self.symbols.len() as u32 })
    }
}

/// The series before this one in the request.
pub(super) struct PreviousSeries {
    /// Its references as they are encoded, zero bytes behind them.
    words: [u64; BYTES / WORD],
    /// Bytes of its references; zero where there is nothing to compare with.
    length: usize,
    /// The label that each byte belongs to; room for a label's last store of a word.
    label_of: [u8; BYTES + WORD],
    labels: [Label; LABELS],
    id: SeriesId,
}

#[derive(Clone, Copy, Default)]
struct Label {
    /// Where it begins in the references.
    start: usize,
    part: SeriesId,
}

impl Default for PreviousSeries {
    fn default() -> Self {
        Self {
            words: [0; BYTES / WORD],
            length: 0,
            label_of: [0; BYTES + WORD],
            labels: [Label::default(); LABELS],
            id: SeriesId::default(),
        }
    }
}

impl PreviousSeries {
    /// The identity behind all references of a series. The outer error is about bytes, the inner about this series alone.
    #[inline(always)]
    pub(super) fn sum(
        &mut self,
        references: &mut Reader<'_>,
        symbols: SymbolHashes<'_>,
        labels_max: u32,
    ) -> Result<Result<SeriesId, RejectReason>, Malformed> {
        match self.take_changed(references) {
            Some(changed) => self.sum_changed(references, changed, symbols),
            None => self.sum_all(references, symbols, labels_max),
        }
    }

    /// Which labels differ from those before, a bit for each, if nothing else does. The references are then remembered.
    #[inline(always)]
    fn take_changed(&mut self, references: &Reader<'_>) -> Option<u64> {
        let start = references.at();
        if self.length == 0 || references.end() - start != self.length {
            return None;
        }
        let (list, _) = references.buffer().get(start..start + self.length.next_multiple_of(WORD))?.as_chunks::<WORD>();
        let mut changed = 0;
        for ((at, word), known) in list.iter().enumerate().zip(&mut self.words) {
            let bytes = (self.length - at * WORD).min(WORD);
            let word = u64::from_le_bytes(*word) & (u64::MAX >> (64 - 8 * bytes));
            let mut difference = word ^ std::mem::replace(known, word);
            if difference & CONTINUATION != 0 {
                return None;
            }
            while difference != 0 {
                let byte = difference.trailing_zeros() as usize / 8;
                changed |= 1 << self.label_of[at * WORD + byte];
                difference &= !(0xff << (8 * byte));
            }
        }
        Some(changed)
    }

    #[inline(always)]
    fn sum_changed(
        &mut self,
        references: &mut Reader<'_>,
        mut changed: u64,
        symbols: SymbolHashes<'_>,
    ) -> Result<Result<SeriesId, RejectReason>, Malformed> {
        let start = references.at();
        // What is remembered is half of this series and half of the one before until all its labels have been found to be sound.
        let length = std::mem::take(&mut self.length);
        while changed != 0 {
            let label = &mut self.labels[changed.trailing_zeros() as usize];
            changed &= changed - 1;
            references.advance_to(start + label.start);
            let part = match symbols.take_label(references)? {
                Ok(part) => part,
                Err(reason) => return Ok(Err(reason)),
            };
            self.id = self.id - label.part + part;
            label.part = part;
        }
        references.advance_to(start + length);
        self.length = length;
        Ok(Ok(self.id))
    }

    fn sum_all(
        &mut self,
        references: &mut Reader<'_>,
        symbols: SymbolHashes<'_>,
        labels_max: u32,
    ) -> Result<Result<SeriesId, RejectReason>, Malformed> {
        self.length = 0;
        let list = *references;
        let mut id = SeriesId::default();
        let mut labels = 0;
        while !references.is_empty() {
            let start = references.at() - list.at();
            let part = match symbols.take_label(references)? {
                Ok(part) => part,
                Err(reason) => return Ok(Err(reason)),
            };
            self.keep_label(labels, start..references.at() - list.at(), part);
            id += part;
            labels += 1;
        }
        if labels > labels_max as usize {
            return Ok(Err(RejectReason::TooManyLabels { bound: labels_max }));
        }
        self.keep_list(list, labels, id);
        Ok(Ok(id))
    }

    #[inline(always)]
    fn keep_label(&mut self, label: usize, bytes: Range<usize>, part: SeriesId) {
        if label < LABELS && bytes.end <= BYTES {
            self.labels[label] = Label { start: bytes.start, part };
            for at in bytes.step_by(WORD) {
                self.label_of[at..at + WORD].fill(label as u8);
            }
        }
    }

    #[inline(always)]
    fn keep_list(&mut self, list: Reader<'_>, labels: usize, id: SeriesId) {
        let bytes = list.rest();
        if labels > LABELS || bytes.len() > BYTES {
            return;
        }
        let (words, rest) = bytes.as_chunks::<WORD>();
        for (known, word) in self.words.iter_mut().zip(words) {
            *known = u64::from_le_bytes(*word);
        }
        if !rest.is_empty() {
            let mut word = [0; WORD];
            word[..rest.len()].copy_from_slice(rest);
            self.words[words.len()] = u64::from_le_bytes(word);
        }
        self.length = bytes.len();
        self.id = id;
    }
}
