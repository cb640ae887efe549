//! A toy store, to prove the simulator: it keeps every promise in few lines, and breaks exactly one of them on demand.
//!
//! Two or more shards, one append-only log each, one frame per part of a request, everything in memory besides. What matters is
//! that it is right without a [`Bug`] and that the oracle finds each bug within a few seeds (see `tests/canary.rs`).

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    rc::Rc,
};

use futures_channel::oneshot;
use model::{Labels, Sample, Timestamp};
use runtime::{
    AlignedBuffer, Disk, File, OpenMode, Runtime, SECTOR_BYTES,
    mailbox::{self, Receiver, Sender},
};

use crate::{
    process::{Process, SimRuntime},
    system::{Answer, Bounds, Client, Promises, ReadAnswer, Request, RequestSeries, Selection, Started, System},
    world::SECOND,
};

mod log;

use self::log::Log;

/// A mistake to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Acknowledges before the write is durable.
    EarlyAnswer,
    /// Answers when the first of the shards is durable.
    FirstShardOnly,
    /// Never syncs the folder of its segments.
    UnsyncedNames,
    /// Believes whatever frame it finds.
    NoChecksum,
    /// Believes what it finds at a start without making it durable.
    UnsyncedRecovery,
    /// Takes a read error during recovery for the end of the log.
    ReadErrorIsTheEnd,
    /// Goes on in the same process after a write that failed twice and may be on the disk.
    NoFence,
    /// Shows samples before they are durable.
    EarlySight,
    /// Writes a frame for each series of a part.
    FramePerSeries,
    /// Keeps NaNs as the one ordinary NaN.
    OneNan,
    /// Keeps a late sample too.
    NoOrder,
    /// Lets a later value replace an acknowledged one.
    LastWins,
    /// Calls every thirtieth sample bad.
    Moody,
    /// Deletes from memory alone.
    ForgetfulDeletion,
    /// Deletes from some shards.
    FirstShardDeletes,
    /// Deletes a little more than it was asked for.
    GreedyDeletion,
    /// A deletion takes what comes after it, too.
    EndlessDeletion,
    /// What was deleted comes back when it is sent again.
    DeletedComesBack,
    /// Takes longer than it may once in a while, and does not answer at all.
    Mute,
}

impl Bug {
    pub const ALL: [Self; 19] = [
        Self::EarlyAnswer,
        Self::FirstShardOnly,
        Self::UnsyncedNames,
        Self::NoChecksum,
        Self::UnsyncedRecovery,
        Self::ReadErrorIsTheEnd,
        Self::NoFence,
        Self::EarlySight,
        Self::FramePerSeries,
        Self::OneNan,
        Self::NoOrder,
        Self::LastWins,
        Self::Moody,
        Self::ForgetfulDeletion,
        Self::FirstShardDeletes,
        Self::GreedyDeletion,
        Self::EndlessDeletion,
        Self::DeletedComesBack,
        Self::Mute,
    ];
}

/// The toy, with at most one bug.
#[derive(Clone, Debug)]
pub struct Toy {
    pub shards: usize,
    pub bug: Option<Bug>,
}

#[derive(Clone)]
pub struct ToyClient {
    shards: Vec<Sender<Message>>,
    bug: Option<Bug>,
}

enum Message {
    Append(Part, oneshot::Sender<Result<(usize, usize), String>>),
    Read(Selection, oneshot::Sender<Vec<(Labels, Vec<Sample>)>>),
    Delete(Selection, oneshot::Sender<Result<(), String>>),
}

/// The series of a request that one shard owns, or those that a deletion reaches, with what it takes.
type Part = Vec<RequestSeries>;

/// Samples by series and time, as bits; what is deleted stays, and is not shown.
type Memory = BTreeMap<Labels, BTreeMap<i64, Kept>>;

/// What a frame of the log says of its samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Appended,
    Deleted,
}

#[derive(Clone, Copy)]
struct Kept {
    bits: u64,
    deleted: bool,
}

impl System for Toy {
    type Client = ToyClient;

