//! Finding series by matchers: `select` of the head, over lists of references in a file.

use std::cmp::Ordering;

use model::{MatchOp, Matcher};

use super::{IndexReader, Postings};
use crate::block::{BlockError, Damage};

/// The lists that a matcher means: of the values that it accepts, or of those that it refuses if it accepts an absent label.
struct Lists {
    offsets: Vec<u64>,
    /// Series in all of them.
    count: u64,
}

impl<B: AsRef<[u8]>> IndexReader<B> {
    /// References of the series that satisfy all matchers, in label order.
    pub fn select(&self, matchers: &[Matcher]) -> Result<Vec<u32>, BlockError> {
        let (mut narrowing, mut refusing) = (Vec::new(), Vec::new());
        // Look-ups first: what has no series needs no walk over values.
        let (looked_up, walked): (Vec<_>, Vec<_>) = matchers.iter().partition(|matcher| is_look_up(matcher));
        for matcher in looked_up.into_iter().chain(walked) {
            let lists = self.lists_of(matcher)?;
            match matcher.matches_empty() {
                true => refusing.push(lists),
                false if lists.count == 0 => return Ok(Vec::new()),
                false => narrowing.push(lists),
            }
        }
        narrowing.sort_by_key(|lists| lists.count);
        let mut narrowing = narrowing.iter();
        let mut series = match narrowing.next() {
            Some(first) => self.union(first)?,
            None => self.all_postings()?.iter().collect(),
        };
        for lists in narrowing {
            self.filter(&mut series, lists, true)?;
        }
        for lists in refusing.iter().filter(|lists| lists.count > 0) {
            self.filter(&mut series, lists, false)?;
        }
        Ok(series)
    }

    fn lists_of(&self, matcher: &Matcher) -> Result<Lists, BlockError> {
        let mut lists = Lists { offsets: Vec::new(), count: 0 };
        if is_look_up(matcher) {
            let found =
                if matcher.name().is_empty() { None } else { self.postings_offset(matcher.name(), matcher.value())? };
            found.map_or(Ok(()), |offset| self.add_list(offset, &mut lists))?;
            return Ok(lists);
        }
        // For a matcher that accepts "", the values that it refuses are fewer and decide.
        let keep = !matcher.matches_empty();
        let mut values = self.label_values(matcher.name())?;
        while let Some(entry) = values.next_with_postings() {
            let (value, offset) = entry?;
            if matcher.matches(value) == keep {
                self.add_list(offset, &mut lists)?;
            }
        }
        Ok(lists)
    }

    /// A series has a name once, so the lists of a name can't have more series than there are. Checked before anything is
    /// collected, as many pairs could lead to one long list.
    fn add_list(&self, offset: u64, lists: &mut Lists) -> Result<(), BlockError> {
        lists.offsets.push(offset);
        lists.count += u64::from(Postings::count_at(self.file(), offset)?);
        if lists.count > u64::from(self.series_count) {
            return Err(BlockError::damaged(offset, Damage::Count));
        }
        Ok(())
    }

    /// All series of some lists.
    fn union(&self, lists: &Lists) -> Result<Vec<u32>, BlockError> {
        let mut series = Vec::new();
        for &offset in &lists.offsets {
            series.extend(Postings::read(self.file(), offset)?.iter());
        }
        // Sorted runs one behind the other, which this sort makes use of.
        series.sort();
        Ok(series)
    }

    /// Keeps the series that are in one of the lists, or that are in none.
    fn filter(&self, series: &mut Vec<u32>, lists: &Lists, keep: bool) -> Result<(), BlockError> {
        if series.is_empty() {
            return Ok(());
        }
        if let [offset] = lists.offsets[..] {
            let postings = Postings::read(self.file(), offset)?;
            retain(series, postings.len(), |index| postings.get(index), keep);
        } else {
            let union = self.union(lists)?;
            retain(series, union.len(), |index| union.get(index).copied(), keep);
        }
        Ok(())
    }
}

/// Whether one value decides.
fn is_look_up(matcher: &Matcher) -> bool {
    matches!(matcher.op(), MatchOp::Equal | MatchOp::NotEqual) && !matcher.value().is_empty()
}

/// Keeps of a sorted set what a sorted list has, or what it has not.
fn retain(series: &mut Vec<u32>, length: usize, at: impl Fn(usize) -> Option<u32>, keep: bool) {
    let mut next = 0;
    series.retain(|&wanted| {
        next = gallop(next, length, |index| at(index).map_or(Ordering::Greater, |found| found.cmp(&wanted)));
        (at(next) == Some(wanted)) == keep
    });
}

/// The first position from `start` on that is not less: in steps that double, then by halves.
fn gallop(start: usize, length: usize, compare: impl Fn(usize) -> Ordering) -> usize {
    let (mut low, mut step) = (start, 1);
    while low + step <= length && compare(low + step - 1).is_lt() {
        low += step;
        step *= 2;
    }
    let mut high = length.min(low + step - 1);
    while low < high {
        let middle = low.midpoint(high);
        (low, high) = if compare(middle).is_lt() { (middle + 1, high) } else { (low, middle) };
    }
    low
}
