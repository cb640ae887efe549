use model::Timestamp;

use super::*;
use crate::{
    system::{Bounds, RequestSeries},
    workload,
};

const PROMISES: Promises = Promises {
    retry_is_success: true,
    in_order_only: true,
    contradictions_are_rejected: true,
    parts_are_atomic: true,
    visible_is_durable: true,
    past_bound_ms: 3_600_000,
    bounds: Bounds { tasks: 0, disk_operations_in_flight: 0, files: 0, disk_bytes: 0, answer_ms: 0 },
};

/// An oracle over three series, the first two of them in one shard.
fn oracle() -> (Oracle, Vec<Labels>) {
    let pool = workload::pool(3);
    let last = pool[2].clone();
    (Oracle::new(PROMISES, &pool, move |labels| usize::from(*labels == last)), pool)
}

fn sample(time: i64, value: f64) -> Sample {
    Sample { time: Timestamp(time), value }
}

fn request(series: &[(u32, &[Sample])]) -> Rc<Request> {
    let pool = workload::pool(3);
    let series = series.iter().map(|&(index, samples)| RequestSeries {
        index,
        labels: pool[index as usize].clone(),
        samples: samples.to_vec(),
    });
    Rc::new(Request { series: series.collect() })
}

fn answer(pool: &[Labels], series: &[(usize, &[Sample])]) -> ReadAnswer {
    let series = series.iter().map(|&(index, samples)| (pool[index].clone(), samples.to_vec())).collect();
    ReadAnswer { series, damage: Vec::new(), provisional: false }
}

/// Sends, acknowledges fully, and then judges a read of everything.
fn after_writing(sent: &[(u32, &[Sample])], read: &[(usize, &[Sample])]) -> Verdict {
    let (mut oracle, pool) = oracle();
    let request = request(sent);
    let send = oracle.sending(&request);
    oracle.acknowledged(send, request.sample_count(), 0)?;
    oracle.check_read(oracle.reading(), &Selection::EVERYTHING, &answer(&pool, read))
}

fn refuses(result: Verdict, word: &str) {
    let text = result.expect_err(word);
    assert!(text.contains(word), "{text:?} does not say {word:?}");
}

#[test]
fn a_faithful_read_passes_and_each_kind_of_fault_is_named() {
    let (a, b) = (sample(10, 1.0), sample(20, -0.0));
    assert_eq!(after_writing(&[(0, &[a, b])], &[(0, &[a, b])]), Ok(()));
    refuses(after_writing(&[(0, &[a, b])], &[(0, &[a])]), "lost");
    refuses(after_writing(&[(0, &[a, b])], &[(0, &[a, b, b])]), "twice");
    refuses(after_writing(&[(0, &[a, b])], &[(0, &[a, b]), (0, &[])]), "comes twice");
    refuses(after_writing(&[(0, &[a, b])], &[(0, &[b, a])]), "out of order");
    refuses(after_writing(&[(0, &[a, b])], &[(0, &[a, sample(20, 0.0)])]), "other bits");
    refuses(after_writing(&[(0, &[a, b])], &[(0, &[a, b, sample(30, 1.0)])]), "invented");
    refuses(after_writing(&[(0, &[a])], &[(0, &[a]), (1, &[a])]), "invented");
}

#[test]
fn what_was_sent_and_not_acknowledged_may_be_there_or_not_but_not_in_part() {
    let (a, b) = (sample(10, 1.0), sample(20, 2.0));
    for (read, fine) in [
        (&[(0usize, &[a][..]), (1, &[b]), (2, &[a])][..], true),
        (&[(0, &[a]), (1, &[b])], true),
        (&[(2, &[a])], true),
        (&[], true),
        (&[(0, &[a])], false),
        (&[(1, &[b]), (2, &[a])], false),
    ] {
        let (mut oracle, pool) = oracle();
        oracle.sending(&request(&[(0, &[a]), (1, &[b]), (2, &[a])]));
        let verdict = oracle.check_read(oracle.reading(), &Selection::EVERYTHING, &answer(&pool, read));
        assert_eq!(verdict.is_ok(), fine, "{read:?}: {verdict:?}");
    }
}