    fn promises(&self) -> Promises {
        Promises {
            retry_is_success: true,
            in_order_only: true,
            contradictions_are_rejected: true,
            parts_are_atomic: true,
            visible_is_durable: true,
            past_bound_ms: i64::MAX,
            bounds: Bounds {
                tasks: 40,
                disk_operations_in_flight: 8,
                files: 500,
                disk_bytes: 512 << 20,
                answer_ms: 60_000,
            },
        }
    }

    async fn start(&self, process: &Process) -> Result<Started<ToyClient>, String> {
        let mut shards = Vec::new();
        let mut repairs = Vec::new();
        for number in 0..self.shards {
            let runtime = process.new_thread();
            let (opened, ready) = oneshot::channel();
            let (sender, receiver) = mailbox::channel(64);
            let (shard_runtime, bug) = (runtime.clone(), self.bug);
            runtime.spawn(async move {
                match Shard::open(shard_runtime, number, bug).await {
                    Ok((shard, repairs)) => {
                        // A starter that went away is a process that was killed.
                        drop(opened.send(Ok(repairs)));
                        shard.serve(receiver).await;
                    }
                    Err(error) => drop(opened.send(Err(format!("open shard {number}: {error}")))),
                }
            });
            repairs.extend(ready.await.map_err(|_| "the shard's thread is gone".to_owned())??);
            shards.push(sender);
        }
        Ok(Started { client: ToyClient { shards, bug: self.bug }, repairs })
    }

    fn shard_of(&self, labels: &Labels) -> usize {
        shard_of(labels, self.shards)
    }
}

fn shard_of(labels: &Labels, shards: usize) -> usize {
    crc32c::crc32c(labels.to_string().as_bytes()) as usize % shards
}

impl Client for ToyClient {
    async fn write(&self, request: Rc<Request>) -> Answer {
        let mut parts: Vec<Part> = vec![Vec::new(); self.shards.len()];
        for series in &request.series {
            parts[shard_of(&series.labels, self.shards.len())].push(series.clone());
        }
        let mut answers = Vec::new();
        let mut total = (0, 0);
        for (shard, part) in self.shards.iter().zip(parts).filter(|(_, part)| !part.is_empty()) {
            let samples: usize = part.iter().map(|series| series.samples.len()).sum();
            let (sender, answer) = oneshot::channel();
            if shard.send(Message::Append(part, sender)).await.is_err() {
                return Answer::Gone;
            }
            answers.push((answer, samples));
        }
        for (position, (answer, samples)) in answers.into_iter().enumerate() {
            if position > 0 && self.bug == Some(Bug::FirstShardOnly) {
                total.0 += samples;
                continue;
            }
            match answer.await {
                Ok(Ok((accepted, rejected))) => total = (total.0 + accepted, total.1 + rejected),
                Ok(Err(reason)) => return Answer::Refused(reason),
                Err(_) => return Answer::Gone,
            }
        }
        Answer::Written { accepted: total.0, rejected: total.1 }
    }

    async fn read(&self, selection: &Selection) -> Result<ReadAnswer, String> {
        let mut series = Vec::new();
        for shard in &self.shards {
            let (sender, answer) = oneshot::channel();
            shard.send(Message::Read(selection.clone(), sender)).await.map_err(|_| "gone".to_owned())?;
            series.extend(answer.await.map_err(|_| "gone".to_owned())?);
        }
        Ok(ReadAnswer { series, damage: Vec::new(), provisional: false })
    }

    async fn delete(&self, selection: &Selection) -> Result<(), String> {
        let shards = if self.bug == Some(Bug::FirstShardDeletes) { &self.shards[..1] } else { &self.shards[..] };
        for shard in shards {
            let (sender, answer) = oneshot::channel();
            shard.send(Message::Delete(selection.clone(), sender)).await.map_err(|_| "gone".to_owned())?;
            answer.await.map_err(|_| "gone".to_owned())??;
        }
        Ok(())
    }

    async fn clean(&self) -> Result<(), String> {
        Ok(())
    }

