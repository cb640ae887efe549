//! What the simulated clients do: requests over a pool of series, with every kind of sample that a store must keep, refuse or
//! recognise, and queries in between.

use std::rc::Rc;

use model::{
    Labels, METRIC_NAME, Sample, Timestamp,
    sample::{NORMAL_NAN_BITS, STALE_NAN_BITS},
};

use crate::{
    random::Random,
    system::{Request, RequestSeries, Selection},
};

/// Times begin so long before the wall clock's start: an hour and a half, so that no bound on the future is near.
const START_BEFORE_MS: i64 = 90 * 60 * 1000;

/// Label sets for so many series.
pub fn pool(series: u32) -> Vec<Labels> {
    (0..series)
        .map(|index| {
            Labels::from_pairs([
                (METRIC_NAME, format!("metric_{}", index % 11)),
                ("job", format!("job-{}", index % 3)),
                ("instance", format!("host-{index}:9100")),
                ("text", if index % 7 == 0 { "näçhste \"Zeile\"\n".to_owned() } else { String::new() }),
            ])
        })
        .collect()
}

/// One client: which series it writes, how far each has come, and what it may send again.
pub struct Workload {
    random: Random,
    /// Its own, so that a story without errands is the same with them left out.
    errands: Random,
    series: Vec<Cursor>,
    /// Requests of late that were acknowledged or given up, to be sent again or contradicted.
    done: Vec<Rc<Request>>,
    /// Sent and not acknowledged: a client tries again until it is.
    unanswered: Option<Rc<Request>>,
    /// Given up just now: nobody knows what became of it.
    given_up: Option<Rc<Request>>,
}

/// What an operator does once in a while.
#[derive(Clone, Debug)]
pub enum Errand {
    Delete(Selection),
    Clean,
    Snapshot,
}

struct Cursor {
    index: u32,
    labels: Labels,
    next_ms: i64,
    /// The last value, from which counters go on.
    value: f64,
}

/// How many acknowledged requests a client remembers.
const REMEMBERED: usize = 8;

impl Workload {
    /// Client `number` of `clients`. Most series have one writer; every tenth is written by all.
    pub fn new(number: usize, clients: usize, pool: &[Labels], wall_ms: i64, mut random: Random) -> Self {
        let mine = |index: usize| index.is_multiple_of(10) || index % clients == number;
        let series = pool.iter().enumerate().filter(|(index, _)| mine(*index));
        let series = series.map(|(index, labels)| Cursor {
            index: index as u32,
            labels: labels.clone(),
            next_ms: wall_ms - START_BEFORE_MS + random.below(60_000) as i64,
            value: 0.0,
        });
        let series = series.collect();
        let errands = random.clone().fork();
        Self { random, errands, series, done: Vec::new(), unanswered: None, given_up: None }
    }

    /// The next request: what was not acknowledged, or a new one of some kind.
    pub fn next_request(&mut self) -> Rc<Request> {
        if let Some(again) = &self.unanswered {
            return Rc::clone(again);
        }
        let request = Rc::new(Request { series: self.compose() });
        self.unanswered = Some(Rc::clone(&request));
        request
    }

    /// A request that no sensible store has a reason to refuse.
    pub fn fresh_request(&mut self) -> Rc<Request> {
        Rc::new(Request { series: self.fresh() })
    }

    /// After too many refusals a client drops a request now and then, and may later say something else for the same times.
    pub fn lose_patience(&mut self) {
        if self.random.percent(40)
            && let Some(request) = self.unanswered.take()
        {
            self.remember(&request);
            self.given_up = Some(request);
        }
    }

    pub fn acknowledged(&mut self, request: &Rc<Request>) {
        self.unanswered = None;
        self.remember(request);
    }

    fn remember(&mut self, request: &Rc<Request>) {
        if self.done.len() == REMEMBERED {
            self.done.remove(0);
        }
        self.done.push(Rc::clone(request));
    }

