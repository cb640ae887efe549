//! Knows every sample that was ever sent, and judges what reads give back.
//!
//! For each series and time it keeps the values that were sent (these *may* be there) and the one that was acknowledged (this
//! *must* be there, with these bits). Judged:
//! - an acknowledged sample is in every read that starts after its acknowledgement, before and after any crash;
//! - nothing is read that was not sent, no time twice, none out of order, no series twice, none with other bits;
//! - what was rejected for certain, or was not there after a restart, does not come later unless it is sent again;
//! - the counts of an answer: no good sample rejected, no bad one accepted;
//! - where promised: parts of requests are whole or absent, and what was seen stays;
//! - what was there before a deletion that succeeded is in no read that starts after it, whatever is sent again.
//!
//! Not judged: which of several concurrent writers of a series wins, as long as one does; reads' order of series; speed.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use model::{Labels, Sample};

use self::deletion::OpenDeletion;
use crate::system::{Promises, ReadAnswer, Request, Selection};

mod deletion;

pub struct Oracle {
    promises: Promises,
    series: Vec<Series>,
    by_labels: BTreeMap<Labels, u32>,
    /// Counts acknowledgements and sightings, to tell which came before a read.
    moment: u64,
    last_send: u64,
    /// Sent and not known to be settled, by number of the send.
    open: BTreeMap<u64, OpenSend>,
    partials: Vec<Partial>,
    last_deletion: u64,
    /// Asked for and not known to be done, by number.
    deletions: BTreeMap<u64, OpenDeletion>,
    newest_time_sent: i64,
    /// The wall clock jumped, so any sample may be called too far in the future.
    clock_jumped: bool,
    counts: OracleCounts,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OracleCounts {
    pub requests_acknowledged: u64,
    pub samples_acknowledged: u64,
    pub samples_rejected: u64,
    pub reads: u64,
    pub samples_read: u64,
    pub deletions_done: u64,
    pub samples_deleted: u64,
    /// Acknowledged samples that rot took, as far as damage was reported.
    pub lost_to_rot: u64,
}

struct Series {
    labels: Labels,
    shard: usize,
    times: BTreeMap<i64, Entry>,
    /// When the last deletion that reaches the series was done.
    deleted_at: u64,
    /// Up to here a store may know a sample as there that it does not show.
    shadow: i64,
    /// Times whose sample was deleted, with the moment since when it must not be seen.
    gone: BTreeMap<i64, u64>,
    /// Bits of what a deletion was to take: they come back if what says so rots away.
    buried: BTreeMap<i64, BTreeSet<u64>>,
}

#[derive(Default)]
struct Entry {
    candidates: Vec<Candidate>,
    certain: Option<Certain>,
    /// It was certain when a deletion was asked for that is not known to be done.
    condemned: bool,
}

#[derive(Clone, Copy)]
struct Candidate {
    bits: u64,
    /// The first send that had it; `SETTLED` when it is known to be there.
    first_send: u64,
    last_send: u64,
}

impl Candidate {
    /// Whether this send brought it and no other.
    fn is_sole(&self, send: u64) -> bool {
        self.first_send == send && self.last_send == send
    }
}

const SETTLED: u64 = 0;

#[derive(Clone, Copy)]
struct Certain {
    bits: u64,
    since: u64,
    why: Why,
}

/// Why a sample must be there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    Acknowledged,
    Seen,
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if *self == Self::Acknowledged { "acknowledged" } else { "seen" })
    }
}

struct OpenSend {
    request: Rc<Request>,
    /// By sample: whether what was certain when it was sent leaves only rejection, or only success.
    forecast: Vec<Forecast>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Forecast {
    MustReject,
    MustAccept,
    Open,
}

/// Of these samples so many were accepted; which ones, nobody said.
struct Partial {
    samples: Vec<(u32, Sample)>,
    accepted: usize,
}

/// A broken promise, in words.
pub type Verdict = Result<(), String>;

impl Oracle {
    /// An oracle over the workload's series; `shard_of` says who owns which.
    pub fn new(promises: Promises, pool: &[Labels], shard_of: impl Fn(&Labels) -> usize) -> Self {
        let series = pool.iter().map(|labels| Series::new(labels.clone(), shard_of(labels))).collect();
        let by_labels = pool.iter().cloned().zip(0..).collect();
        Self {
            promises,
            series,
            by_labels,
            moment: 0,
            last_send: SETTLED,
            open: BTreeMap::new(),
            partials: Vec::new(),
            last_deletion: 0,
            deletions: BTreeMap::new(),
            newest_time_sent: i64::MIN,
            clock_jumped: false,
            counts: OracleCounts::default(),
        }
    }

