//! sort, sort_desc, sort_by_label and their like: the order of an instant vector.

use std::cmp::Ordering;

use crate::{
    exec::{
        Context, Operator, Result,
        batch::Row,
        matrix::{Matrix, Replay, SeriesInfo},
    },
    functions::Direction,
};

/// The vector of an instant query, ordered by value, NaN last either way. Histograms have no order and go.
pub(crate) fn by_value(context: &Context<'_>, operator: &mut dyn Operator, direction: Direction) -> Result<Replay> {
    let is_float = |row: Row<'_>| row.get(0).is_some();
    ordered(context, operator, is_float, |left, right| by_direction(left.1, right.1, direction))
}

pub(crate) fn by_direction(left: f64, right: f64, direction: Direction) -> Ordering {
    match left.partial_cmp(&right) {
        Some(order) if direction == Direction::Ascending => order,
        Some(order) => order.reverse(),
        None => left.is_nan().cmp(&right.is_nan()),
    }
}

/// The vector of an instant query, ordered by the values of labels, then by all labels.
pub(crate) fn by_label(
    context: &Context<'_>,
    operator: &mut dyn Operator,
    labels: &[String],
    direction: Direction,
) -> Result<Replay> {
    ordered(
        context,
        operator,
        |_| true,
        |(left, _), (right, _)| {
            let value = |info: &SeriesInfo, name: &str| info.labels.get(name).unwrap_or_default().to_owned();
            let by_listed = labels
                .iter()
                .map(|name| natural_order(&value(left, name), &value(right, name)))
                .find(|order| order.is_ne())
                .unwrap_or_else(|| left.labels.cmp(&right.labels));
            if direction == Direction::Ascending { by_listed } else { by_listed.reverse() }
        },
    )
}

fn ordered(
    context: &Context<'_>,
    operator: &mut dyn Operator,
    stays: impl Fn(Row<'_>) -> bool,
    compare: impl Fn((&SeriesInfo, f64), (&SeriesInfo, f64)) -> Ordering,
) -> Result<Replay> {
    let unique = operator.is_unique_without_name();
    let mut collected = Matrix::collect(context, operator, 1)?;
    let mut infos = Vec::with_capacity(collected.rows.rows());
    for row in 0..collected.rows.rows() {
        let series = collected.rows.series(row) as usize;
        infos.push(SeriesInfo { labels: operator.labels(series), drops_name: operator.drops_name(series) });
        collected.rows.set_series(row, row as u32);
    }
    let mut order: Vec<usize> = (0..infos.len()).filter(|row| stays(collected.rows.row(*row))).collect();
    let key = |row: usize| (&infos[row], collected.rows.row(row).values[0]);
    order.sort_by(|left, right| compare(key(*left), key(*right)));
    Ok(Replay::ordered(infos, collected, order, unique))
}

/// Runs of digits compare as numbers, everything else byte by byte.
fn natural_order(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left.as_bytes(), right.as_bytes());
    while let (Some(l), Some(r)) = (left.first(), right.first()) {
        if l.is_ascii_digit() && r.is_ascii_digit() {
            let (left_digits, left_rest) = digits(left);
            let (right_digits, right_rest) = digits(right);
            let by_number = left_digits.len().cmp(&right_digits.len()).then_with(|| left_digits.cmp(right_digits));
            if by_number.is_ne() {
                return by_number;
            }
            (left, right) = (left_rest, right_rest);
        } else if l != r {
            return l.cmp(r);
        } else {
            (left, right) = (&left[1..], &right[1..]);
        }
    }
    left.len().cmp(&right.len())
}

/// A number's digits without leading zeros, and what follows.
fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let zeros = text[..end].iter().take_while(|byte| **byte == b'0').count().min(end - 1);
    (&text[zeros..end], &text[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_labels_sort_as_numbers() {
        let mut names = ["node10", "node2", "node1", "node02x", "edge"];
        names.sort_by(|left, right| natural_order(left, right));
        assert_eq!(names, ["edge", "node1", "node2", "node02x", "node10"]);
    }
}