    async fn snapshot(&self) -> Result<ReadAnswer, String> {
        self.read(&Selection::EVERYTHING).await
    }

    async fn stop(&self) {}
}

struct Shard {
    runtime: SimRuntime,
    log: Log,
    memory: Memory,
    /// A write failed for good: appends are refused until a restart has found out what is on the disk.
    fenced: bool,
    bug: Option<Bug>,
    appends: u64,
    /// For [`Bug::EndlessDeletion`].
    deletions: Vec<Selection>,
}

impl Shard {
    async fn open(runtime: SimRuntime, number: usize, bug: Option<Bug>) -> io::Result<(Self, Vec<String>)> {
        let directory = PathBuf::from(format!("/data/shard-{number}"));
        let mut memory = Memory::new();
        let mut take = |change, part: Part| match change {
            Change::Appended => part.iter().for_each(|series| keep(&mut memory, series, bug)),
            Change::Deleted => part.iter().for_each(|series| hide(&mut memory, series, bug)),
        };
        let (log, repairs) = Log::recover(runtime.disk().clone(), &directory, bug, &mut take).await?;
        Ok((Self { runtime, log, memory, fenced: false, bug, appends: 0, deletions: Vec::new() }, repairs))
    }

    async fn serve(mut self, mut mailbox: Receiver<Message>) {
        let mut messages = Vec::new();
        while mailbox.receive_all(&mut messages).await.is_ok() {
            for message in messages.drain(..) {
                match message {
                    // Who asked may have gone away in the meantime.
                    Message::Append(part, answer) => self.append(part, answer).await,
                    Message::Read(selection, answer) => drop(answer.send(self.read(&selection))),
                    Message::Delete(selection, answer) => drop(answer.send(self.delete(selection).await)),
                }
            }
        }
    }

    async fn append(&mut self, part: Part, answer: oneshot::Sender<Result<(usize, usize), String>>) {
        if self.fenced {
            return drop(answer.send(Err("fenced after a failed write".to_owned())));
        }
        self.appends += 1;
        if self.bug == Some(Bug::Mute) && self.appends.is_multiple_of(50) {
            self.runtime.sleep(std::time::Duration::from_nanos(100 * SECOND)).await;
        }
        let (good, outcome) = self.sift(part);
        if self.bug == Some(Bug::EarlySight) {
            good.iter().for_each(|series| keep(&mut self.memory, series, self.bug));
        }
        let mut answer = Some(answer);
        if self.bug == Some(Bug::EarlyAnswer) {
            answer.take().map(|answer| answer.send(Ok(outcome)));
        }
        let result = self.make_durable(&good).await;
        if result.is_ok() {
            good.iter().for_each(|series| keep(&mut self.memory, series, self.bug));
            for selection in std::mem::take(&mut self.deletions) {
                selected(&self.memory, &selection).iter().for_each(|series| hide(&mut self.memory, series, self.bug));
                self.deletions.push(selection);
            }
        }
        if let Some(answer) = answer {
            drop(answer.send(result.map(|()| outcome).map_err(|error| error.to_string())));
        }
    }

    async fn make_durable(&mut self, part: &Part) -> io::Result<()> {
        if self.bug == Some(Bug::FramePerSeries) {
            for series in part {
                self.log_part(Change::Appended, std::slice::from_ref(series)).await?;
            }
            return Ok(());
        }
        if part.is_empty() { Ok(()) } else { self.log_part(Change::Appended, part).await }
    }

    async fn delete(&mut self, mut selection: Selection) -> Result<(), String> {
        if self.fenced {
            return Err("fenced after a failed write".to_owned());
        }
        if self.bug == Some(Bug::GreedyDeletion) {
            selection.from = selection.from.saturating_sub(10_000);
        }
        let part = selected(&self.memory, &selection);
        if self.bug != Some(Bug::ForgetfulDeletion) && !part.is_empty() {
            self.log_part(Change::Deleted, &part).await.map_err(|error| error.to_string())?;
        }
        part.iter().for_each(|series| hide(&mut self.memory, series, self.bug));
        if self.bug == Some(Bug::EndlessDeletion) {
            self.deletions.push(selection);
        }
        Ok(())
    }

