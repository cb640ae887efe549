//! The label message of protocol 1.0: name 1, value 2.

use model::SeriesId;

use crate::protobuf::{Malformed, Reader, Tag, WIRE_LENGTH};

/// The label's tag inside its series.
pub(super) const LABEL: Tag = Tag::new(1, WIRE_LENGTH);

pub(super) const NAME: Tag = Tag::new(1, WIRE_LENGTH);
pub(super) const VALUE: Tag = Tag::new(2, WIRE_LENGTH);

/// A piece of text inside the buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) start: usize,
    pub(super) length: usize,
}

impl Text {
    fn of(message: &Reader<'_>) -> Self {
        Self { start: message.at(), length: message.end() - message.at() }
    }

    pub(super) fn bytes<'a>(&self, buffer: &'a [u8]) -> &'a [u8] {
        &buffer[self.start..self.start + self.length]
    }
}

/// Takes a label that looks as nearly all do: name, then value, each with a length below 128. Anything else is `None`, and the
/// reader stays. The next label's place depends on one byte only, so that the processor can run ahead.
#[inline(always)]
pub(super) fn take_plain(reader: &mut Reader<'_>) -> Option<(Text, Text)> {
    let (buffer, at) = (reader.buffer(), reader.at());
    let [0x0a, length, 0x0a, name_length] = *buffer.get(at..)?.first_chunk()? else { return None };
    let end = at + 2 + usize::from(length);
    let name = Text { start: at + 4, length: usize::from(name_length) };
    let after_name = name.start + name.length;
    let [0x12, value_length] = *buffer.get(after_name..)?.first_chunk()? else { return None };
    let value = Text { start: after_name + 2, length: usize::from(value_length) };
    // A set top bit in any of the lengths means a longer one; the parts must fill the label, and the label fit the series.
    if (length | name_length | value_length) >= 0x80 || value.start + value.length != end || end > reader.end() {
        return None;
    }
    reader.advance_to(end);
    Some((name, value))
}

/// Reads any legal label message.
pub(super) fn read(mut message: Reader<'_>) -> Result<(Text, Text), Malformed> {
    let (mut name, mut value) = (Text::default(), Text::default());
    while !message.is_empty() {
        match message.tag()? {
            NAME => name = Text::of(&message.message()?),
            VALUE => value = Text::of(&message.message()?),
            other => message.skip_unknown(other, &[NAME, VALUE])?,
        }
    }
    Ok((name, value))
}

/// The last label seen at each place of a series, with its part of the identity.
///
/// Neighbours in a request mostly come from one target and share most labels, place by place: comparing a few bytes with the
/// neighbour's takes a third of the time of hashing them.
#[derive(Default)]
pub(super) struct Memo {
    places: [Remembered; PLACES],
}

/// Labels beyond these are hashed each time.
const PLACES: usize = 32;

#[derive(Clone, Copy, Default)]
struct Remembered {
    start: u32,
    /// With tag and length; 0 when nothing is remembered, else at least 6.
    length: u32,
    part: SeriesId,
}

impl Memo {
    /// Takes a label that is, byte by byte, the one remembered for its place.
    #[inline(always)]
    pub(super) fn take(&self, reader: &mut Reader<'_>, place: u32) -> Option<SeriesId> {
        let known = self.places.get(place as usize)?;
        let length = known.length as usize;
        let room = reader.end() - reader.at();
        if length == 0 || length > room || !same(reader.buffer(), known.start as usize, reader.at(), length) {
            return None;
        }
        reader.advance_to(reader.at() + length);
        Some(known.part)
    }

    #[inline(always)]
    pub(super) fn keep(&mut self, place: u32, start: usize, end: usize, part: SeriesId) {
        if let Some(known) = self.places.get_mut(place as usize) {
            *known = Remembered { start: start as u32, length: (end - start) as u32, part };
        }
    }
}

/// Compares two pieces of at least four bytes by reads that overlap; a call of `memcmp` would cost more than it compares.
#[inline(always)]
fn same(buffer: &[u8], a: usize, b: usize, length: usize) -> bool {
    let (a, b) = (&buffer[a..a + length], &buffer[b..b + length]);
    if length < 8 {
        return equal_at::<4>(a, b, 0) && equal_at::<4>(a, b, length - 4);
    }
    if length < 16 {
        return equal_at::<8>(a, b, 0) && equal_at::<8>(a, b, length - 8);
    }
    let mut at = 0;
    while at + 16 < length {
        if !equal_at::<16>(a, b, at) {
            return false;
        }
        at += 16;
    }
    equal_at::<16>(a, b, length - 16)
}

#[inline(always)]
fn equal_at<const N: usize>(a: &[u8], b: &[u8], at: usize) -> bool {
    a[at..].first_chunk::<N>() == b[at..].first_chunk::<N>()
}
