//! count_values: how many series of a group have each value, the value as a label.

use std::collections::HashMap;

use model::LabelsBuilder;

use crate::{
    error::QueryError,
    exec::{
        BoxOperator, Context, Result,
        batch::{Batch, Cell},
        each_row,
        grouping::{self, GroupTable},
        matrix::{Matrix, Replay, SeriesInfo},
    },
    plan::GroupBy,
    value_text,
};

pub(crate) fn count_values<'q>(
    context: &'q Context<'q>,
    mut input: BoxOperator<'q>,
    grouping: &GroupBy,
    label: &str,
    steps: usize,
) -> Result<Replay> {
    if label.is_empty() {
        return Err(QueryError::execution(format!("invalid label name {label:?}")));
    }
    let groups = grouping::group(context, input.as_mut(), grouping)?;
    let mut table = GroupTable::default();
    let mut known: HashMap<(u32, u64), usize> = HashMap::new();
    let mut counts = Batch::new(steps);
    let mut drops_name = Vec::new();
    let mut held = context.budget.reservation();
    each_row(context, input.as_mut(), steps, |series, row| {
        let group = groups.ids[series as usize];
        let mut place_of = |text: &str| {
            let labels = LabelsBuilder::from_labels(&groups.labels[group as usize]).set(label, text).build();
            table.id(|| labels.iter()) as usize
        };
        for (step, cell) in row.cells() {
            let place = match cell {
                Cell::Float(value) => {
                    // All NaN look the same as text.
                    let bits = if value.is_nan() { u64::MAX } else { value.to_bits() };
                    *known.entry((group, bits)).or_insert_with(|| place_of(&value_text::plain(value)))
                }
                Cell::Histogram(histogram) => place_of(&histogram.to_string()),
            };
            if place == counts.rows() {
                held.grow(steps, steps * 8 + 128)?;
                counts.push(place as u32);
                drops_name.push(groups.drops_name[group as usize]);
            }
            let mut cell = counts.row_mut(place);
            let count = cell.as_row().get(step).unwrap_or(0.0);
            cell.set(step, count + 1.0);
        }
        Ok(())
    })?;
    let mut matrix = Matrix::new(context, steps);
    for (series, row) in counts.iter() {
        matrix.push(series, row)?;
    }
    let info = |(labels, drops_name)| SeriesInfo { labels, drops_name };
    let infos = table.labels.into_iter().zip(drops_name).map(info).collect();
    Ok(Replay::new(infos, matrix, false))
}
