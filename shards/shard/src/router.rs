//! Which shard a series belongs to, and which parts of a batch.

use model::{SeriesId, WriteBatch, identity::PARTITIONS};

/// The shard that owns a series: partitions are dealt out in equal ranges.
#[inline]
pub fn shard_of(id: SeriesId, shards: usize) -> usize {
    (id.partition() as usize * shards) / PARTITIONS as usize
}

/// Parts of a batch by shard: positions in [`WriteBatch::series`], or `None` for all of them. Shards without a part are left
/// out, as waking one costs more than most parts bring.
pub fn split(batch: &dyn WriteBatch, shards: usize) -> Vec<(usize, Option<Vec<u32>>)> {
    let (series, places, (_, ended)) = (batch.series(), batch.places(), batch.ended());
    if series.is_empty() && ended.is_empty() {
        return Vec::new();
    }
    if shards == 1 {
        return vec![(0, None)];
    }
    let mut parts = vec![Vec::new(); shards];
    for (position, entry) in series.iter().enumerate() {
        let shard = match places.get(position) {
            Some(Some(place)) => usize::from(place.shard),
            _ => shard_of(entry.id, shards),
        };
        parts[shard].push(position as u32);
    }
    let mut has_ended = vec![false; shards];
    ended.iter().for_each(|place| has_ended[usize::from(place.shard)] = true);
    parts
        .into_iter()
        .enumerate()
        .filter(|(shard, part)| !part.is_empty() || has_ended[*shard])
        .map(|(shard, part)| (shard, Some(part)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_has_one_owner_and_owners_are_even() {
        for shards in [1, 2, 3, 7, 64] {
            let mut owned = vec![0; shards];
            for partition in 0..u64::from(PARTITIONS) {
                owned[shard_of(SeriesId { low: 0, high: partition << 52 }, shards)] += 1;
            }
            let (least, most) = (owned.iter().min(), owned.iter().max());
            assert!(most.unwrap_or(&0) - least.unwrap_or(&0) <= 1, "{owned:?}");
        }
    }
}
