//! Lists of series references as they stand in an index.

use crate::block::{BlockError, Damage, bytes::Cursor};

/// The series of a label pair, in label order: big-endian numbers in the file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Postings<'a> {
    references: &'a [[u8; 4]],
}

impl<'a> Postings<'a> {
    /// Reads the list at an offset. Its checksum and its order are checked.
    pub(super) fn read(file: &'a [u8], offset: u64) -> Result<Self, BlockError> {
        let mut contents = Cursor::section(file, offset)?;
        let count = contents.be_u32()?;
        let postings = Self { references: contents.rest().as_chunks().0 };
        if contents.rest().len() as u64 != 4 * u64::from(count) {
            return Err(BlockError::damaged(offset, Damage::Count));
        }
        if !postings.references.is_sorted_by(|a, b| a < b) {
            return Err(BlockError::damaged(offset, Damage::Order));
        }
        Ok(postings)
    }

    /// How many series the list at an offset claims to have, without a look at them.
    pub(super) fn count_at(file: &[u8], offset: u64) -> Result<u32, BlockError> {
        let mut cursor = Cursor::at(file, offset)?;
        cursor.take(4)?;
        cursor.be_u32()
    }

    pub fn len(&self) -> usize {
        self.references.len()
    }

    pub fn is_empty(&self) -> bool {
        self.references.is_empty()
    }

    pub fn get(&self, index: usize) -> Option<u32> {
        self.references.get(index).map(|&bytes| u32::from_be_bytes(bytes))
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = u32> + use<'a> {
        self.references.iter().map(|&bytes| u32::from_be_bytes(bytes))
    }
}
