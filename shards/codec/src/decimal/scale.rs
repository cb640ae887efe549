//! Doubles as integers divided by a power of ten, without a bit lost.

/// Most decimals. Nanoseconds written as seconds have as many.
pub(super) const DECIMALS_MAX: u8 = 9;

/// Added and taken away again, it rounds a double below 2^51 to a whole number, which the sum has in its low bits.
const ROUNDER: f64 = (3u64 << 51) as f64;

/// All of them are doubles without rounding.
const POWERS: [f64; DECIMALS_MAX as usize + 1] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];

/// Puts the integers of all values in place of what was there; returns their decimals, the fewest that do.
pub(super) fn to_integers(values: &[u64], integers: &mut Vec<i64>) -> Option<u8> {
    let mut decimals = 0;
    while let Some(longer) = fill(values, decimals, integers) {
        // Who does not fit is asked for more until it does; the others are seen again.
        decimals = (decimals + 1..=DECIMALS_MAX).find(|&more| nearest(longer, POWERS[usize::from(more)]).1)?;
    }
    Some(decimals)
}

/// Returns the first value that has more decimals, if one has.
fn fill(values: &[u64], decimals: u8, integers: &mut Vec<i64>) -> Option<u64> {
    integers.clear();
    integers.resize(values.len(), 0);
    let power = POWERS[usize::from(decimals)];
    // Without a way out of the loop it becomes vector instructions.
    let mut fit = true;
    for (integer, &bits) in integers.iter_mut().zip(values) {
        let (candidate, is_same) = nearest(bits, power);
        *integer = candidate;
        fit &= is_same;
    }
    if fit { None } else { values.iter().copied().find(|&bits| !nearest(bits, power).1) }
}

/// The integer next to a double times a power, and whether it gives the same bits again.
#[inline(always)]
fn nearest(bits: u64, power: f64) -> (i64, bool) {
    let sum = f64::from_bits(bits) * power + ROUNDER;
    let integer = sum.to_bits().wrapping_sub(ROUNDER.to_bits()) as i64;
    // The sum of a number that is too large, or is none, has another exponent.
    let has_exponent = sum.to_bits() >> 52 == ROUNDER.to_bits() >> 52;
    (integer, (to_double(integer, power) == bits) & has_exponent)
}

/// Exact for the integers that an encoder writes; of others, which only damage makes, any double.
#[inline(always)]
fn to_double(integer: i64, power: f64) -> u64 {
    let whole = f64::from_bits(ROUNDER.to_bits().wrapping_add(integer as u64)) - ROUNDER;
    (whole / power).to_bits()
}

/// Turns integers into the bits of their doubles.
pub(super) fn to_doubles(values: &mut [u64], decimals: u8) {
    if decimals == 0 {
        values.iter_mut().for_each(|value| *value = to_double(*value as i64, 1.0));
        return;
    }
    let power = POWERS[usize::from(decimals)];
    values.iter_mut().for_each(|value| *value = to_double(*value as i64, power));
}
