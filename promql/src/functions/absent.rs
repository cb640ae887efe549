//! absent and absent_over_time: 1 where there is nothing.

use std::collections::HashSet;

use model::{Labels, LabelsBuilder, MatchOp, Matcher};

use crate::{
    exec::{
        Context, Operator, Result,
        batch::{Row, fill, ones, set_bit, words_for},
        each_row,
        grid::Windows,
        matrix::{Matrix, Replay, SeriesInfo},
        range::RangeInput,
    },
    functions::{each_window, mixed::each_mixed_window},
    plan::{Node, NodeKind},
};

/// The labels of the result: those that the argument, if it is a selector, asks for by equality, unless it asks for the same label again after that.
pub(crate) fn labels(argument: &Node) -> Labels {
    match &argument.unmarked().kind {
        NodeKind::Selector(selector) => from_matchers(&selector.matchers),
        NodeKind::RangeSelector(range) => from_matchers(&range.selector.matchers),
        _ => Labels::empty(),
    }
}

fn from_matchers(matchers: &[Matcher]) -> Labels {
    let mut labels = LabelsBuilder::default();
    let mut known = HashSet::new();
    for matcher in matchers.iter().filter(|matcher| matcher.name() != model::METRIC_NAME) {
        let is_first_equality = matcher.op() == MatchOp::Equal && known.insert(matcher.name());
        labels.set(matcher.name(), if is_first_equality { matcher.value() } else { "" });
    }
    labels.build()
}

pub(crate) fn of_vector(
    context: &Context<'_>,
    operator: &mut dyn Operator,
    labels: Labels,
    steps: usize,
) -> Result<Replay> {
    let mut present = vec![0; words_for(steps)];
    each_row(context, operator, steps, |_, row| {
        present.iter_mut().zip(row.presence().iter()).for_each(|(all, row)| *all |= row);
        Ok(())
    })?;
    complement(context, &present, labels, steps)
}

pub(crate) fn of_range(
    context: &Context<'_>,
    mut input: RangeInput<'_>,
    windows: &Windows,
    labels: Labels,
) -> Result<Replay> {
    let mut present = vec![0; words_for(windows.len())];
    while input.advance()? {
        let (_, samples) = input.current();
        each_window(samples, windows, |step, _, _| set_bit(&mut present, step));
        each_mixed_window(samples, windows, |step, _| set_bit(&mut present, step));
    }
    complement(context, &present, labels, windows.len())
}

fn complement(context: &Context<'_>, present: &[u64], labels: Labels, steps: usize) -> Result<Replay> {
    let mut matrix = Matrix::new(context, steps);
    let mut all = vec![0; words_for(steps)];
    fill(&mut all, steps);
    all.iter_mut().zip(present).for_each(|(all, present)| *all &= !present);
    if ones(&all).next().is_some() {
        let values = vec![1.0; steps];
        matrix.push(0, Row::of_floats(&values, &all))?;
    }
    Ok(Replay::new(vec![SeriesInfo { labels, drops_name: false }], matrix, true))
}
