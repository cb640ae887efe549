//! and, or, unless: which series stay, by the labels that must agree. Values don't matter, only whether they are there.

use model::Labels;

use crate::{
    ast::{BinaryOp, VectorMatching},
    budget::Reservation,
    exec::{
        BoxOperator, Context, Operator, Result,
        batch::{Batch, words_for},
        each_row,
        grouping::GroupTable,
        join::signatures,
    },
    plan::GroupBy,
};

pub(crate) struct SetOperation<'q> {
    context: &'q Context<'q>,
    op: BinaryOp,
    left: BoxOperator<'q>,
    right: BoxOperator<'q>,
    left_signatures: Vec<u32>,
    right_signatures: Vec<u32>,
    /// By signature: steps at which the other side has a value; for `or` that is the left side, else the right one.
    present: Vec<u64>,
    phase: Phase,
    steps: usize,
    _held: Reservation,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing was read yet.
    Start,
    Left,
    Right,
}

impl<'q> SetOperation<'q> {
    pub(crate) fn new(
        context: &'q Context<'q>,
        op: BinaryOp,
        mut left: BoxOperator<'q>,
        mut right: BoxOperator<'q>,
        matching: &VectorMatching,
        steps: usize,
    ) -> Result<Self> {
        let grouping = GroupBy::new(matching.labels.clone(), !matching.on);
        let mut table = GroupTable::default();
        let left_signatures = signatures(context, left.as_mut(), &grouping, &mut table)?;
        let right_signatures = signatures(context, right.as_mut(), &grouping, &mut table)?;
        let words = table.labels.len() * words_for(steps);
        let mut held = context.budget.reservation();
        held.grow(0, words * 8 + (left_signatures.len() + right_signatures.len()) * 4)?;
        let (present, phase) = (vec![0; words], Phase::Start);
        Ok(Self { context, op, left, right, left_signatures, right_signatures, present, phase, steps, _held: held })
    }

    fn read_right(&mut self) -> Result<()> {
        let words = words_for(self.steps);
        each_row(self.context, self.right.as_mut(), self.steps, |series, row| {
            let first = self.right_signatures[series as usize] as usize * words;
            let present = &mut self.present[first..first + words];
            present.iter_mut().zip(row.presence().iter()).for_each(|(have, new)| *have |= new);
            Ok(())
        })
    }

    fn keep_left(&mut self, batch: &mut Batch) {
        let words = words_for(self.steps);
        for row in 0..batch.rows() {
            let first = self.left_signatures[batch.series(row) as usize] as usize * words;
            let present = &mut self.present[first..first + words];
            match self.op {
                BinaryOp::And => batch.row_mut(row).keep(present),
                BinaryOp::Unless => batch.row_mut(row).keep(&complement(present)),
                _ => {
                    present.iter_mut().zip(batch.row(row).presence().iter()).for_each(|(have, new)| *have |= new);
                }
            }
        }
    }

    fn keep_right(&self, batch: &mut Batch) {
        let (words, offset) = (words_for(self.steps), self.left.series_count() as u32);
        for row in 0..batch.rows() {
            let series = batch.series(row);
            let first = self.right_signatures[series as usize] as usize * words;
            batch.row_mut(row).keep(&complement(&self.present[first..first + words]));
            batch.set_series(row, offset + series);
        }
    }
}

fn complement(bits: &[u64]) -> Vec<u64> {
    bits.iter().map(|word| !word).collect()
}

impl Operator for SetOperation<'_> {
    fn series_count(&self) -> usize {
        let right = if self.op == BinaryOp::Or { self.right.series_count() } else { 0 };
        self.left.series_count() + right
    }

    fn labels(&self, series: usize) -> Labels {
        match series.checked_sub(self.left.series_count()) {
            Some(right) => self.right.labels(right),
            None => self.left.labels(series),
        }
    }

    fn drops_name(&self, series: usize) -> bool {
        match series.checked_sub(self.left.series_count()) {
            Some(right) => self.right.drops_name(right),
            None => self.left.drops_name(series),
        }
    }

    fn is_unique_without_name(&self) -> bool {
        self.op != BinaryOp::Or && self.left.is_unique_without_name()
    }

    fn next(&mut self, batch: &mut Batch) -> Result<bool> {
        if self.phase == Phase::Start {
            if self.op != BinaryOp::Or {
                self.read_right()?;
            }
            self.phase = Phase::Left;
        }
        if self.phase == Phase::Left {
            if self.left.next(batch)? {
                self.context.budget.check()?;
                self.keep_left(batch);
                return Ok(true);
            }
            self.phase = Phase::Right;
        }
        if self.op != BinaryOp::Or {
            batch.clear();
            return Ok(false);
        }
        let more = self.right.next(batch)?;
        self.keep_right(batch);
        Ok(more)
    }
}
