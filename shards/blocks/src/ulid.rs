//! Names of blocks: ULIDs (github.com/ulid/spec), which sort by the time at which they were made.

use std::{fmt, str::FromStr};

use model::IdentityKey;

/// 48 bits of time in milliseconds, 80 bits that make it unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ulid(u128);

const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const LENGTH: usize = 26;
const UNIQUE_BITS: u32 = 80;

impl Ulid {
    fn new(time_ms: u64, unique: u128) -> Self {
        Self(u128::from(time_ms) << UNIQUE_BITS | unique & ((1 << UNIQUE_BITS) - 1))
    }

    /// The name of what was made of the same content before.
    pub(crate) fn of_content(time_ms: i64, unique: u128) -> Self {
        Self::new(time_ms.max(0) as u64 & ((1 << 48) - 1), unique)
    }

    /// The lower part of what makes it unique.
    pub(crate) fn unique(self) -> u64 {
        self.0 as u64
    }
}

impl fmt::Display for Ulid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digit = |place: usize| char::from(DIGITS[(self.0 >> (5 * (LENGTH - 1 - place))) as usize % 32]);
        (0..LENGTH).try_for_each(|place| fmt::Write::write_char(formatter, digit(place)))
    }
}

/// Not 26 digits of Crockford's base 32, or too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a ULID")]
pub struct NotUlid;

impl FromStr for Ulid {
    type Err = NotUlid;

    fn from_str(text: &str) -> Result<Self, NotUlid> {
        // The first digit has three bits.
        if text.len() != LENGTH || text.as_bytes()[0] > b'7' {
            return Err(NotUlid);
        }
        let digit = |byte: u8| DIGITS.iter().position(|&digit| digit == byte).map(|digit| digit as u128);
        let add = |sum: u128, byte: u8| Some(sum << 5 | digit(byte)?);
        text.bytes().try_fold(0, add).map(Self).ok_or(NotUlid)
    }
}

/// Makes ULIDs that no other instance makes, and this one not twice.
#[derive(Debug)]
pub(crate) struct UlidMaker {
    key: IdentityKey,
    made: u64,
}

impl UlidMaker {
    pub(crate) fn new(key: IdentityKey) -> Self {
        Self { key, made: 0 }
    }

    /// `monotonic_nanos` tells the runs of a process apart.
    pub(crate) fn make(&mut self, wall_clock_ms: i64, monotonic_nanos: u128) -> Ulid {
        self.made += 1;
        let seed = [&wall_clock_ms.to_le_bytes()[..], &monotonic_nanos.to_le_bytes(), &self.made.to_le_bytes()];
        let id = self.key.label(b"ulid", &seed.concat());
        Ulid::new(wall_clock_ms.max(0) as u64 & ((1 << 48) - 1), u128::from(id.high) << 64 | u128::from(id.low))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_read_back_sort_by_time_and_are_never_the_same() {
        let mut maker = UlidMaker::new(IdentityKey::from_bytes(&[7; IdentityKey::BYTES]));
        let made: Vec<Ulid> = (0..1000).map(|number| maker.make(1_700_000_000_000 + number / 10, 5)).collect();
        let mut texts: Vec<String> = made.iter().map(Ulid::to_string).collect();
        assert!(made.iter().zip(&texts).all(|(ulid, text)| text.parse() == Ok(*ulid) && text.len() == 26));
        assert!(texts[0] < texts[999] && texts[0].starts_with("01HF7YAT0"), "{}", texts[0]);
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), 1000);
        // An example of the specification.
        assert_eq!("01ARZ3NDEKTSV4RRFFQ69G5FAV".parse::<Ulid>().map(|ulid| ulid.0 >> 80), Ok(1_469_922_850_259));
        for text in ["", "81ARZ3NDEKTSV4RRFFQ69G5FAV", "01ARZ3NDEKTSV4RRFFQ69G5FAU", "01ARZ3NDEKTSV4RRFFQ69G5FA"] {
            assert_eq!(text.parse::<Ulid>(), Err(NotUlid), "{text}");
        }
    }
}
