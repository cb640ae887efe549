//! What the simulator asks of a system that it tests, and what the system promises in return.

use std::{future::Future, rc::Rc};

use model::{Labels, Sample};

use crate::process::Process;

/// A store of samples in some number of shards; the real one, or the toy that proves the oracle.
pub trait System: Clone + 'static {
    type Client: Client;

    fn promises(&self) -> Promises;

    /// Starts the system in a process, on as many threads as it likes, and returns when it has recovered. An error is a refusal
    /// to start, in words for an operator.
    fn start(&self, process: &Process) -> impl Future<Output = Result<Started<Self::Client>, String>>;

    /// The shard that owns a series.
    fn shard_of(&self, labels: &Labels) -> usize;
}

pub struct Started<C> {
    pub client: C,
    /// Each repair that start-up made, in words that name file and offset.
    pub repairs: Vec<String>,
}

/// The way in, as a listener and a query engine use it; clones are other users of the same system.
pub trait Client: Clone + 'static {
    fn write(&self, request: Rc<Request>) -> impl Future<Output = Answer>;

    fn read(&self, selection: &Selection) -> impl Future<Output = Result<ReadAnswer, String>>;

    /// Deletes what is selected. An error may leave it done in part, or be followed by it being done.
    fn delete(&self, selection: &Selection) -> impl Future<Output = Result<(), String>>;

    /// Writes anew what holds deleted samples. An error changes nothing that a read shows.
    fn clean(&self) -> impl Future<Output = Result<(), String>>;

    /// Makes a copy of everything and reads it, as from a system started on it; the copy is removed.
    fn snapshot(&self) -> impl Future<Output = Result<ReadAnswer, String>>;

    /// Stops in good order; afterwards the process is ended.
    fn stop(&self) -> impl Future<Output = ()>;
}

/// One write request.
#[derive(Debug)]
pub struct Request {
    pub series: Vec<RequestSeries>,
}

/// Samples of one series, in the order in which they stand; a series may come twice in a request.
#[derive(Clone, Debug)]
pub struct RequestSeries {
    /// Position in the workload's pool.
    pub index: u32,
    pub labels: Labels,
    pub samples: Vec<Sample>,
}

impl Request {
    pub fn sample_count(&self) -> usize {
        self.series.iter().map(|series| series.samples.len()).sum()
    }

    /// All samples in order, each with its series' index.
    pub fn samples(&self) -> impl Iterator<Item = (u32, Sample)> + '_ {
        self.series.iter().flat_map(|series| series.samples.iter().map(|&sample| (series.index, sample)))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Success or partial write: everything accepted is durable. Equal samples that were there already count as accepted.
    Written { accepted: usize, rejected: usize },
    /// Not all parts are known to be durable; the client is asked to try again.
    Refused(String),
    /// The system is not there any more.
    Gone,
}

/// Which samples a read wants. The bounds of time are inclusive, in milliseconds.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Name and value of a label; `None` selects every series.
    pub label: Option<(String, String)>,
    pub from: i64,
    pub to: i64,
}

impl Selection {
    pub const EVERYTHING: Self = Self { label: None, from: i64::MIN, to: i64::MAX };

    pub fn matches(&self, labels: &Labels) -> bool {
        self.label.as_ref().is_none_or(|(name, value)| labels.get(name) == Some(value))
    }

    pub fn is_everything(&self) -> bool {
        self.label.is_none() && self.from == i64::MIN && self.to == i64::MAX
    }
}

#[derive(Debug, Default)]
pub struct ReadAnswer {
    pub series: Vec<(Labels, Vec<Sample>)>,
    /// Damage that the read met and left out, in words that name file and offset.
    pub damage: Vec<String>,
    /// Some of it may not be durable, as the system can't write and says so: nothing is to be concluded from seeing it.
    pub provisional: bool,
}

/// What the oracle may hold the system to, beyond acknowledged samples being there.
#[derive(Clone, Copy, Debug)]
pub struct Promises {
    /// A sample that is there already with equal bits is accepted, also when newer ones have come since.
    pub retry_is_success: bool,
    /// A sample older than the series' newest is rejected.
    pub in_order_only: bool,
    /// A sample that contradicts one that is there is rejected. Otherwise either may be read from then on.
    pub contradictions_are_rejected: bool,
    /// A request's part for one shard is seen whole or not at all, by reads and after a crash.
    pub parts_are_atomic: bool,
    /// What a read has seen survives any crash.
    pub visible_is_durable: bool,
    /// A sample may be rejected as too old when it is so many ms behind the newest of all.
    pub past_bound_ms: i64,
    pub bounds: Bounds,
}

/// Resources that a system stays within, whatever happens.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Tasks of the whole world, the workload's own included.
    pub tasks: usize,
    pub disk_operations_in_flight: usize,
    pub files: usize,
    pub disk_bytes: u64,
    /// Virtual time in which a healthy system answers a write.
    pub answer_ms: u64,
}