    pub fn counts(&self) -> OracleCounts {
        self.counts
    }

    pub fn note_clock_jump(&mut self) {
        self.clock_jumped = true;
    }

    /// A request goes out; the number stands for this sending of it.
    pub fn sending(&mut self, request: &Rc<Request>) -> u64 {
        self.last_send += 1;
        let forecast = request.samples().map(|(index, sample)| self.forecast(index, sample)).collect();
        for (index, sample) in request.samples() {
            self.newest_time_sent = self.newest_time_sent.max(sample.time.0);
            self.series[index as usize]
                .times
                .entry(sample.time.0)
                .or_default()
                .add(sample.value.to_bits(), self.last_send);
            self.shade(index, sample.time.0);
        }
        self.open.insert(self.last_send, OpenSend { request: Rc::clone(request), forecast });
        self.last_send
    }

    /// The answer to a send has come, and it is an acknowledgement.
    pub fn acknowledged(&mut self, send: u64, accepted: usize, rejected: usize) -> Verdict {
        let Some(OpenSend { request, forecast }) = self.open.remove(&send) else {
            return Err(format!("send {send} was answered twice"));
        };
        let total = request.sample_count();
        if accepted + rejected != total {
            return Err(format!("{accepted} accepted and {rejected} rejected of {total} samples"));
        }
        let may_reject = self.may_reject(send, &request, &forecast);
        let must = forecast.iter().filter(|&&forecast| forecast == Forecast::MustReject).count();
        let may = may_reject.iter().filter(|&&may| may).count();
        if !(must..=may).contains(&rejected) {
            return Err(format!(
                "{rejected} of {total} samples rejected, where at least {must} and at most {may} deserve it: {}",
                self.describe(&request, &forecast, &may_reject)
            ));
        }
        self.counts.requests_acknowledged += 1;
        self.counts.samples_acknowledged += accepted as u64;
        self.counts.samples_rejected += rejected as u64;
        self.moment += 1;
        let mut unsure = Vec::new();
        for (((index, sample), forecast), doubtful) in request.samples().zip(forecast).zip(may_reject) {
            match (forecast, doubtful) {
                (Forecast::MustReject, _) => self.withdraw(index, sample, send),
                (_, false) => self.make_certain(index, sample, Why::Acknowledged)?,
                (_, true) if rejected == must => self.make_certain(index, sample, Why::Acknowledged)?,
                (_, true) if rejected == may => self.withdraw(index, sample, send),
                (_, true) => unsure.push((index, sample)),
            }
        }
        if !unsure.is_empty() {
            let accepted = unsure.len() - (rejected - must);
            self.partials.push(Partial { samples: unsure, accepted });
        }
        Ok(())
    }

    /// A read begins; the number is for [`Oracle::check_read`].
    pub fn reading(&self) -> u64 {
        self.moment
    }

    /// Judges an answer to a read that began at `began`.
    pub fn check_read(&mut self, began: u64, selection: &Selection, answer: &ReadAnswer) -> Verdict {
        self.counts.reads += 1;
        let seen = self.index_answer(selection, answer)?;
        for (index, series) in self.series.iter().enumerate() {
            if !selection.matches(&series.labels) {
                continue;
            }
            let index = index as u32;
            let samples = seen.get(&index).copied().unwrap_or_default();
            series.check_samples(samples, selection, &self.promises)?;
            series.check_gone(samples, began)?;
            if let Some((missing, why)) = series.missing(samples, selection, began).next() {
                return Err(format!(
                    "sample lost that was {why}: {} at {missing}, shard {}",
                    series.labels, series.shard
                ));
            }
        }
        if self.promises.parts_are_atomic && selection.is_everything() {
            self.check_parts(&seen)?;
        }
        self.counts.samples_read += seen.values().map(|samples| samples.len() as u64).sum::<u64>();
        if self.promises.visible_is_durable && !answer.provisional {
            let seen = seen.iter().flat_map(|(&index, samples)| samples.iter().map(move |&sample| (index, sample)));
            let seen: Vec<(u32, Sample)> =
                seen.filter(|(index, sample)| self.stays(*index, sample.time.0, began)).collect();
            self.moment += 1;
            seen.into_iter().try_for_each(|(index, sample)| self.make_certain(index, sample, Why::Seen))?;
        }
        Ok(())
    }

