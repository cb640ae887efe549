//! Taking numbers and texts off the bytes of a file, with the offset at hand for whoever has to name the damage.

use codec::{
    crc::crc32c,
    varint::{VarintError, take_signed, take_unsigned},
};

use super::{BlockError, Damage};

/// Bytes of a checksum.
pub(super) const SUM_BYTES: usize = 4;

/// A place in a file, and the bytes from there to the end of what may be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
    offset: u64,
}

impl<'a> Cursor<'a> {
    pub(crate) fn at(file: &'a [u8], offset: u64) -> Result<Self, BlockError> {
        let rest = usize::try_from(offset).ok().and_then(|start| file.get(start..));
        let rest = rest.ok_or(BlockError::damaged(offset, Damage::Reference))?;
        Ok(Self { rest, offset })
    }

    /// The contents of a section: four bytes length, the contents, their checksum.
    pub(crate) fn section(file: &'a [u8], offset: u64) -> Result<Self, BlockError> {
        let mut cursor = Self::at(file, offset)?;
        let length = cursor.be_u32()?;
        cursor.checked(u64::from(length), offset)
    }

    /// The next bytes, whose checksum follows them. `start` is where what they belong to begins.
    pub(crate) fn checked(&mut self, length: u64, start: u64) -> Result<Self, BlockError> {
        let offset = self.offset;
        let contents = self.take(length)?;
        if self.be_u32()? != crc32c(contents) {
            return Err(BlockError::damaged(start, Damage::Checksum));
        }
        Ok(Self { rest: contents, offset })
    }

    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What is wrong with the entry at this place.
    pub(crate) fn damage(&self, what: Damage) -> BlockError {
        BlockError::damaged(self.offset, what)
    }

    pub(crate) fn take(&mut self, length: u64) -> Result<&'a [u8], BlockError> {
        let split = usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let (taken, rest) = split.ok_or(self.damage(Damage::Truncated))?;
        self.offset += length;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn be_u32(&mut self) -> Result<u32, BlockError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn be_u64(&mut self) -> Result<u64, BlockError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn unsigned(&mut self) -> Result<u64, BlockError> {
        self.varint(take_unsigned)
    }

    pub(crate) fn signed(&mut self) -> Result<i64, BlockError> {
        self.varint(take_signed)
    }

    pub(crate) fn unsigned_u32(&mut self) -> Result<u32, BlockError> {
        let offset = self.offset;
        u32::try_from(self.unsigned()?).map_err(|_| BlockError::damaged(offset, Damage::Number))
    }

    /// Bytes behind their length.
    #[inline]
    pub(crate) fn counted(&mut self) -> Result<&'a [u8], BlockError> {
        let length = self.unsigned()?;
        self.take(length)
    }

    /// A text behind its length.
    pub(crate) fn text(&mut self) -> Result<&'a str, BlockError> {
        let offset = self.offset;
        str::from_utf8(self.counted()?).map_err(|_| BlockError::damaged(offset, Damage::Text))
    }

    #[inline]
    fn varint<T>(&mut self, take: impl Fn(&mut &'a [u8]) -> Result<T, VarintError>) -> Result<T, BlockError> {
        let before = self.rest.len();
        let number = take(&mut self.rest).map_err(|error| {
            self.damage(match error {
                VarintError::Truncated => Damage::Truncated,
                VarintError::Overflow => Damage::Number,
            })
        })?;
        self.offset += (before - self.rest.len()) as u64;
        Ok(number)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BlockError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(self.damage(Damage::Truncated))?;
        self.rest = rest;
        self.offset += N as u64;
        Ok(*array)
    }
}

/// Bytes that a varint takes.
pub(super) fn unsigned_bytes(value: u64) -> usize {
    codec::varint::encode_unsigned(value).1
}

pub(super) fn put_counted(out: &mut Vec<u8>, text: &[u8]) {
    codec::varint::put_unsigned(out, text.len() as u64);
    out.extend_from_slice(text);
}
