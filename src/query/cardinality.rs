//! Where the head's series come from: which metrics, labels and values have most of them, and most of the new ones.

use std::collections::BTreeMap;

use model::METRIC_NAME;
use shard::stats::ShardStats;
use tsdb::select::Cardinality as OfShard;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NamedCount {
    pub(crate) name: String,
    pub(crate) count: u64,
}

/// What `status/tsdb` shows. New is what was created within [`shard::growth::NEW`].
pub(crate) struct Cardinality {
    pub(crate) series: u64,
    pub(crate) label_pairs: u64,
    pub(crate) chunks: u64,
    pub(crate) min_time: Option<i64>,
    pub(crate) max_time: Option<i64>,
    pub(crate) series_by_metric: Vec<NamedCount>,
    pub(crate) values_by_label: Vec<NamedCount>,
    pub(crate) bytes_by_label: Vec<NamedCount>,
    pub(crate) series_by_pair: Vec<NamedCount>,
    pub(crate) new_series_by_metric: Vec<NamedCount>,
    /// Values all of whose series are new.
    pub(crate) new_values_by_label: Vec<NamedCount>,
    pub(crate) new_series_by_pair: Vec<NamedCount>,
}

/// Series of a label pair, over all shards.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    all: u64,
    new: u64,
}

type Pairs<'a> = BTreeMap<(&'a str, &'a str), Count>;

impl Cardinality {
    /// Joins the shards' counts; keeps `limit` of each list.
    pub(super) fn of(
        stats: &[ShardStats],
        shards: &[OfShard],
        times: (Option<i64>, Option<i64>),
        limit: usize,
    ) -> Self {
        let mut pairs = Pairs::new();
        for shard in shards {
            for counted in &shard.by_pair {
                let key = (shard.labels.name_of(counted.pair), shard.labels.value_of(counted.pair));
                let count = pairs.entry(key).or_default();
                count.all += counted.series;
                count.new += counted.new;
            }
        }
        let is_new = |count: &Count| u64::from(count.all > 0 && count.new == count.all);
        Self {
            series: stats.iter().map(|shard| shard.series).sum(),
            label_pairs: pairs.len() as u64,
            chunks: stats.iter().map(|shard| shard.chunks).sum(),
            min_time: times.0,
            max_time: times.1,
            series_by_metric: by_metric(&pairs, limit, |count| count.all),
            values_by_label: top(per_name(&pairs, |_, _| 1), limit),
            bytes_by_label: top(per_name(&pairs, |value, count| value.len() as u64 * count.all), limit),
            series_by_pair: by_pair(&pairs, limit, |count| count.all),
            new_series_by_metric: by_metric(&pairs, limit, |count| count.new),
            new_values_by_label: top(per_name(&pairs, |_, count| is_new(count)), limit),
            new_series_by_pair: by_pair(&pairs, limit, |count| count.new),
        }
    }
}

fn by_metric(pairs: &Pairs<'_>, limit: usize, of: impl Fn(&Count) -> u64) -> Vec<NamedCount> {
    let metrics = pairs.iter().filter(|((name, _), _)| *name == METRIC_NAME);
    top(metrics.map(|((_, value), count)| (*value, of(count))), limit)
}

fn by_pair(pairs: &Pairs<'_>, limit: usize, of: impl Fn(&Count) -> u64) -> Vec<NamedCount> {
    let largest = largest(pairs.iter().map(|(pair, count)| (pair, of(count))), limit).into_iter();
    largest.map(|((name, value), count)| NamedCount { name: format!("{name}={value}"), count }).collect()
}

/// Sums of something over the values of each label name.
fn per_name<'a>(pairs: &Pairs<'a>, measure: impl Fn(&str, &Count) -> u64) -> BTreeMap<&'a str, u64> {
    let mut sums = BTreeMap::new();
    for ((name, value), count) in pairs {
        *sums.entry(*name).or_default() += measure(value, count);
    }
    sums
}

fn top<'a>(counts: impl IntoIterator<Item = (&'a str, u64)>, limit: usize) -> Vec<NamedCount> {
    let largest = largest(counts, limit).into_iter();
    largest.map(|(name, count)| NamedCount { name: name.to_owned(), count }).collect()
}

/// The largest counts, largest first; equal ones in the order in which they came, none that are zero.
fn largest<T>(counts: impl IntoIterator<Item = (T, u64)>, limit: usize) -> Vec<(T, u64)> {
    let mut counts: Vec<_> = counts.into_iter().filter(|(_, count)| *count > 0).collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts.truncate(limit);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_come_first() {
        let count = |all, new| Count { all, new };
        let pairs = Pairs::from([
            ((METRIC_NAME, "up"), count(3, 1)),
            ((METRIC_NAME, "go"), count(5, 0)),
            (("job", "node"), count(8, 1)),
            (("job", "x"), count(1, 1)),
        ]);
        let named = |name: &str, count| NamedCount { name: name.to_owned(), count };
        assert_eq!(by_metric(&pairs, 10, |count| count.all), [named("go", 5), named("up", 3)]);
        assert_eq!(by_metric(&pairs, 10, |count| count.new), [named("up", 1)]);
        assert_eq!(by_pair(&pairs, 2, |count| count.all), [named("job=node", 8), named("__name__=go", 5)]);
        let bytes = per_name(&pairs, |value, count| value.len() as u64 * count.all);
        assert_eq!(top(bytes, 10), [named("job", 33), named(METRIC_NAME, 16)]);
    }
}