    /// Judges a read of everything right after a start, when nothing is on its way. What it shows is there for good; what it does
    /// not show is gone for good. With `damaged`, acknowledged samples may be missing; the count of those is returned.
    pub fn settle(&mut self, answer: &ReadAnswer, damaged: bool) -> Result<usize, String> {
        let mut lost = 0;
        if damaged {
            lost = self.accept_losses(answer)?;
        }
        self.check_read(self.moment, &Selection::EVERYTHING, answer)?;
        let seen = self.index_answer(&Selection::EVERYTHING, answer)?;
        if !damaged {
            self.check_partials(&seen)?;
        }
        let seen: BTreeMap<u32, Vec<Sample>> =
            seen.into_iter().map(|(index, samples)| (index, samples.to_vec())).collect();
        self.partials.clear();
        self.open.clear();
        self.deletions.clear();
        self.moment += 1;
        for (index, series) in self.series.iter_mut().enumerate() {
            let samples = seen.get(&(index as u32)).map_or(&[][..], |samples| samples);
            let mut before = std::mem::take(&mut series.times);
            let settled = samples.iter().map(|sample| (sample.time.0, Entry::settled(*sample, self.moment)));
            series.times = settled.collect();
            if !self.promises.contradictions_are_rejected {
                for (time, entry) in &mut series.times {
                    let others = before.remove(time).map(|entry| entry.candidates).unwrap_or_default();
                    others.iter().for_each(|other| entry.add(other.bits, SETTLED));
                }
            }
        }
        Ok(lost)
    }

    /// Forgets acknowledged samples that are missing, and what else a lost sample makes uncertain.
    fn accept_losses(&mut self, answer: &ReadAnswer) -> Result<usize, String> {
        let seen = self.index_answer(&Selection::EVERYTHING, answer)?;
        let mut lost = 0;
        for (index, series) in self.series.iter_mut().enumerate() {
            let samples = seen.get(&(index as u32)).copied().unwrap_or_default();
            let missing = series.missing(samples, &Selection::EVERYTHING, self.moment);
            let missing: Vec<i64> = missing.map(|(time, _)| time).collect();
            lost += missing.len();
            for time in missing {
                series.times.remove(&time);
            }
            // What says that samples were deleted may have rotted away, or the samples: then they are back, or can be stored anew.
            series.gone.clear();
            for sample in samples {
                let bits = sample.value.to_bits();
                if series.buried.get(&sample.time.0).is_some_and(|buried| buried.contains(&bits)) {
                    series.times.entry(sample.time.0).or_default().add(bits, SETTLED);
                }
            }
        }
        // Half of a part may have rotted away.
        self.open.clear();
        self.counts.lost_to_rot += lost as u64;
        Ok(lost)
    }

