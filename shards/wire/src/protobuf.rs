//! Just enough of the protobuf wire format to walk a message without building it.
//!
//! A [`Reader`] is a range of a larger buffer. It keeps positions of that buffer, so that what it finds can be remembered as
//! ranges, and so that errors name offsets a person can look up. Everything legal is read: fields in any order, unknown fields,
//! groups, varints with more bytes than they need.

/// Bytes that are not what protobuf allows at their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    /// Position in the uncompressed message.
    pub(crate) offset: usize,
    pub(crate) what: &'static str,
}

pub(crate) const WIRE_VARINT: u32 = 0;
pub(crate) const WIRE_FIXED64: u32 = 1;
pub(crate) const WIRE_LENGTH: u32 = 2;
const WIRE_GROUP_START: u32 = 3;
const WIRE_GROUP_END: u32 = 4;
const WIRE_FIXED32: u32 = 5;

/// Groups inside groups that are skipped before a message counts as hostile; other protobuf libraries stop there too.
const GROUP_DEPTH_MAX: u32 = 100;

/// Number and wire type of a field, as they stand in front of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag(pub(crate) u32);

impl Tag {
    pub(crate) const fn new(field: u32, wire: u32) -> Self {
        Self(field << 3 | wire)
    }

    fn field(self) -> u32 {
        self.0 >> 3
    }

    fn wire(self) -> u32 {
        self.0 & 7
    }
}

/// A message, or the rest of one, inside a buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    /// May hold bytes past `end`; they are somebody else's, or stale.
    bytes: &'a [u8],
    at: usize,
    /// Never above `bytes.len()`.
    end: usize,
}

impl<'a> Reader<'a> {
    /// # Panics
    /// When the range leaves the buffer.
    pub(crate) fn new(bytes: &'a [u8], at: usize, end: usize) -> Self {
        assert!(at <= end && end <= bytes.len(), "a range of the buffer");
        Self { bytes, at, end }
    }

    /// The buffer around the message.
    #[inline(always)]
    pub(crate) fn buffer(&self) -> &'a [u8] {
        self.bytes
    }

    #[inline(always)]
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    #[inline(always)]
    pub(crate) fn end(&self) -> usize {
        self.end
    }

    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.at == self.end
    }

    /// What is left of the message.
    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..self.end]
    }

    /// Goes on at a position that the caller has found to be inside the message.
    #[inline(always)]
    pub(crate) fn advance_to(&mut self, at: usize) {
        debug_assert!(self.at <= at && at <= self.end);
        self.at = at;
    }

    #[inline(always)]
    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        match self.bytes.get(self.at) {
            Some(&byte) if byte < 0x80 && self.at < self.end => {
                self.at += 1;
                Ok(u64::from(byte))
            }
            _ => self.two_byte_varint(),
        }
    }

    #[inline(always)]
    fn two_byte_varint(&mut self) -> Result<u64, Malformed> {
        match self.bytes.get(self.at..).and_then(<[u8]>::first_chunk) {
            Some(&[low, high]) if high < 0x80 && self.at + 2 <= self.end => {
                self.at += 2;
                Ok(u64::from(low & 0x7f) | u64::from(high) << 7)
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for (index, &byte) in self.rest().iter().take(10).enumerate() {
            if index == 9 && byte > 1 {
                return Err(self.malformed("a varint above 64 bits"));
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                self.at += index + 1;
                return Ok(value);
            }
        }
        Err(self.malformed("a varint that does not end"))
    }

    #[inline(always)]
    pub(crate) fn tag(&mut self) -> Result<Tag, Malformed> {
        let start = self.at;
        let value = self.varint()?;
        match u32::try_from(value) {
            Ok(tag) if tag >= 8 => Ok(Tag(tag)),
            _ => Err(Malformed { offset: start, what: "a field number outside 1 to 536870911" }),
        }
    }

    #[inline(always)]
    pub(crate) fn fixed64(&mut self) -> Result<u64, Malformed> {
        match self.rest().first_chunk() {
            Some(bytes) => {
                self.at += 8;
                Ok(u64::from_le_bytes(*bytes))
            }
            None => Err(self.malformed("a 64-bit field that is cut off")),
        }
    }

    /// A length-delimited field: its range becomes a reader of its own, and this one goes on behind it.
    #[inline(always)]
    pub(crate) fn message(&mut self) -> Result<Reader<'a>, Malformed> {
        let start = self.at;
        let length = self.varint()?;
        if length > (self.end - self.at) as u64 {
            return Err(Malformed { offset: start, what: "a length beyond the end of its message" });
        }
        let inner = Reader { bytes: self.bytes, at: self.at, end: self.at + length as usize };
        self.at = inner.end;
        Ok(inner)
    }

    /// Steps over a field that is not ours; one of `known` numbers must have come with another wire type, which is an error.
    pub(crate) fn skip_unknown(&mut self, tag: Tag, known: &[Tag]) -> Result<(), Malformed> {
        if known.iter().any(|known| known.field() == tag.field()) {
            return Err(self.malformed("a field of the wrong wire type"));
        }
        self.skip(tag, GROUP_DEPTH_MAX)
    }

    fn skip(&mut self, tag: Tag, depth: u32) -> Result<(), Malformed> {
        match tag.wire() {
            WIRE_VARINT => self.varint().map(drop),
            WIRE_FIXED64 => self.step(8),
            WIRE_LENGTH => self.message().map(drop),
            WIRE_FIXED32 => self.step(4),
            WIRE_GROUP_START if depth > 0 => self.skip_group(tag, depth - 1),
            WIRE_GROUP_START => Err(self.malformed("groups that nest too deep")),
            WIRE_GROUP_END => Err(self.malformed("the end of a group that has not begun")),
            _ => Err(self.malformed("an unknown wire type")),
        }
    }

    fn skip_group(&mut self, start: Tag, depth: u32) -> Result<(), Malformed> {
        loop {
            let tag = self.tag()?;
            if tag == Tag::new(start.field(), WIRE_GROUP_END) {
                return Ok(());
            }
            self.skip(tag, depth)?;
        }
    }

    fn step(&mut self, bytes: usize) -> Result<(), Malformed> {
        if self.end - self.at < bytes {
            return Err(self.malformed("a fixed-size field that is cut off"));
        }
        self.at += bytes;
        Ok(())
    }

    #[cold]
    pub(crate) fn malformed(&self, what: &'static str) -> Malformed {
        Malformed { offset: self.at, what }
    }
}

