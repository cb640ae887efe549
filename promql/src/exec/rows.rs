//! Rows from the samples of stored series, made by the query's thread and its helpers.

use std::ops::Range;

use crate::{
    budget::{QueryBudget, Reservation},
    exec::{Context, Result, batch::Batch, morsels::Morsels, morsels::Worker, tiles::TileCursor},
    functions::mixed::Remark,
    source::{Samples, SeriesReader, SeriesStream},
};

/// Makes a row of the samples of a series. Each thread has one of its own.
pub(crate) trait MakeRow: Send + Sized + 'static {
    /// Appends a row. The samples are not empty.
    fn make_row(&mut self, series: u32, samples: Samples<'_>, batch: &mut Batch, remarks: &mut Vec<Remark>);

    /// Values of a row.
    fn steps(&self) -> usize;

    fn twin(&self) -> Self;
}

/// Rows, and what there is to say about their series.
pub(crate) struct MadeRows {
    batch: Batch,
    remarks: Vec<(u32, Remark)>,
    held: Reservation,
}

/// A thread's part of making rows.
pub(crate) struct RowWorker<M> {
    reader: Box<dyn SeriesReader>,
    cursor: TileCursor,
    rows: RowMaker<M>,
}

/// What is done with the samples of a series, whoever has read them.
pub(crate) struct RowMaker<M> {
    pub(crate) maker: M,
    budget: QueryBudget,
    remarks: Vec<Remark>,
}

/// Samples times steps of one series from which making its row may take long enough to miss a deadline that is looked at only
/// once per tile.
const UNCHECKED_WORK_MAX: usize = 1 << 20;

impl<M: MakeRow> RowMaker<M> {
    pub(crate) fn new(maker: M, budget: &QueryBudget) -> Self {
        Self { maker, budget: budget.clone(), remarks: Vec::new() }
    }

    fn twin(&self) -> Self {
        Self::new(self.maker.twin(), &self.budget)
    }

    /// Appends the row of a series, unless it is empty.
    pub(crate) fn append(
        &mut self,
        (series, samples): (u32, Samples<'_>),
        batch: &mut Batch,
        remarks: &mut Vec<(u32, Remark)>,
    ) -> Result<()> {
        if samples.is_empty() {
            return Ok(());
        }
        let count = samples.times.len() + samples.histograms.len();
        if count.saturating_mul(self.maker.steps()) > UNCHECKED_WORK_MAX {
            self.budget.check()?;
        }
        self.maker.make_row(series, samples, batch, &mut self.remarks);
        batch.drop_last_if_empty();
        remarks.extend(self.remarks.drain(..).map(|remark| (series, remark)));
        Ok(())
    }
}

impl<M: MakeRow> Worker for RowWorker<M> {
    type Output = MadeRows;

    fn output(&self) -> MadeRows {
        let batch = Batch::new(self.rows.maker.steps());
        MadeRows { batch, remarks: Vec::new(), held: self.rows.budget.reservation() }
    }

    fn work(&mut self, series: Range<usize>, output: &mut MadeRows) -> Result<()> {
        let Self { reader, cursor, rows } = self;
        let MadeRows { batch, remarks, held } = output;
        batch.clear();
        remarks.clear();
        let mut rest = series;
        while cursor.advance(|tile| reader.read_next(&mut rest, tile))? {
            rows.append(cursor.current(), batch, remarks)?;
        }
        Ok(held.set(batch.samples_len(), batch.bytes())?)
    }

    fn twin(&self) -> Self {
        Self { reader: self.reader.twin(), cursor: self.cursor.twin(), rows: self.rows.twin() }
    }
}

/// The rows of a selection, in morsels.
pub(crate) struct RowMorsels<M: MakeRow> {
    morsels: Morsels<RowWorker<M>>,
    made: MadeRows,
}

impl<M: MakeRow> RowMorsels<M> {
    /// `None` if the source does not let its series be read by several.
    pub(crate) fn new(
        context: &Context<'_>,
        stream: &dyn SeriesStream,
        cursor: &TileCursor,
        rows: &RowMaker<M>,
    ) -> Option<Self> {
        let worker = RowWorker { reader: stream.reader()?, cursor: cursor.twin(), rows: rows.twin() };
        let (series, steps) = (stream.series_count(), rows.maker.steps());
        let morsels = Morsels::new(worker, series, steps, context.options.help.clone());
        Some(Self { made: morsels.output(), morsels })
    }

    /// Fills a cleared batch, and adds to the remarks; leaves it empty when there is nothing left.
    pub(crate) fn next(&mut self, batch: &mut Batch, remarks: &mut Vec<(u32, Remark)>) -> Result<()> {
        while batch.is_empty() && self.morsels.next(&mut self.made)? {
            std::mem::swap(batch, &mut self.made.batch);
            remarks.append(&mut self.made.remarks);
            // Whoever asked accounts for what it got.
            self.made.held.set(0, self.made.batch.bytes())?;
        }
        Ok(())
    }
}
