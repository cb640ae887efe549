//! Finds selections that several places of a query read (`a / (a + b)`), so that their samples are read and decoded once.
//!
//! Two selectors share when they have the same matchers and look at the same time, whatever the width of their windows.

use crate::plan::{Node, NodeKind, Selector, SelectorHints, Shared, TimeShift};

/// Numbers the selections that occur more than once. `lookback` is the width of an instant selector's window.
pub(crate) fn share(node: &mut Node, lookback: i64) {
    let mut found: Vec<Found> = Vec::new();
    let mut nesting = Vec::new();
    each(node, lookback, &mut nesting, &mut |key, range, _| match found.iter_mut().find(|have| have.key == key) {
        Some(have) => (have.count, have.range_max) = (have.count + 1, have.range_max.max(range)),
        None => found.push(Found { key, count: 1, range_max: range }),
    });
    found.retain(|found| found.count > 1);
    each(node, lookback, &mut nesting, &mut |key, _, selector| {
        let id = found.iter().position(|have| have.key == key);
        selector.shared = id.map(|id| Shared { id, range_max: found[id].range_max });
    });
}

struct Found {
    key: Key,
    count: usize,
    range_max: i64,
}

/// What two selectors must have in common. The nesting keeps subqueries apart: they are evaluated at other times.
#[derive(PartialEq)]
struct Key {
    selector: Selector,
    nesting: Vec<Level>,
}

/// Range, step and time of a subquery; all zero for what is evaluated once.
type Level = (i64, i64, TimeShift);

fn each(node: &mut Node, lookback: i64, nesting: &mut Vec<Level>, visit: &mut impl FnMut(Key, i64, &mut Selector)) {
    let selector = match &mut node.kind {
        NodeKind::Selector(selector) => Some((selector, lookback)),
        NodeKind::RangeSelector(range) => Some((&mut range.selector, range.range)),
        _ => None,
    };
    if let Some((selector, range)) = selector {
        let bare = Selector { hints: SelectorHints::default(), shared: None, ..selector.clone() };
        visit(Key { selector: bare, nesting: nesting.clone() }, range, selector);
        return;
    }
    let level = match &node.kind {
        NodeKind::Subquery(subquery) => Some((subquery.range, subquery.step, subquery.time)),
        NodeKind::StepInvariant(_) => Some((0, 0, TimeShift::default())),
        _ => None,
    };
    nesting.extend(level);
    for child in node.children_mut() {
        each(child, lookback, nesting, visit);
    }
    if level.is_some() {
        nesting.pop();
    }
}