    /// The samples by series of the pool, where each series is one of ours, wanted, and there once.
    fn index_answer<'a>(
        &self,
        selection: &Selection,
        answer: &'a ReadAnswer,
    ) -> Result<BTreeMap<u32, &'a [Sample]>, String> {
        let mut seen = BTreeMap::new();
        for (labels, samples) in &answer.series {
            let Some(&index) = self.by_labels.get(labels) else { return Err(format!("invented series {labels}")) };
            if !selection.matches(labels) {
                return Err(format!("series {labels} was not selected"));
            }
            if seen.insert(index, &samples[..]).is_some() {
                return Err(format!("series {labels} comes twice"));
            }
        }
        Ok(seen)
    }

    fn forecast(&self, index: u32, sample: Sample) -> Forecast {
        let series = &self.series[index as usize];
        let bits = sample.value.to_bits();
        let entry = series.times.get(&sample.time.0);
        // An earlier send without an answer may have left it there; then this is a retry.
        let tried = entry.is_some_and(|entry| entry.candidates.iter().any(|candidate| candidate.bits == bits));
        let there = entry.and_then(|entry| entry.certain);
        let newer = series.times.range(sample.time.0 + 1..).any(|(_, entry)| entry.certain.is_some());
        match there {
            Some(there) if there.bits != bits && self.promises.contradictions_are_rejected => Forecast::MustReject,
            Some(there) if there.bits != bits => Forecast::Open,
            Some(_) if self.promises.retry_is_success => Forecast::MustAccept,
            None if newer && !tried && sample.time.0 > series.shadow && self.promises.in_order_only => {
                Forecast::MustReject
            }
            _ => Forecast::Open,
        }
    }

    /// By sample: whether there is any reason to reject it, given all that was sent until now.
    fn may_reject(&self, send: u64, request: &Request, forecast: &[Forecast]) -> Vec<bool> {
        let mut earlier: BTreeMap<u32, BTreeMap<i64, BTreeSet<u64>>> = BTreeMap::new();
        let mut may_reject = Vec::with_capacity(forecast.len());
        for ((index, sample), forecast) in request.samples().zip(forecast) {
            let (time, bits) = (sample.time.0, sample.value.to_bits());
            let own = earlier.entry(index).or_default();
            let own_reason = own.range(time + 1..).next().is_some()
                || own.get(&time).is_some_and(|values| values.iter().any(|&value| value != bits));
            may_reject.push(match forecast {
                Forecast::MustReject => true,
                _ if time <= self.series[index as usize].shadow => true,
                Forecast::MustAccept => self.out_of_bounds(time),
                Forecast::Open => own_reason || self.others_reason(send, index, time, bits),
            });
            own.entry(time).or_default().insert(bits);
        }
        may_reject
    }

    /// Whether something outside of one send may be the reason to reject a sample of it.
    fn others_reason(&self, send: u64, index: u32, time: i64, bits: u64) -> bool {
        let series = &self.series[index as usize];
        let foreign = |candidate: &Candidate| !candidate.is_sole(send);
        let newer = || series.times.range(time + 1..).rev().any(|(_, entry)| entry.candidates.iter().any(foreign));
        let conflict = || {
            series.times.get(&time).is_some_and(|entry| {
                entry.candidates.iter().any(|candidate| candidate.bits != bits && foreign(candidate))
            })
        };
        self.out_of_bounds(time) || newer() || conflict()
    }

    /// Whether a sample may be too old or too far in the future.
    fn out_of_bounds(&self, time: i64) -> bool {
        self.clock_jumped || time < self.newest_time_sent.saturating_sub(self.promises.past_bound_ms)
    }

    fn make_certain(&mut self, index: u32, sample: Sample, why: Why) -> Verdict {
        let since = self.moment;
        let series = &mut self.series[index as usize];
        // It may be a repetition of what was deleted.
        if why == Why::Acknowledged && sample.time.0 <= series.shadow {
            return Ok(());
        }
        let entry = series.times.entry(sample.time.0).or_default();
        let bits = sample.value.to_bits();
        match entry.certain {
            Some(certain) if certain.bits != bits && self.promises.contradictions_are_rejected => Err(format!(
                "{} at {} was {} with bits {:016x}, and now {why} with {bits:016x}",
                series.labels, sample.time.0, certain.why, certain.bits
            )),
            Some(Certain { since, .. }) if why == Why::Acknowledged => {
                entry.certain = Some(Certain { bits, since, why });
                Ok(())
            }
            Some(_) => Ok(()),
            None => {
                entry.certain = Some(Certain { bits, since, why });
                Ok(())
            }
        }
    }

    /// A send's sample was rejected: if nobody else sent it, it must never be seen.
    fn withdraw(&mut self, index: u32, sample: Sample, send: u64) {
        let times = &mut self.series[index as usize].times;
        let Some(entry) = times.get_mut(&sample.time.0) else { return };
        let bits = sample.value.to_bits();
        // The same sample twice in one request: the second, behind a newer one, may be rejected where the first was not.
        if entry.certain.is_some_and(|certain| certain.bits == bits) {
            return;
        }
        entry.candidates.retain(|candidate| candidate.bits != bits || !candidate.is_sole(send));
        if entry.candidates.is_empty() && entry.certain.is_none() {
            times.remove(&sample.time.0);
        }
    }

    /// Of each unanswered send, what only it brought and nothing speaks against must be visible wholly or not at all, by shard.
    fn check_parts(&self, seen: &BTreeMap<u32, &[Sample]>) -> Verdict {
        for (&send, open) in &self.open {
            let may_reject = self.may_reject(send, &open.request, &open.forecast);
            let mut parts: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
            for ((index, sample), may) in open.request.samples().zip(may_reject) {
                let series = &self.series[index as usize];
                if may || !series.is_sole(sample, send) {
                    continue;
                }
                let visible = seen.get(&index).is_some_and(|samples| contains(samples, sample));
                let part = parts.entry(series.shard).or_default();
                part.0 += usize::from(visible);
                part.1 += 1;
            }
            if let Some((shard, (visible, all))) =
                parts.into_iter().find(|(_, (visible, all))| *visible > 0 && visible < all)
            {
                return Err(format!("send {send} is seen in part: {visible} of {all} samples of shard {shard}"));
            }
        }
        Ok(())
    }

    fn check_partials(&self, seen: &BTreeMap<u32, &[Sample]>) -> Verdict {
        let may_be_deleted = |(index, sample): &(u32, Sample)| sample.time.0 <= self.series[*index as usize].shadow;
        for Partial { samples, accepted } in &self.partials {
            if samples.iter().any(may_be_deleted) {
                continue;
            }
            let has = |have: &[Sample], sample: Sample| {
                let is_there = |at: usize| !self.promises.contradictions_are_rejected || have[at] == sample;
                have.binary_search_by_key(&sample.time, |have| have.time).is_ok_and(is_there)
            };
            let there = |(index, sample): &&(u32, Sample)| seen.get(index).is_some_and(|have| has(have, *sample));
            let count = samples.iter().filter(there).count();
            if count < *accepted {
                return Err(format!("of a partial write {accepted} samples were accepted and {count} are there"));
            }
        }
        Ok(())
    }

    fn describe(&self, request: &Request, forecast: &[Forecast], may_reject: &[bool]) -> String {
        let mut text = String::new();
        for (((index, sample), forecast), may) in request.samples().zip(forecast).zip(may_reject) {
            let word = match (forecast, may) {
                (Forecast::MustReject, _) => "bad",
                (_, true) => "doubtful",
                (_, false) => continue,
            };
            let labels = &self.series[index as usize].labels;
            text.push_str(&format!("\n  {word}: {labels} at {} {:016x}", sample.time.0, sample.value.to_bits()));
        }
        text
    }
}

