//! Where the series are that had numbers of the last generation, for senders that know them by those.
//!
//! A bit for each old number says whether it stayed. Those that stayed kept their order, so the new number of one is how many stood
//! before it: a count for each 512 bits, and at most eight words to count in.

use crate::SeriesRef;

const WORDS_PER_COUNT: usize = 8;

#[derive(Debug, Default)]
pub(crate) struct Forwarding {
    /// By old number: whether it stayed in its order.
    stayed: Vec<u64>,
    /// Ones before each eighth word.
    counts: Vec<u32>,
    /// Old and new numbers of those that came last instead, by old number.
    last: Vec<(u32, u32)>,
}

impl Forwarding {
    /// From the old number of each new one, the first `in_order` of which ascend.
    pub(super) fn new(old: &[u32], in_order: usize) -> Self {
        let (ascending, last) = old.split_at(in_order);
        let words = ascending.last().map_or(0, |greatest| *greatest as usize / 64 + 1);
        let mut stayed = vec![0u64; words];
        for &number in ascending {
            stayed[number as usize / 64] |= 1 << (number % 64);
        }
        let mut before = 0;
        let counts = stayed.chunks(WORDS_PER_COUNT).map(|words| {
            let count = before;
            before += words.iter().map(|word| word.count_ones()).sum::<u32>();
            count
        });
        let counts = counts.collect();
        let mut last: Vec<_> = last.iter().zip(in_order as u32..).map(|(&old, new)| (old, new)).collect();
        last.sort_unstable();
        Self { stayed, counts, last }
    }

    /// The number that a series has now; `None` if it went.
    pub(crate) fn follow(&self, old: u32) -> Option<SeriesRef> {
        let (word, bit) = (old as usize / 64, old % 64);
        let here = self.stayed.get(word).copied().unwrap_or(0);
        if here >> bit & 1 == 0 {
            let at = self.last.binary_search_by_key(&old, |(old, _)| *old).ok()?;
            return Some(SeriesRef(self.last[at].1));
        }
        let from = word - word % WORDS_PER_COUNT;
        let between: u32 = self.stayed[from..word].iter().map(|word| word.count_ones()).sum();
        let below = here & ((1 << bit) - 1);
        Some(SeriesRef(self.counts[word / WORDS_PER_COUNT] + between + below.count_ones()))
    }

    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.stayed) + size_of_val(&*self.counts) + size_of_val(&*self.last)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_lead_where_the_series_went(kept in prop::collection::vec(0u8..3, 0..3000)) {
            let of_kind = |kind: u8| (0..kept.len()).filter(|at| kept[*at] == kind).map(|at| at as u32).collect();
            let (in_order, last): (Vec<u32>, Vec<u32>) = (of_kind(0), of_kind(1));
            let mut old = in_order.clone();
            old.extend(last.into_iter().rev());
            let forwarding = Forwarding::new(&old, in_order.len());
            for number in 0..kept.len() as u32 + 100 {
                let new = old.iter().position(|old| *old == number).map(|new| SeriesRef(new as u32));
                prop_assert_eq!(forwarding.follow(number), new);
            }
        }
    }
}