    /// How often a request is sent until the client turns to something else.
    pub fn attempts(&mut self) -> u64 {
        1 + self.random.below(5)
    }

    /// How long the client thinks before the next request, in nanoseconds.
    pub fn pause(&mut self) -> u64 {
        self.random.skewed(24)
    }

    pub fn wants_read(&mut self) -> bool {
        self.random.percent(15)
    }

    pub fn selection(&mut self) -> Selection {
        if self.random.percent(40) {
            return Selection::EVERYTHING;
        }
        self.part()
    }

    fn part(&mut self) -> Selection {
        let cursor = &self.series[self.random.index(self.series.len())];
        let labels: Vec<_> = cursor.labels.iter().collect();
        let label = self.random.percent(80).then(|| {
            let label = self.random.pick(&labels);
            (label.name.to_owned(), label.value.to_owned())
        });
        let span = self.random.skewed(23) as i64;
        let from = cursor.next_ms - span - self.random.skewed(20) as i64;
        Selection { label, from, to: from + span }
    }

    /// What to do instead of writing or reading.
    pub fn errand(&mut self) -> Option<Errand> {
        match self.errands.below(100) {
            0..4 => Some(Errand::Delete(self.to_delete())),
            4 => Some(Errand::Clean),
            5..7 => Some(Errand::Snapshot),
            _ => None,
        }
    }

    /// Mostly little, at times all that there is of many series.
    pub fn to_delete(&mut self) -> Selection {
        std::mem::swap(&mut self.random, &mut self.errands);
        let mut selection = self.part();
        if self.random.percent(20) {
            selection.from = i64::MIN;
        }
        if self.random.percent(40) {
            selection.to = i64::MAX;
        }
        std::mem::swap(&mut self.random, &mut self.errands);
        selection
    }

    fn compose(&mut self) -> Vec<RequestSeries> {
        if let Some(request) = self.given_up.take()
            && self.random.percent(60)
        {
            return self.contradict(&request);
        }
        match self.random.below(100) {
            0..68 => self.fresh(),
            68..78 => self.again(),
            78..84 => self.contradiction(),
            84..94 => self.disordered(),
            _ => {
                let mut series = self.again();
                series.extend(self.fresh());
                self.random.shuffle(&mut series);
                series
            }
        }
    }

    fn fresh(&mut self) -> Vec<RequestSeries> {
        let count = (1 + self.random.skewed(9) as usize).min(self.series.len());
        self.random.shuffle(&mut self.series);
        // A long run of samples now and then, to fill chunks.
        let most = if self.random.percent(8) { 150 } else { 3 };
        let mut series: Vec<RequestSeries> = (0..count).map(|at| self.run_of(at, most)).collect();
        if self.random.percent(5) {
            split_in_two(&mut series[0]).into_iter().for_each(|rest| series.push(rest));
        }
        series
    }

    fn run_of(&mut self, at: usize, most: u64) -> RequestSeries {
        let length = 1 + self.random.below(most);
        let shape = self.random.below(6);
        let step = *self.random.pick(&[1, 10, 1_000, 5_000, 10_000, 15_000]);
        let cursor = &mut self.series[at];
        let samples = (0..length)
            .map(|_| {
                let time = cursor.next_ms;
                let jitter = if self.random.percent(30) { self.random.below(step) } else { 0 };
                // Long runs go slowly, so that all clients stay within the bound on old samples.
                cursor.next_ms += (step / if most > 3 { 10 } else { 1 } + jitter / 10).max(1) as i64;
                cursor.value = value(&mut self.random, shape, cursor.value);
                Sample { time: Timestamp(time), value: cursor.value }
            })
            .collect();
        RequestSeries { index: cursor.index, labels: cursor.labels.clone(), samples }
    }

    fn again(&mut self) -> Vec<RequestSeries> {
        if self.done.is_empty() {
            return self.fresh();
        }
        self.random.pick(&self.done).series.clone()
    }

