//! Targets: what discovery finds, and what a job makes of it.

pub(crate) mod file;
pub(crate) mod labels;
pub(crate) mod relabel;

use model::Labels;

/// Targets that were found together. Their own labels go before those that they have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct TargetGroup {
    pub(crate) targets: Vec<Labels>,
    pub(crate) labels: Labels,
}

/// Where a target is.
pub(crate) const ADDRESS: &str = "__address__";
/// What discovery says of a target, which is gone after relabelling.
const META_PREFIX: &str = "__meta_";
/// What labels begin with that samples do not get.
pub(crate) const RESERVED_PREFIX: &str = "__";
