//! The label set of each series, as pair numbers in name order.

use model::{Label, Labels};

use super::{PairRef, Pairs, PairsView};
use crate::{
    SeriesRef,
    segmented::{Segmented, SegmentedView},
};

const RUN_SEGMENT: usize = 1 << 14;
const START_SEGMENT: usize = 1 << 12;
/// Marks a series whose labels a damaged log could not give back.
const LOST: u32 = u32::MAX;

/// Label sets by series.
#[derive(Default)]
pub struct SeriesLabels {
    /// Runs of `[count, pair, pair, ...]`.
    runs: Segmented<u32, RUN_SEGMENT>,
    starts: Segmented<u32, START_SEGMENT>,
}

/// Labels of the series of a shard as they were when it was taken; readable on any thread.
#[derive(Clone, Debug)]
pub struct LabelsView {
    pairs: PairsView,
    runs: SegmentedView<u32, RUN_SEGMENT>,
    starts: SegmentedView<u32, START_SEGMENT>,
}

impl SeriesLabels {
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Whether another label set of this length can be kept: positions are 32 bits wide.
    pub fn has_room(&self) -> bool {
        self.runs.len() < u32::MAX as usize - 2 * RUN_SEGMENT
    }

    /// Adds the next series' pairs, in name order.
    pub fn push(&mut self, pairs: &[PairRef], scratch: &mut Vec<u32>) {
        scratch.clear();
        scratch.push(pairs.len() as u32);
        scratch.extend(pairs.iter().map(|pair| pair.0));
        let start = self.runs.push_together(scratch, 0);
        self.starts.push(start as u32);
    }

    /// Takes the place of a series whose definition is lost.
    pub fn push_lost(&mut self) {
        self.starts.push(LOST);
    }

    pub fn is_lost(&self, series: SeriesRef) -> bool {
        self.starts[series.index()] == LOST
    }

    pub fn pairs(&self, series: SeriesRef) -> impl ExactSizeIterator<Item = PairRef> + Clone {
        let start = self.starts[series.index()];
        let run: &[u32] = if start == LOST {
            &[]
        } else {
            let count = self.runs[start as usize] as usize;
            self.runs.run(start as usize + 1, count)
        };
        run.iter().map(|&pair| PairRef(pair))
    }

    pub fn view(&self, pairs: &Pairs) -> LabelsView {
        LabelsView { pairs: pairs.view(), runs: self.runs.view(), starts: self.starts.view() }
    }

    pub fn heap_bytes(&self) -> usize {
        self.runs.heap_bytes() + self.starts.heap_bytes()
    }
}

impl LabelsView {
    /// How many series the view knows; a series created later is not part of what was selected with it.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    pub fn pairs(&self, series: SeriesRef) -> impl ExactSizeIterator<Item = PairRef> + Clone {
        let start = self.starts[series.index()];
        let run: &[u32] = if start == LOST {
            &[]
        } else {
            let count = self.runs[start as usize] as usize;
            self.runs.run(start as usize + 1, count)
        };
        run.iter().map(|&pair| PairRef(pair))
    }

    pub fn name_of(&self, pair: PairRef) -> &str {
        self.pairs.name_of(pair)
    }

    pub fn value_of(&self, pair: PairRef) -> &str {
        self.pairs.value_of(pair)
    }

    pub fn labels(&self, series: SeriesRef) -> Labels {
        Labels::from_sorted(
            self.pairs(series).map(|pair| Label { name: self.name_of(pair), value: self.value_of(pair) }),
        )
    }
}
