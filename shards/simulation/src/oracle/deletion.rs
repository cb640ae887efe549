//! What the oracle knows of deletions.
//!
//! A deletion takes what a series has at some moment between being asked for and being done. So of what it reaches, everything that was
//! certain before must be gone afterwards; everything that was sent later must be judged as ever; and what was sent meanwhile, or was
//! on its way, may be there or not. The same goes for a deletion that nobody knows to be done, until the next start shows what it did.
//!
//! A store may keep in mind what it does not show any more, and call a sample a repetition, or too old, on account of a deleted one. So
//! what is sent for such times may be accepted and not be there, and may be rejected. One that takes samples out of order may also keep them anew.

use model::Sample;

use super::{Oracle, Series, Verdict};
use crate::system::Selection;

pub(super) struct OpenDeletion {
    selection: Selection,
    /// What was certain before: series and time.
    doomed: Vec<(u32, i64)>,
    /// The last send before it was asked for.
    after: u64,
}

impl OpenDeletion {
    fn reaches(&self, series: &Series, time: i64) -> bool {
        (self.selection.from..=self.selection.to).contains(&time) && self.selection.matches(&series.labels)
    }
}

impl Oracle {
    /// A deletion is asked for; the number stands for it.
    pub fn deleting(&mut self, selection: &Selection) -> u64 {
        let mut doomed = Vec::new();
        for (index, series) in (0..).zip(&mut self.series).filter(|(_, series)| selection.matches(&series.labels)) {
            for (&time, entry) in series.times.range_mut(selection.from..=selection.to) {
                if entry.certain.take().is_some() || entry.condemned {
                    entry.condemned = true;
                    doomed.push((index, time));
                }
                series.shadow = series.shadow.max(time);
                series.buried.entry(time).or_default().extend(entry.candidates.iter().map(|candidate| candidate.bits));
            }
        }
        self.last_deletion += 1;
        self.deletions
            .insert(self.last_deletion, OpenDeletion { selection: selection.clone(), doomed, after: self.last_send });
        self.last_deletion
    }

    /// The answer has come that it is done.
    pub fn deleted(&mut self, deletion: u64) -> Verdict {
        let Some(OpenDeletion { selection, doomed, after }) = self.deletions.remove(&deletion) else {
            return Err(format!("deletion {deletion} was answered twice"));
        };
        self.moment += 1;
        self.counts.deletions_done += 1;
        self.counts.samples_deleted += doomed.len() as u64;
        for (index, time) in doomed {
            if self.promises.in_order_only || !self.may_come_again(index, time, after) {
                self.series[index as usize].gone.entry(time).or_insert(self.moment);
            }
        }
        for series in self.series.iter_mut().filter(|series| selection.matches(&series.labels)) {
            series.deleted_at = self.moment;
        }
        Ok(())
    }

    /// Whether a send that a deletion may not have met brings a sample of a time.
    fn may_come_again(&self, index: u32, time: i64, after: u64) -> bool {
        let may = |send: u64| send > after || self.open.contains_key(&send);
        let entry = self.series[index as usize].times.get(&time);
        entry.is_some_and(|entry| entry.candidates.iter().any(|of| may(of.first_send) || may(of.last_send)))
    }

    /// A sample goes out that a deletion under way may take.
    pub(super) fn shade(&mut self, index: u32, time: i64) {
        let series = &mut self.series[index as usize];
        if !self.promises.in_order_only {
            // It may be kept anew, whatever has been there.
            series.gone.remove(&time);
        }
        if self.deletions.values().any(|deletion| deletion.reaches(series, time)) {
            series.shadow = series.shadow.max(time);
        }
    }

    /// Whether what a read has seen that began at `began` must stay.
    pub(super) fn stays(&self, index: u32, time: i64, began: u64) -> bool {
        let series = &self.series[index as usize];
        series.deleted_at <= began && !self.deletions.values().any(|deletion| deletion.reaches(series, time))
    }
}

impl Series {
    /// Nothing is there that was deleted.
    pub(super) fn check_gone(&self, samples: &[Sample], began: u64) -> Verdict {
        let is_gone = |sample: &&Sample| self.gone.get(&sample.time.0).is_some_and(|&since| since <= began);
        match samples.iter().find(is_gone) {
            Some(sample) => Err(format!(
                "deleted sample is back: {} at {} bits {:016x}",
                self.labels,
                sample.time.0,
                sample.value.to_bits()
            )),
            None => Ok(()),
        }
    }
}
