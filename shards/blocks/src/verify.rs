//! Checking a block as a whole: what opening and reading it check where they come by, for everything in it.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

use model::Labels;
use tsdb::block::{ChunkMeta, index::SeriesEntry};

use crate::{
    block::Block,
    error::{Damage, DamageKind},
};

/// What was looked at, and what is wrong with it.
#[derive(Debug, Default)]
pub struct Verified {
    pub series: u64,
    pub chunks: u64,
    pub samples: u64,
    pub damage: Vec<Damage>,
}

impl Block {
    /// Reads everything. A damaged part does not keep the others from being looked at.
    pub fn verify(&self) -> Verified {
        let mut verified = Verified::default();
        let mut listed = Listed::default();
        match self.index().all_postings() {
            Ok(postings) => {
                let references = (0..).map_while(|at| postings.get(at));
                self.verify_series(references, &mut listed, &mut verified);
            }
            Err(what) => verified.damage.push(Damage { path: self.folder().join("index"), what: what.into() }),
        }
        self.verify_names(listed, &mut verified);
        let stats = &self.meta.stats;
        let counted = (verified.series, verified.chunks, verified.samples);
        let said = (stats.num_series, stats.num_chunks, stats.num_samples);
        if verified.damage.is_empty() && counted != said {
            let what = DamageKind::Meta(format!(
                "it counts {} series, {} chunks and {} samples where there are {}, {} and {}",
                said.0, said.1, said.2, counted.0, counted.1, counted.2
            ));
            verified.damage.push(Damage { path: self.folder().join("meta.json"), what });
        }
        self.release_pages();
        verified
    }

    fn verify_series(&self, references: impl Iterator<Item = u32>, listed: &mut Listed, verified: &mut Verified) {
        let mut entry = SeriesEntry::default();
        let mut last: Option<Labels> = None;
        for reference in references {
            let labels = self.series(reference, &mut entry).and_then(|()| self.labels(&entry.labels));
            let labels = match labels {
                Ok(labels) => labels,
                Err(damage) => {
                    verified.damage.push(damage);
                    continue;
                }
            };
            labels.iter().for_each(|label| listed.add(label.name, label.value, reference));
            if last.as_ref().is_some_and(|last| *last >= labels) {
                let what = DamageKind::SeriesOrder(labels.to_string());
                verified.damage.push(Damage { path: self.folder().join("index"), what });
            }
            verified.series += 1;
            let mut end = i64::MIN;
            for chunk in &entry.chunks {
                verified.chunks += 1;
                let checked = if chunk.min_time <= end && end != i64::MIN {
                    Err(self.chunk_damage(chunk, "it begins before the one before it has ended"))
                } else {
                    self.verify_chunk(chunk, verified)
                };
                end = chunk.max_time;
                checked.unwrap_or_else(|damage| verified.damage.push(damage));
            }
            last = Some(labels);
        }
    }

    fn verify_chunk(&self, chunk: &ChunkMeta, verified: &mut Verified) -> Result<(), Damage> {
        let samples = self.samples(chunk)?;
        verified.samples += samples.len() as u64;
        if !samples.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(self.chunk_damage(chunk, "its times do not ascend"));
        }
        match (samples.first(), samples.last()) {
            (Some((first, _)), Some((last, _))) if (*first, *last) == (chunk.min_time, chunk.max_time) => Ok(()),
            _ => Err(self.chunk_damage(chunk, "its times are not those that the index gives")),
        }
    }

    /// Every list of series that a label pair has, held against the series' own labels.
    fn verify_names(&self, mut listed: Listed, verified: &mut Verified) {
        let is_whole = verified.damage.is_empty();
        let names = match self.label_names() {
            Ok(names) => names,
            Err(damage) => return verified.damage.push(damage),
        };
        for name in names {
            let checked = self.each_label_value(name, &mut |value| {
                let path = || self.folder().join("index");
                let postings = self.index().postings(name, value);
                let postings = postings.map_err(|what| Damage { path: path(), what: what.into() })?;
                let references = (0..).map_while(|at| postings.get(at));
                if !listed.take(name, value, references) && is_whole {
                    return Err(Damage { path: path(), what: DamageKind::Listed(format!("{name}={value:?}")) });
                }
                Ok(())
            });
            checked.unwrap_or_else(|damage| verified.damage.push(damage));
        }
        if is_whole && verified.damage.is_empty() && !listed.pairs.is_empty() {
            let what = DamageKind::Listed(format!("no list, for {} pairs of labels,", listed.pairs.len()));
            verified.damage.push(Damage { path: self.folder().join("index"), what });
        }
    }
}

/// Which series have a label pair: how many, and a sum over them, by the pair's hash.
#[derive(Default)]
struct Listed {
    pairs: HashMap<u64, (u32, u64)>,
    hasher: RandomState,
}

impl Listed {
    fn add(&mut self, name: &str, value: &str, reference: u32) {
        let weight = self.hasher.hash_one(reference);
        let (count, sum) = self.pairs.entry(self.hasher.hash_one((name, value))).or_default();
        *count += 1;
        *sum = sum.wrapping_add(weight);
    }

    /// Whether these are the series that have the pair.
    fn take(&mut self, name: &str, value: &str, references: impl Iterator<Item = u32>) -> bool {
        let zero = (0u32, 0u64);
        let add =
            |(count, sum): (u32, u64), reference: u32| (count + 1, sum.wrapping_add(self.hasher.hash_one(reference)));
        let found = references.fold(zero, add);
        self.pairs.remove(&self.hasher.hash_one((name, value))).unwrap_or(zero) == found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_held_against_labels() {
        let mut listed = Listed::default();
        for (value, reference) in [("a", 4), ("b", 5), ("a", 9)] {
            listed.add("job", value, reference);
        }
        assert!(listed.take("job", "a", [4, 9].into_iter()));
        assert!(!listed.take("job", "a", [4, 9].into_iter()), "a list twice");
        assert!(!listed.take("job", "b", [6].into_iter()), "another series");
        listed.add("job", "b", 5);
        assert!(!listed.take("job", "b", [5, 5].into_iter()), "a series twice");
        assert!(listed.pairs.is_empty() && listed.take("job", "c", [].into_iter()));
    }
}