    fn contradiction(&mut self) -> Vec<RequestSeries> {
        let request = Request { series: self.again() };
        self.contradict(&request)
    }

    /// A request that was sent before, with other values here and there.
    fn contradict(&mut self, request: &Request) -> Vec<RequestSeries> {
        let mut series = request.series.clone();
        for sample in series.iter_mut().flat_map(|series| &mut series.samples) {
            if self.random.percent(50) {
                let bit = self.random.below(64);
                sample.value = f64::from_bits(sample.value.to_bits() ^ (1 << bit));
            }
        }
        series
    }

    /// Fresh samples of which some are moved into the past or stand in the wrong order.
    fn disordered(&mut self) -> Vec<RequestSeries> {
        let mut series = self.fresh();
        for RequestSeries { samples, .. } in &mut series {
            if self.random.percent(30) {
                let at = self.random.index(samples.len());
                samples[at].time.0 -= self.random.skewed(17) as i64;
            }
            if self.random.percent(20) {
                self.random.shuffle(samples);
            }
        }
        series
    }
}

/// Takes the second half of a run, as a client does that batches carelessly; nothing if there is but one sample.
fn split_in_two(series: &mut RequestSeries) -> Option<RequestSeries> {
    let rest = series.samples.split_off(series.samples.len().div_ceil(2));
    (!rest.is_empty()).then(|| RequestSeries { samples: rest, ..series.clone() })
}

/// Values whose bits are easily lost on the way.
const ODD_BITS: [u64; 12] = [
    STALE_NAN_BITS,
    NORMAL_NAN_BITS,
    0x7ff8_0000_0000_0000,
    0xfff8_dead_beef_cafe,
    0x7ff0_0000_0000_0001,
    0x8000_0000_0000_0000,
    0x0000_0000_0000_0000,
    0x0000_0000_0000_0001,
    0x7ff0_0000_0000_0000,
    0xfff0_0000_0000_0000,
    0x4340_0000_0000_0001,
    0x7fef_ffff_ffff_ffff,
];

fn value(random: &mut Random, shape: u64, last: f64) -> f64 {
    match shape {
        0 => last,
        1 => last + 1.0,
        2 => last + random.below(1000) as f64 / 8.0,
        3 => random.below(100) as f64,
        4 => f64::from_bits(*random.pick(&ODD_BITS)),
        _ => f64::from_bits(random.word()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(seed: u64) -> Workload {
        Workload::new(1, 3, &pool(40), 1_767_225_600_000, Random::new(seed))
    }

    #[test]
    fn an_unanswered_request_comes_again_until_it_is_acknowledged() {
        let mut client = workload(1);
        let first = client.next_request();
        assert!(Rc::ptr_eq(&first, &client.next_request()));
        client.acknowledged(&first);
        assert!(!Rc::ptr_eq(&first, &client.next_request()));
    }

    #[test]
    fn fresh_samples_of_a_series_ascend() {
        let mut client = workload(2);
        let mut newest = std::collections::BTreeMap::new();
        for _ in 0..100 {
            for (index, sample) in client.fresh_request().samples() {
                let before = newest.insert(index, sample.time);
                assert!(before.is_none_or(|before| before < sample.time));
            }
        }
    }

    #[test]
    fn every_odd_value_is_sent_sooner_or_later() {
        let mut client = workload(3);
        let sent: std::collections::BTreeSet<u64> = (0..300)
            .flat_map(|_| client.fresh_request().samples().map(|(_, s)| s.value.to_bits()).collect::<Vec<_>>())
            .collect();
        assert!(ODD_BITS.iter().all(|bits| sent.contains(bits)));
    }

    #[test]
    fn label_sets_of_the_pool_differ() {
        assert_eq!(pool(300).into_iter().collect::<std::collections::BTreeSet<_>>().len(), 300);
    }
}