    async fn log_part(&mut self, change: Change, part: &[RequestSeries]) -> io::Result<()> {
        let result = self.log.append(change, part).await;
        // Without room nothing was written, and there may be room soon. Any other failure may have left the frame on the disk.
        if let Err(error) = &result {
            self.fenced |= error.kind() != io::ErrorKind::StorageFull && self.bug != Some(Bug::NoFence);
        }
        result
    }

    /// The samples to keep, and how many were accepted and rejected.
    fn sift(&self, part: Part) -> (Part, (usize, usize)) {
        let mut newest: BTreeMap<Labels, (i64, u64)> = BTreeMap::new();
        let (mut accepted, mut rejected) = (0, 0);
        let mut good = Part::new();
        for mut series in part {
            let have = self.memory.get(&series.labels);
            let last = have.and_then(|have| have.last_key_value()).map(|(&time, kept)| (time, kept.bits));
            let last = newest.entry(series.labels.clone()).or_insert(last.unwrap_or((i64::MIN, 0)));
            series.samples.retain(|sample| {
                let (time, bits) = (sample.time.0, sample.value.to_bits());
                let there = have.and_then(|have| have.get(&time)).map(|kept| kept.bits);
                let retried = there == Some(bits) || *last == (time, bits);
                let fits = match self.bug {
                    Some(Bug::NoOrder) => there.is_none() && last.0 != time,
                    Some(Bug::LastWins) => time >= last.0,
                    Some(Bug::Moody) if (bits ^ time as u64).is_multiple_of(31) => false,
                    _ => time > last.0,
                };
                if fits {
                    *last = (*last).max((time, bits));
                }
                accepted += usize::from(fits || retried);
                rejected += usize::from(!fits && !retried);
                fits
            });
            if !series.samples.is_empty() {
                good.push(series);
            }
        }
        (good, (accepted, rejected))
    }

    fn read(&self, selection: &Selection) -> Vec<(Labels, Vec<Sample>)> {
        let selected = selected(&self.memory, selection).into_iter();
        selected.map(|series| (series.labels, series.samples)).collect()
    }
}

/// What is shown of what is selected, by series.
fn selected(memory: &Memory, selection: &Selection) -> Part {
    let of_series = |samples: &BTreeMap<i64, Kept>| -> Vec<Sample> {
        let shown = samples.range(selection.from..=selection.to).filter(|(_, kept)| !kept.deleted);
        shown.map(|(&time, kept)| Sample { time: Timestamp(time), value: f64::from_bits(kept.bits) }).collect()
    };
    let series = memory.iter().filter(|(labels, _)| selection.matches(labels));
    let series =
        series.map(|(labels, samples)| RequestSeries { index: 0, labels: labels.clone(), samples: of_series(samples) });
    series.filter(|series| !series.samples.is_empty()).collect()
}

fn hide(memory: &mut Memory, series: &RequestSeries, bug: Option<Bug>) {
    let Some(have) = memory.get_mut(&series.labels) else { return };
    for sample in &series.samples {
        if bug == Some(Bug::DeletedComesBack) {
            have.remove(&sample.time.0);
        } else if let Some(kept) = have.get_mut(&sample.time.0) {
            kept.deleted = true;
        }
    }
}

fn keep(memory: &mut Memory, series: &RequestSeries, bug: Option<Bug>) {
    let have = memory.entry(series.labels.clone()).or_default();
    for sample in &series.samples {
        let odd = sample.value.is_nan() && bug == Some(Bug::OneNan);
        let bits = if odd { f64::NAN.to_bits() } else { sample.value.to_bits() };
        let kept = Kept { bits, deleted: false };
        match bug {
            Some(Bug::LastWins) => drop(have.insert(sample.time.0, kept)),
            // A frame that failed and was written again may stand in two segments.
            _ => drop(have.entry(sample.time.0).or_insert(kept)),
        }
    }
}