impl Series {
    fn new(labels: Labels, shard: usize) -> Self {
        Self {
            labels,
            shard,
            times: BTreeMap::new(),
            deleted_at: 0,
            shadow: i64::MIN,
            gone: BTreeMap::new(),
            buried: BTreeMap::new(),
        }
    }

    /// Order, uniqueness, origin and bits of what was read.
    fn check_samples(&self, samples: &[Sample], selection: &Selection, promises: &Promises) -> Verdict {
        let fault = |what: &str, sample: Sample| {
            Err(format!("{what}: {} at {} bits {:016x}", self.labels, sample.time.0, sample.value.to_bits()))
        };
        let mut previous = None;
        for &sample in samples {
            if previous.is_some_and(|previous| sample.time.0 <= previous) {
                return fault("sample twice or out of order", sample);
            }
            previous = Some(sample.time.0);
            if !(selection.from..=selection.to).contains(&sample.time.0) {
                return fault("sample outside of the range", sample);
            }
            let Some(entry) = self.times.get(&sample.time.0) else { return fault("invented sample", sample) };
            let bits = sample.value.to_bits();
            if promises.contradictions_are_rejected && entry.certain.is_some_and(|certain| certain.bits != bits) {
                return fault("other bits than were acknowledged", sample);
            }
            if !entry.candidates.iter().any(|candidate| candidate.bits == bits) {
                return fault("bits that nobody sent", sample);
            }
        }
        Ok(())
    }

    /// Times that must be among the samples and are not, each with the reason why it must.
    fn missing<'a>(
        &'a self,
        samples: &'a [Sample],
        selection: &Selection,
        began: u64,
    ) -> impl Iterator<Item = (i64, Why)> + 'a {
        self.times
            .range(selection.from..=selection.to)
            .filter_map(move |(&time, entry)| {
                let certain = entry.certain.filter(|certain| certain.since <= began)?;
                Some((time, certain.why))
            })
            .filter(|&(time, _)| samples.binary_search_by_key(&time, |sample| sample.time.0).is_err())
    }

    /// Whether only this send brought the sample, and brought it once.
    fn is_sole(&self, sample: Sample, send: u64) -> bool {
        self.times.get(&sample.time.0).is_some_and(
            |entry| matches!(entry.candidates[..], [only] if only.bits == sample.value.to_bits() && only.is_sole(send)),
        )
    }
}

impl Entry {
    fn add(&mut self, bits: u64, send: u64) {
        match self.candidates.iter_mut().find(|candidate| candidate.bits == bits) {
            Some(candidate) => candidate.last_send = send,
            None => self.candidates.push(Candidate { bits, first_send: send, last_send: send }),
        }
    }

    fn settled(sample: Sample, since: u64) -> Self {
        let bits = sample.value.to_bits();
        Self {
            candidates: vec![Candidate { bits, first_send: SETTLED, last_send: SETTLED }],
            certain: Some(Certain { bits, since, why: Why::Seen }),
            condemned: false,
        }
    }
}

fn contains(samples: &[Sample], sample: Sample) -> bool {
    samples.binary_search_by_key(&sample.time, |have| have.time).is_ok_and(|at| samples[at] == sample)
}

#[cfg(test)]
mod tests;
