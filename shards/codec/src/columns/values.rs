//! Doubles in as few whole bytes as a quick look finds.
//!
//! Each value takes the shortest of: the integer that it is, the number of thousandths that it is, or the upper bytes of its bits.
//! The first two are taken only if the decoder's own arithmetic gives the same bits back.

use super::Damage;

/// How the bytes of a value are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Zigzag integer, lowest byte first.
    Integer,
    /// Zigzag integer, lowest byte first, to be divided by 1,000.
    Thousandths,
    /// The highest bytes of the double, in little-endian order; the others are zero.
    Bits,
}

/// A value's kind and number of bytes, by tag. Tag 0 is 0.0.
const TAGS: [(Kind, usize); 16] = [
    (Kind::Integer, 0),
    (Kind::Integer, 1),
    (Kind::Integer, 2),
    (Kind::Integer, 3),
    (Kind::Integer, 4),
    (Kind::Integer, 5),
    (Kind::Integer, 7),
    (Kind::Thousandths, 2),
    (Kind::Thousandths, 3),
    (Kind::Thousandths, 4),
    (Kind::Thousandths, 5),
    (Kind::Thousandths, 6),
    (Kind::Bits, 2),
    (Kind::Bits, 4),
    (Kind::Bits, 6),
    (Kind::Bits, 8),
];

const THOUSAND: f64 = 1000.0;

/// Added and taken away again, it rounds a double below 2^51 to a whole number, which the sum has in its low bits.
const ROUNDER: f64 = (3u64 << 51) as f64;

/// The shortest forms of each kind, by the number of bytes that have to fit. Sixteen entries, so that an index needs no check.
const INTEGER: [Form; 16] = forms_by_bytes(Kind::Integer);
const THOUSANDTHS: [Form; 16] = forms_by_bytes(Kind::Thousandths);
const BITS: [Form; 16] = forms_by_bytes(Kind::Bits);
const UNPACK: [Unpack; 16] = unpack_rules();

/// What a decoder does with the eight bytes at a value's place, without a branch on its kind.
#[derive(Clone, Copy)]
struct Unpack {
    /// The bytes that belong to the value.
    mask: u64,
    divisor: f64,
    /// Puts the bytes of `Kind::Bits` in their place.
    shift: u32,
    length: u8,
    is_bits: bool,
}

/// A tag below its length: of two forms the lesser is the shorter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Form(u16);

impl Form {
    /// Longer than any real one.
    const NONE: Self = Self(u16::MAX);

    const fn of_tag(tag: usize) -> Self {
        Self((TAGS[tag].1 << 8 | tag) as u16)
    }

    const fn tag(self) -> u8 {
        self.0 as u8
    }

    const fn length(self) -> usize {
        (self.0 >> 8) as usize
    }
}

const fn forms_by_bytes(kind: Kind) -> [Form; 16] {
    let mut forms = [Form::NONE; 16];
    let mut bytes = 0;
    while bytes <= 8 {
        let mut tag = 0;
        while tag < TAGS.len() {
            let form = Form::of_tag(tag);
            if TAGS[tag].0 as u8 == kind as u8 && form.length() >= bytes && form.0 < forms[bytes].0 {
                forms[bytes] = form;
            }
            tag += 1;
        }
        bytes += 1;
    }
    forms
}

const fn unpack_rules() -> [Unpack; 16] {
    let mut rules = [Unpack { mask: 0, divisor: 1.0, shift: 0, length: 0, is_bits: false }; 16];
    let mut tag = 0;
    while tag < TAGS.len() {
        let (kind, length) = TAGS[tag];
        rules[tag] = Unpack {
            mask: if length == 0 { 0 } else { u64::MAX >> (64 - 8 * length) },
            divisor: if matches!(kind, Kind::Thousandths) { THOUSAND } else { 1.0 },
            shift: if matches!(kind, Kind::Bits) { 64 - 8 * length as u32 } else { 0 },
            length: length as u8,
            is_bits: matches!(kind, Kind::Bits),
        };
        tag += 1;
    }
    rules
}

