//! Series by their places, and series that end.

use model::{Matcher, OwnedBatch, SeriesPlace, sample::STALE_NAN_BITS};
use tsdb::{AppendOutcome, ShardPart, limits::WINDOW_MS};

use crate::{
    ALL_TIME, OPEN, Quota, START,
    bench::{Bench, key, labels_of},
    exemplars,
    sender::PlacedBatch,
    text_of,
};

/// A series of floats, and one that has histograms at these times.
const FLOATS: u8 = 1;
const HISTOGRAMS: u8 = 11;
const TIME: i64 = START + 8_000_000;

impl Bench {
    /// Has the sender learn where some series are.
    fn with_series(series: &[u8]) -> Self {
        let mut bench = Self::new();
        for step in 0..2 {
            let rows: Vec<_> = series.iter().map(|&series| (series, vec![(TIME + step, 0)])).collect();
            assert_eq!(bench.append(&rows, false).stored, series.len() as u64);
        }
        assert!(series.iter().all(|series| bench.sender.place(*series).is_some()));
        bench
    }

    fn place(&self, series: u8) -> SeriesPlace {
        self.sender.place(series).expect("it was told")
    }

    fn append_placed(&mut self, batch: &PlacedBatch) -> AppendOutcome {
        let outcome = self.head.append(batch, ShardPart::WHOLE, OPEN, &mut Quota(u64::MAX), &mut self.batch);
        self.commit();
        outcome
    }

    fn times_of(&self, series: u8) -> Vec<i64> {
        self.samples(&[], ALL_TIME)[&text_of(series)].iter().map(|sample| sample.0 - TIME).collect()
    }
}

fn row(series: u8, time: i64, is_reversed: bool) -> OwnedBatch {
    let (mut batch, mut labels) = (OwnedBatch::default(), labels_of(series));
    if is_reversed {
        labels.reverse();
    }
    let labels = labels.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    batch.push(&key(), labels, [(time, 7)]);
    batch
}

/// Goal: what ends gets a marker of its kind, once, here and after a replay; what is newer than it, none.
#[test]
fn series_that_end_get_a_marker() {
    let mut bench = Bench::with_series(&[FLOATS, HISTOGRAMS, 2]);
    let ended = vec![bench.place(FLOATS), bench.place(HISTOGRAMS)];
    for (time, stored) in [(TIME + 1, 0), (TIME + 5, 2), (TIME + 5, 0), (TIME + 3, 0)] {
        let batch = PlacedBatch { ended: (time, ended.clone()), ..PlacedBatch::of(OwnedBatch::default()) };
        let outcome = bench.append_placed(&batch);
        assert_eq!((outcome.stored, outcome.rejected_total()), (stored, 0));
    }
    let all = bench.samples(&[], ALL_TIME);
    for series in [FLOATS, HISTOGRAMS] {
        assert_eq!(all[&text_of(series)].last(), Some(&(TIME + 5, STALE_NAN_BITS)));
    }
    assert_eq!(all[&text_of(2)].len(), 2, "another's neighbours go on");
    assert_eq!(bench.replayed(&[], 0).samples(&[], ALL_TIME), all);
}

/// Goal: who has a series under another name does not end it, whatever the time of its sample.
#[test]
fn a_series_under_another_name_has_not_ended() {
    for time in [TIME + 4, TIME + 5] {
        let mut bench = Bench::with_series(&[FLOATS]);
        let ended = (TIME + 5, vec![bench.place(FLOATS)]);
        let batch = PlacedBatch { asked: 1, ended, ..PlacedBatch::of(row(FLOATS, time, true)) };
        let outcome = bench.append_placed(&batch);
        assert_eq!((outcome.stored, outcome.rejected_total()), (1, 0));
        assert_eq!(outcome.places[0].numbers, [(0, bench.place(FLOATS).number)]);
        assert_eq!(bench.times_of(FLOATS), [0, 1, time - TIME]);
    }
}

/// Goal: a place that leads nowhere has the labels asked for; one of a generation long gone too.
#[test]
fn places_that_lead_nowhere_are_found_by_their_labels() {
    let mut bench = Bench::with_series(&[FLOATS, 2]);
    for (step, generation, number) in [(2, 0, 77), (3, u32::MAX, 0), (4, 9, 1)] {
        let place = Some(SeriesPlace { shard: 0, number });
        let batch = PlacedBatch { generation, ..PlacedBatch::with_places(row(2, TIME + step, false), vec![place]) };
        let outcome = bench.append_placed(&batch);
        assert_eq!((outcome.stored, outcome.series_created), (1, 0));
    }
    assert_eq!((bench.times_of(2), bench.times_of(FLOATS)), (vec![0, 1, 2, 3, 4], vec![0, 1]));
}

/// Goal: an exemplar of a series by its place is the series', whether the place leads there or its labels do.
#[test]
fn exemplars_are_of_the_series_at_a_place() {
    for number in [None, Some(77)] {
        let mut bench = Bench::with_series(&[FLOATS, 2]);
        bench.head.set_exemplars_max(10);
        let mut batch = row(FLOATS, TIME + 4, false);
        batch.push_exemplar([(&b"trace"[..], &b"1"[..])], (TIME + 4, 7));
        let known = bench.place(FLOATS);
        let place = SeriesPlace { number: number.unwrap_or(known.number), ..known };
        let outcome = bench.append_placed(&PlacedBatch::with_places(batch, vec![Some(place)]));
        assert_eq!((outcome.stored, outcome.exemplars_stored), (1, 1));
        let found = exemplars::contents(&bench.head, Matcher::equal("job", "node"));
        assert_eq!(found.keys().map(ToString::to_string).collect::<Vec<_>>(), [text_of(FLOATS)]);
    }
}

/// Goal: a steady sender is told nothing; after a renumbering it is told all, and what it said meant the same series.
#[test]
fn a_sender_is_told_what_is_new_to_it() {
    let mut bench = Bench::with_series(&[1, 2, 4]);
    let request = |bench: &Bench, time: i64, series: &[u8]| {
        let mut batch = OwnedBatch::default();
        for &series in series {
            let labels = labels_of(series);
            batch.push(&key(), labels.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())), [(time, 7)]);
        }
        let places = series.iter().map(|series| bench.sender.place(*series)).collect();
        PlacedBatch::with_places(batch, places)
    };
    let border = (TIME.div_euclid(WINDOW_MS) + 1) * WINDOW_MS;
    let steady = request(&bench, border, &[2, 4]);
    assert_eq!(bench.append_placed(&steady).places, []);
    // The first one's samples are in a block, and so it goes.
    assert_eq!((bench.truncate(border), bench.renumber(|_| ())), (1, 1));
    let stale = request(&bench, border + 1, &[4, 2, 1]);
    let outcome = bench.append_placed(&stale);
    assert_eq!((outcome.stored, outcome.series_created), (3, 1));
    assert_eq!((outcome.places[0].generation, &*outcome.places[0].numbers), (1, &[(0, 1), (1, 0), (2, 2)][..]));
    let both = vec![border - TIME, border - TIME + 1];
    assert_eq!((bench.times_of(1), bench.times_of(2), bench.times_of(4)), (both[1..].to_vec(), both.clone(), both));
}
