//! limitk and limit_ratio: some of the series, under their own labels. Rows pass through with bits taken out.

use model::{Label, Labels};

use crate::{
    budget::Reservation,
    exec::{
        BoxOperator, Context, Operator, Result,
        aggregate::at,
        batch::{Batch, ones},
        grouping::{self, Groups},
    },
    functions::scalar::Scalar,
    plan::GroupBy,
};

/// Which series stay.
enum Limit {
    /// The first ones of each group that have a value at a step.
    First { groups: Groups, counts: Vec<usize>, seen: Vec<usize> },
    /// Those whose hash falls in a share of the range.
    Ratio(Scalar),
}

pub(crate) struct Limited<'q> {
    input: BoxOperator<'q>,
    limit: Limit,
    steps: usize,
    _held: Reservation,
}

impl<'q> Limited<'q> {
    pub(crate) fn first(
        context: &'q Context<'q>,
        mut input: BoxOperator<'q>,
        grouping: &GroupBy,
        counts: Vec<usize>,
        steps: usize,
    ) -> Result<Self> {
        let groups = grouping::group(context, input.as_mut(), grouping)?;
        let mut held = context.budget.reservation();
        held.grow(0, groups.labels.len() * steps * size_of::<usize>())?;
        let seen = vec![0; groups.labels.len() * steps];
        Ok(Self { input, limit: Limit::First { groups, counts, seen }, steps, _held: held })
    }

    /// The ratio is between -1 and 1.
    pub(crate) fn ratio(context: &'q Context<'q>, input: BoxOperator<'q>, ratio: Scalar, steps: usize) -> Self {
        Self { input, limit: Limit::Ratio(ratio), steps, _held: context.budget.reservation() }
    }

    fn thin_out(&mut self, batch: &mut Batch) {
        for row in 0..batch.rows() {
            let series = batch.series(row) as usize;
            let mut row = batch.row_mut(row);
            let steps: Vec<usize> = ones(&row.as_row().presence()).collect();
            match &mut self.limit {
                Limit::First { groups, counts, seen } => {
                    let first = groups.ids[series] as usize * self.steps;
                    for step in steps {
                        if seen[first + step] >= at(counts, step) {
                            row.unset(step);
                        }
                        seen[first + step] += 1;
                    }
                }
                Limit::Ratio(ratio) => {
                    let offset = hash(&self.input.labels(series)) as f64 / u64::MAX as f64;
                    for step in steps {
                        let ratio = ratio.at(step);
                        let stays = if ratio >= 0.0 { offset < ratio } else { offset >= 1.0 + ratio };
                        if !stays {
                            row.unset(step);
                        }
                    }
                }
            }
        }
    }
}

impl Operator for Limited<'_> {
    fn series_count(&self) -> usize {
        self.input.series_count()
    }

    fn labels(&self, series: usize) -> Labels {
        self.input.labels(series)
    }

    fn drops_name(&self, series: usize) -> bool {
        self.input.drops_name(series)
    }

    fn is_unique_without_name(&self) -> bool {
        self.input.is_unique_without_name()
    }

    fn groups(&mut self, grouping: &GroupBy) -> Result<Option<Groups>> {
        self.input.groups(grouping)
    }

    fn next(&mut self, batch: &mut Batch) -> Result<bool> {
        let more = self.input.next(batch)?;
        self.thin_out(batch);
        Ok(more)
    }
}

/// The reference implementation's hash of a label set, so that the same series stay here and there.
fn hash(labels: &Labels) -> u64 {
    let mut bytes = Vec::new();
    let mut push = |text: &str| {
        match u8::try_from(text.len()) {
            Ok(length @ ..=254) => bytes.push(length),
            _ => {
                bytes.push(255);
                bytes.extend_from_slice(&(text.len() as u32).to_le_bytes()[..3]);
            }
        }
        bytes.extend_from_slice(text.as_bytes());
    };
    for Label { name, value } in labels.iter() {
        push(name);
        push(value);
    }
    xxh64(&bytes)
}

const PRIMES: [u64; 5] =
    [0x9E37_79B1_85EB_CA87, 0xC2B2_AE3D_27D4_EB4F, 0x1656_67B1_9E37_79F9, 0x85EB_CA77_C2B2_AE63, 0x27D4_EB2F_1656_67C5];

/// XXH64 with seed 0.
fn xxh64(bytes: &[u8]) -> u64 {
    let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    let mut stripes = bytes.chunks_exact(32);
    let mut hash = if bytes.len() >= 32 {
        let mut lanes = [PRIMES[0].wrapping_add(PRIMES[1]), PRIMES[1], 0, PRIMES[0].wrapping_neg()];
        for stripe in &mut stripes {
            for (lane, part) in lanes.iter_mut().zip(stripe.chunks_exact(8)) {
                *lane = round(*lane, word(part));
            }
        }
        let turns = [1, 7, 12, 18];
        let start = lanes.iter().zip(turns).fold(0_u64, |sum, (lane, by)| sum.wrapping_add(lane.rotate_left(by)));
        lanes.iter().fold(start, |hash, lane| (hash ^ round(0, *lane)).wrapping_mul(PRIMES[0]).wrapping_add(PRIMES[3]))
    } else {
        PRIMES[4]
    };
    hash = hash.wrapping_add(bytes.len() as u64);
    let mut words = stripes.remainder().chunks_exact(8);
    for part in &mut words {
        hash = (hash ^ round(0, word(part))).rotate_left(27).wrapping_mul(PRIMES[0]).wrapping_add(PRIMES[3]);
    }
    let mut rest = words.remainder();
    if let Some((half, tail)) = rest.split_first_chunk::<4>() {
        hash ^= u64::from(u32::from_le_bytes(*half)).wrapping_mul(PRIMES[0]);
        hash = hash.rotate_left(23).wrapping_mul(PRIMES[1]).wrapping_add(PRIMES[2]);
        rest = tail;
    }
    for byte in rest {
        hash = (hash ^ u64::from(*byte).wrapping_mul(PRIMES[4])).rotate_left(11).wrapping_mul(PRIMES[0]);
    }
    hash = (hash ^ hash >> 33).wrapping_mul(PRIMES[1]);
    hash = (hash ^ hash >> 29).wrapping_mul(PRIMES[2]);
    hash ^ hash >> 32
}

fn round(lane: u64, word: u64) -> u64 {
    lane.wrapping_add(word.wrapping_mul(PRIMES[1])).rotate_left(31).wrapping_mul(PRIMES[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(xxh64(b""), 0xEF46_DB37_51D8_E999);
        assert_eq!(xxh64(b"a"), 0xD24E_C4F1_A98C_6E5B);
        assert_eq!(xxh64(b"abc"), 0x44BC_2CF5_AD77_0999);
        assert_eq!(xxh64(b"Nobody inspects the spammish repetition"), 0xFBCE_A83C_8A37_8BF1);
    }
}