#[test]
fn a_read_that_began_before_the_acknowledgement_need_not_show_it() {
    let (mut oracle, pool) = oracle();
    let send = oracle.sending(&request(&[(0, &[sample(10, 1.0)])]));
    let began = oracle.reading();
    oracle.acknowledged(send, 1, 0).expect("a good answer");
    assert_eq!(oracle.check_read(began, &Selection::EVERYTHING, &answer(&pool, &[])), Ok(()));
    refuses(oracle.check_read(oracle.reading(), &Selection::EVERYTHING, &answer(&pool, &[])), "lost");
}

#[test]
fn what_was_seen_must_stay() {
    let a = sample(10, 1.0);
    let (mut oracle, pool) = oracle();
    oracle.sending(&request(&[(0, &[a])]));
    let seen = answer(&pool, &[(0, &[a])]);
    oracle.check_read(oracle.reading(), &Selection::EVERYTHING, &seen).expect("it may be there");
    refuses(oracle.settle(&answer(&pool, &[]), false).map(drop), "lost");
}

#[test]
fn what_a_restart_did_not_show_is_gone_for_good() {
    let a = sample(10, 1.0);
    let (mut oracle, pool) = oracle();
    oracle.sending(&request(&[(0, &[a])]));
    oracle.settle(&answer(&pool, &[]), false).expect("it may be gone");
    let back = answer(&pool, &[(0, &[a])]);
    refuses(oracle.check_read(oracle.reading(), &Selection::EVERYTHING, &back), "invented");
}

/// Acknowledges `sample` of series 0, then sends a request and answers it with so many rejected.
fn second_answer(first: Sample, second: &[Sample], rejected: usize) -> Verdict {
    let (mut oracle, _) = oracle();
    let send = oracle.sending(&request(&[(0, &[first])]));
    oracle.acknowledged(send, 1, 0)?;
    let send = oracle.sending(&request(&[(0, second)]));
    oracle.acknowledged(send, second.len() - rejected, rejected)
}

#[test]
fn counts_of_an_answer_are_held_against_the_rules() {
    let first = sample(100, 1.0);
    let (newer, older, same, other) = (sample(200, 1.0), sample(50, 1.0), first, sample(100, 2.0));
    assert_eq!(second_answer(first, &[newer], 0), Ok(()));
    refuses(second_answer(first, &[newer], 1), "rejected");
    assert_eq!(second_answer(first, &[older], 1), Ok(()));
    refuses(second_answer(first, &[older], 0), "rejected");
    assert_eq!(second_answer(first, &[same], 0), Ok(()));
    refuses(second_answer(first, &[same], 1), "rejected");
    assert_eq!(second_answer(first, &[other], 1), Ok(()));
    refuses(second_answer(first, &[other], 0), "rejected");
    assert_eq!(second_answer(first, &[newer, sample(150, 1.0), older], 2), Ok(()));
}

#[test]
fn two_answers_can_not_acknowledge_two_values() {
    let (mut oracle, _) = oracle();
    let one = oracle.sending(&request(&[(0, &[sample(10, 1.0)])]));
    let two = oracle.sending(&request(&[(0, &[sample(10, 2.0)])]));
    oracle.acknowledged(one, 1, 0).expect("a good answer");
    refuses(oracle.acknowledged(two, 1, 0), "now acknowledged with");
}

#[test]
fn a_partial_write_without_names_is_counted_at_the_next_start() {
    // Concurrent sends of three contested times: one of three was accepted, nobody said which.
    let times = [sample(10, 1.0), sample(20, 1.0), sample(30, 1.0)];
    let rivals = times.map(|rival| sample(rival.time.0, 2.0));
    for (read, fine) in [(&[(0usize, &times[1..2])][..], true), (&[(0, &rivals)], false), (&[], false)] {
        let (mut oracle, pool) = oracle();
        oracle.sending(&request(&[(0, &rivals)]));
        let send = oracle.sending(&request(&[(0, &times)]));
        oracle.acknowledged(send, 1, 2).expect("all three are doubtful");
        assert_eq!(oracle.settle(&answer(&pool, read), false).is_ok(), fine, "{read:?}");
    }
}