/// The form of a value and its bytes. Chooses without a branch on the value, since neighbours in a batch differ in kind.
#[inline(always)]
fn pack(bits: u64) -> (Form, u64) {
    let value = f64::from_bits(bits);
    let integer = value + ROUNDER;
    let thousandths = value * THOUSAND + ROUNDER;
    let is_integer = (integer - ROUNDER).to_bits() == bits;
    let is_thousandths = ((thousandths - ROUNDER) / THOUSAND).to_bits() == bits;

    let sum = (if is_integer { integer } else { thousandths }).to_bits();
    // Beyond 2^51 the sum has another exponent and its low bits are not the number.
    let is_whole = (is_integer | is_thousandths) & (sum >> 52 == ROUNDER.to_bits() >> 52);
    let whole = crate::varint::zigzag(sum.wrapping_sub(ROUNDER.to_bits()) as i64);
    // With one more bit below the count of zeros stays below 64.
    let whole_bytes = (70 - (whole << 1 | 1).leading_zeros()) as usize / 8;
    let whole_form = (if is_integer { &INTEGER } else { &THOUSANDTHS })[whole_bytes % 16];
    let whole_form = if is_whole { whole_form } else { Form::NONE };

    // With the top bit set the count of zeros stays below 64.
    let zero_bytes = (bits | 1 << 63).trailing_zeros() as usize / 8;
    let bits_form = BITS[(8 - zero_bytes) % 16];
    let upper = bits >> ((64 - 8 * bits_form.length()) % 64);
    if whole_form < bits_form { (whole_form, whole) } else { (bits_form, upper) }
}

/// Appends the tags and the bytes of some values.
pub(super) fn encode(values: &[u64], out: &mut Vec<u8>) {
    let start = out.len();
    let tags_length = values.len().div_ceil(2);
    // Room for eight bytes a value, so that each is written as a whole word and the next one over its end.
    out.resize(start + tags_length + 8 * values.len(), 0);
    let (tags, bytes) = out[start..].split_at_mut(tags_length);
    let mut at = 0;
    let (pairs, last) = values.as_chunks::<2>();
    for (tag, &[first, second]) in tags.iter_mut().zip(pairs) {
        let (first, first_bytes) = pack(first);
        let (second, second_bytes) = pack(second);
        *tag = first.tag() | second.tag() << 4;
        put_word(bytes, at, first_bytes);
        at += first.length();
        put_word(bytes, at, second_bytes);
        at += second.length();
    }
    if let (&[value], Some(tag)) = (last, tags.last_mut()) {
        let (form, value_bytes) = pack(value);
        *tag = form.tag();
        put_word(bytes, at, value_bytes);
        at += form.length();
    }
    out.truncate(start + tags_length + at);
}

#[inline(always)]
fn put_word(bytes: &mut [u8], at: usize, word: u64) {
    bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
}

/// Takes `count` values off the front and appends them. The caller has seen that their tags are there.
pub(super) fn decode(rest: &mut &[u8], count: usize, values: &mut Vec<u64>) -> Result<(), Damage> {
    let (tags, bytes) = rest.split_at_checked(count.div_ceil(2)).ok_or(Damage::Truncated)?;
    let start = values.len();
    values.resize(start + count, 0);
    let mut at = 0;
    let mut take = |tag: u8| {
        let rule = &UNPACK[usize::from(tag & 15)];
        let bytes = word_at(bytes, at) & rule.mask;
        at += usize::from(rule.length);
        let whole = crate::varint::unzigzag(bytes) as f64 / rule.divisor;
        if rule.is_bits { bytes << rule.shift } else { whole.to_bits() }
    };
    let mut pairs = values[start..].chunks_exact_mut(2);
    for (pair, &tag) in pairs.by_ref().zip(tags) {
        pair[0] = take(tag);
        pair[1] = take(tag >> 4);
    }
    if let ([last], Some(&tag)) = (pairs.into_remainder(), tags.last()) {
        *last = take(tag);
    }
    *rest = bytes.get(at..).ok_or(Damage::Truncated)?;
    Ok(())
}

/// Eight bytes from a place on, zeros after the end.
#[inline(always)]
fn word_at(bytes: &[u8], at: usize) -> u64 {
    match bytes.get(at..).and_then(<[u8]>::first_chunk) {
        Some(word) => u64::from_le_bytes(*word),
        None => last_word(bytes.get(at..).unwrap_or_default()),
    }
}

#[inline(never)]
fn last_word(rest: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..rest.len()].copy_from_slice(rest);
    u64::from_le_bytes(word)
}
