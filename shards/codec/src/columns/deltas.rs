//! Whole numbers as runs of equal differences.

use super::Damage;
use crate::varint;

/// Most bytes of a series' delta: 33 bits of zigzag, doubled.
pub(super) const SERIES_BYTES_MAX: usize = 5;
/// Most bytes of a time's delta: the mark and eight bytes, or a varint of nine.
pub(super) const TIME_BYTES_MAX: usize = 9;

/// A delta that is not doubled follows.
const WIDE: u64 = 1;
/// Zigzag deltas from here on would take ten bytes when doubled; with the mark they take nine.
const WIDE_FROM: u64 = 1 << 62;

/// Appends the deltas of some numbers, the first against 0.
pub(super) fn encode(mut numbers: impl Iterator<Item = i64>, out: &mut Vec<u8>) {
    let Some(mut previous) = numbers.next() else { return };
    put_delta(previous, out);
    let (mut delta, mut repeats) = (previous, 0u64);
    for number in numbers {
        let next = number.wrapping_sub(previous);
        previous = number;
        if delta == next {
            repeats += 1;
        } else {
            put_repeats(repeats, out);
            put_delta(next, out);
            (delta, repeats) = (next, 0);
        }
    }
    put_repeats(repeats, out);
}

#[inline]
fn put_repeats(repeats: u64, out: &mut Vec<u8>) {
    if repeats > 0 {
        varint::put_unsigned(out, repeats << 1 | 1);
    }
}

#[inline]
fn put_delta(delta: i64, out: &mut Vec<u8>) {
    let folded = varint::zigzag(delta);
    if folded < WIDE_FROM {
        varint::put_unsigned(out, folded << 1);
    } else {
        out.push(WIDE as u8);
        out.extend_from_slice(&delta.to_le_bytes());
    }
}

/// One delta and how often it stands in a row.
struct Run {
    delta: i64,
    length: usize,
}

/// Takes a delta and its repeats. `left` samples are missing, one at least; the run has at most so many.
#[inline]
fn take_run(rest: &mut &[u8], left: usize) -> Result<Run, Damage> {
    let mut ahead = *rest;
    let head = varint::take_unsigned(&mut ahead)?;
    let delta = match head {
        WIDE => take_wide(&mut ahead)?,
        head if head % 2 == 0 => varint::unzigzag(head >> 1),
        _ => return Err(Damage::Repeat),
    };
    *rest = ahead;
    let mut length = 1;
    if left > 1 && rest.first().is_some_and(|&byte| byte % 2 == 1 && u64::from(byte) != WIDE) {
        let repeats = varint::take_unsigned(&mut ahead)? >> 1;
        length += usize::try_from(repeats).ok().filter(|&repeats| repeats < left).ok_or(Damage::Repeat)?;
        *rest = ahead;
    }
    Ok(Run { delta, length })
}

fn take_wide(ahead: &mut &[u8]) -> Result<i64, Damage> {
    let (&delta, after) = ahead.split_first_chunk().ok_or(Damage::Truncated)?;
    *ahead = after;
    Ok(i64::from_le_bytes(delta))
}

/// Takes `count` times off the front and appends them. The caller has seen that so many can be there.
pub(super) fn decode_times(rest: &mut &[u8], count: usize, times: &mut Vec<i64>) -> Result<(), Damage> {
    let start = times.len();
    times.resize(start + count, 0);
    let (mut missing, mut time) = (&mut times[start..], 0i64);
    while !missing.is_empty() {
        let Run { delta, length } = take_run(rest, missing.len())?;
        let (run, others) = missing.split_at_mut(length);
        for slot in run {
            time = time.wrapping_add(delta);
            *slot = time;
        }
        missing = others;
    }
    Ok(())
}

/// Takes `count` series references off the front and appends them. The caller has seen that so many can be there.
pub(super) fn decode_series(rest: &mut &[u8], count: usize, series: &mut Vec<u32>) -> Result<(), Damage> {
    let start = series.len();
    series.resize(start + count, 0);
    let (mut missing, mut last) = (&mut series[start..], 0u32);
    while !missing.is_empty() {
        let Run { delta, length } = take_run(rest, missing.len())?;
        // A run goes one way: when its end is a reference, all of it is.
        let end = delta.checked_mul(length as i64).and_then(|way| way.checked_add(last.into()));
        let end = end.and_then(|end| u32::try_from(end).ok()).ok_or(Damage::Series)?;
        let (run, others) = missing.split_at_mut(length);
        for slot in run {
            last = last.wrapping_add(delta as u32);
            *slot = last;
        }
        debug_assert_eq!(last, end, "the run ends where its end was reckoned");
        missing = others;
    }
    Ok(())
}