#[test]
fn rot_may_take_samples_but_not_change_them() {
    let (a, b) = (sample(10, 1.0), sample(20, 2.0));
    let settled = |read: &[(usize, &[Sample])]| {
        let (mut oracle, pool) = oracle();
        let send = oracle.sending(&request(&[(0, &[a, b])]));
        oracle.acknowledged(send, 2, 0).expect("a good answer");
        oracle.settle(&answer(&pool, read), true)
    };
    assert_eq!(settled(&[(0, &[a])]), Ok(1));
    assert_eq!(settled(&[]), Ok(2));
    refuses(settled(&[(0, &[a, sample(20, 3.0)])]).map(drop), "other bits");
}

#[test]
fn a_selection_is_judged_by_itself() {
    let (a, b) = (sample(10, 1.0), sample(20, 2.0));
    let (mut oracle, pool) = oracle();
    let send = oracle.sending(&request(&[(0, &[a, b]), (1, &[a])]));
    oracle.acknowledged(send, 3, 0).expect("a good answer");
    let label = pool[0].iter().find(|label| label.name == "instance").map(|l| (l.name.to_owned(), l.value.to_owned()));
    let selection = Selection { label, from: 15, to: 20 };
    let mut judge = |read: &[(usize, &[Sample])]| {
        let began = oracle.reading();
        oracle.check_read(began, &selection, &answer(&pool, read))
    };
    assert_eq!(judge(&[(0, &[b])]), Ok(()));
    refuses(judge(&[(0, &[a, b])]), "outside of the range");
    refuses(judge(&[(0, &[b]), (1, &[])]), "not selected");
    refuses(judge(&[]), "lost");
}

/// Writes two samples, asks for the deletion of the first, and writes a third; returns the oracle, the pool and the samples.
fn amid_deletion(done: bool) -> (Oracle, Vec<Labels>, [Sample; 3]) {
    let samples = [sample(10, 1.0), sample(20, 2.0), sample(30, 3.0)];
    let (mut oracle, pool) = oracle();
    let write = |oracle: &mut Oracle, samples: &[Sample]| {
        let request = request(&[(0, samples)]);
        let send = oracle.sending(&request);
        oracle.acknowledged(send, samples.len(), 0).expect("a good answer");
    };
    write(&mut oracle, &samples[..2]);
    let deletion = oracle.deleting(&Selection { label: None, from: 0, to: 15 });
    if done {
        oracle.deleted(deletion).expect("asked for");
    }
    write(&mut oracle, &samples[2..]);
    (oracle, pool, samples)
}

#[test]
fn what_was_deleted_is_gone_and_nothing_else() {
    let (mut oracle, pool, [a, b, c]) = amid_deletion(true);
    let now = oracle.reading();
    let mut judge = |read: &[Sample]| oracle.check_read(now, &Selection::EVERYTHING, &answer(&pool, &[(0, read)]));
    assert_eq!(judge(&[b, c]), Ok(()));
    refuses(judge(&[a, b, c]), "deleted sample is back");
    refuses(judge(&[c]), "lost");
    refuses(judge(&[b]), "lost");
}

#[test]
fn a_deletion_that_nobody_knows_to_be_done_may_be_until_a_start_shows_what_it_did() {
    let (mut oracle, pool, [a, b, c]) = amid_deletion(false);
    let both = [answer(&pool, &[(0, &[b, c])]), answer(&pool, &[(0, &[a, b, c])])];
    for read in [&both[1], &both[0], &both[1]] {
        assert_eq!(oracle.check_read(oracle.reading(), &Selection::EVERYTHING, read), Ok(()));
    }
    assert_eq!(oracle.settle(&both[1], false), Ok(0));
    refuses(oracle.check_read(oracle.reading(), &Selection::EVERYTHING, &both[0]), "lost");
}

#[test]
fn what_was_deleted_may_be_called_a_repetition_and_stays_away_all_the_same() {
    let (mut oracle, pool, [a, b, c]) = amid_deletion(true);
    let request = request(&[(0, &[a])]);
    let send = oracle.sending(&request);
    assert_eq!(oracle.acknowledged(send, 1, 0), Ok(()));
    let now = oracle.reading();
    let mut judge = |read: &[Sample]| oracle.check_read(now, &Selection::EVERYTHING, &answer(&pool, &[(0, read)]));
    assert_eq!(judge(&[b, c]), Ok(()));
    refuses(judge(&[a, b, c]), "deleted sample is back");
}
