//! Makes one series of those that carry the same labels, which is allowed as long as they never meet at a step.

use std::collections::{HashMap, hash_map::Entry};

use model::Labels;

use crate::{
    error::QueryError,
    exec::{
        BoxOperator, Context, Operator, Result,
        batch::{Batch, Row, RowMut, ones},
        grouping::{GroupTable, Groups},
        matrix::Matrix,
    },
    plan::GroupBy,
};

/// Passes rows of series with labels of their own through; joins the others and gives them at the end.
pub(crate) struct Merge<'q> {
    input: BoxOperator<'q>,
    /// By series of the input, the first series with the same labels. Empty when all labels differ.
    first: Vec<u32>,
    /// By series of the input: whether another one has the same labels. Empty when all labels differ.
    twins: Vec<bool>,
    /// Rows of series that have twins, by first series.
    joined: Matrix,
    /// Where the row of a first series is in `joined`.
    places: HashMap<u32, usize>,
    next_joined: usize,
    /// What to say when two meet.
    conflict: &'static str,
    unique_without_name: bool,
}

impl<'q> Merge<'q> {
    pub(crate) fn new(
        context: &'q Context<'q>,
        input: BoxOperator<'q>,
        steps: usize,
        unique_without_name: bool,
        conflict: &'static str,
    ) -> Result<Self> {
        let (first, twins) = find_twins(context, input.as_ref())?;
        let joined = Matrix::new(context, steps);
        Ok(Self { input, first, twins, joined, places: HashMap::new(), next_joined: 0, conflict, unique_without_name })
    }

    /// Puts the rows of twins together and keeps the others.
    fn split(&mut self, batch: &mut Batch) -> Result<()> {
        let mut single = Batch::new(batch.steps());
        for (series, row) in batch.iter() {
            if !self.twins[series as usize] {
                single.push_copy(series, row);
                continue;
            }
            let first = self.first[series as usize];
            match self.places.entry(first) {
                Entry::Occupied(at) => join(self.joined.rows.row_mut(*at.get()), row, self.conflict)?,
                Entry::Vacant(place) => {
                    place.insert(self.joined.rows.rows());
                    self.joined.push(first, row)?;
                }
            }
        }
        *batch = single;
        Ok(())
    }
}

pub(crate) fn join(mut into: RowMut<'_>, from: Row<'_>, conflict: &str) -> Result<()> {
    if into.as_row().presence().iter().zip(from.presence().iter()).any(|(left, right)| left & right != 0) {
        return Err(QueryError::execution(conflict));
    }
    for (step, histogram) in from.histograms() {
        into.set_histogram(step, histogram.clone());
    }
    for step in ones(from.valid) {
        into.values[step] = from.values[step];
    }
    into.valid.iter_mut().zip(from.valid).for_each(|(left, right)| *left |= right);
    Ok(())
}

fn find_twins(context: &Context<'_>, input: &dyn Operator) -> Result<(Vec<u32>, Vec<bool>)> {
    let count = input.series_count();
    let mut table = GroupTable::default();
    let mut first_of: Vec<u32> = Vec::new();
    let mut first = Vec::with_capacity(count);
    let mut twins = vec![false; count];
    for series in 0..count {
        if series % 4096 == 0 {
            context.budget.check()?;
        }
        let labels = input.labels(series);
        let id = table.id(|| labels.iter()) as usize;
        if id == first_of.len() {
            first_of.push(series as u32);
        } else {
            twins[series] = true;
            twins[first_of[id] as usize] = true;
        }
        first.push(first_of[id]);
    }
    if first_of.len() == count { Ok((Vec::new(), Vec::new())) } else { Ok((first, twins)) }
}

impl Operator for Merge<'_> {
    fn series_count(&self) -> usize {
        self.input.series_count()
    }

    fn labels(&self, series: usize) -> Labels {
        self.input.labels(series)
    }

    fn drops_name(&self, series: usize) -> bool {
        match self.twins.get(series) {
            Some(true) => {
                let first = self.first[series];
                (0..self.first.len()).any(|other| self.first[other] == first && self.input.drops_name(other))
            }
            _ => self.input.drops_name(series),
        }
    }

    fn is_unique_without_name(&self) -> bool {
        self.unique_without_name
    }

    fn groups(&mut self, grouping: &GroupBy) -> Result<Option<Groups>> {
        self.input.groups(grouping)
    }

    fn next(&mut self, batch: &mut Batch) -> Result<bool> {
        if self.twins.is_empty() {
            return self.input.next(batch);
        }
        while self.input.next(batch)? {
            self.split(batch)?;
            if !batch.is_empty() {
                return Ok(true);
            }
        }
        batch.clear();
        while self.next_joined < self.joined.rows.rows() && !batch.is_full() {
            batch.push_copy(self.joined.rows.series(self.next_joined), self.joined.rows.row(self.next_joined));
            self.next_joined += 1;
        }
        Ok(!batch.is_empty())
    }
}