/// Appends a varint.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// How many bytes a varint takes.
pub(crate) fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Appends a length-delimited field.
pub(crate) fn put_bytes(out: &mut Vec<u8>, tag: Tag, bytes: &[u8]) {
    put_varint(out, u64::from(tag.0));
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(bytes: &[u8]) -> Reader<'_> {
        Reader::new(bytes, 0, bytes.len())
    }

    #[test]
    fn varints_of_every_length_come_back() {
        for shift in 0..64 {
            for value in [1u64 << shift, (1u64 << shift) - 1, u64::MAX >> shift] {
                let mut bytes = Vec::new();
                put_varint(&mut bytes, value);
                assert_eq!(bytes.len(), varint_len(value));
                let mut reader = reader(&bytes);
                assert_eq!(reader.varint(), Ok(value));
                assert!(reader.is_empty());
            }
        }
    }

    #[test]
    fn a_varint_may_be_longer_than_needed_but_not_too_long() {
        assert_eq!(reader(&[0x81, 0x80, 0x80, 0]).varint(), Ok(1));
        assert_eq!(reader(&[0xff; 11]).varint().map_err(|error| error.what), Err("a varint above 64 bits"));
        assert_eq!(reader(&[0x80]).varint().map_err(|error| error.what), Err("a varint that does not end"));
    }

    #[test]
    fn a_varint_ends_with_its_message() {
        let bytes = [0x80, 0x01];
        assert!(Reader::new(&bytes, 0, 1).varint().is_err());
        assert!(Reader::new(&bytes, 1, 1).varint().is_err());
    }

    #[test]
    fn groups_are_skipped_with_everything_in_them() {
        let group = [0x0b, 0x10, 0x05, 0x1a, 0x01, 0x0c, 0x0c, 0x07];
        let mut reader = reader(&group);
        let tag = reader.tag().expect("a tag");
        assert_eq!(reader.skip_unknown(tag, &[]), Ok(()));
        assert_eq!(reader.rest(), [0x07]);
    }

    #[test]
    fn groups_without_end_are_refused() {
        let mut reader = reader(&[0x0b; 4096]);
        let tag = reader.tag().expect("a tag");
        let error = reader.skip_unknown(tag, &[]).expect_err("too deep");
        assert_eq!(error, Malformed { offset: 101, what: "groups that nest too deep" });
    }
}
