//! The XOR chunk bit by bit, straight from the format's description: slow, obvious, and without a line of the real one.

pub(crate) type Samples = Vec<(i64, u64)>;

pub(crate) fn encode(samples: &[(i64, u64)]) -> Vec<u8> {
    let mut bits = Vec::new();
    push(&mut bits, samples.len() as u128, 16);
    let (mut window, mut delta) = (None, 0);
    for (index, &(time, value)) in samples.iter().enumerate() {
        if index == 0 {
            // Zigzag: 0, -1, 1, -2, ... are 0, 1, 2, 3, ...
            let time = i128::from(time);
            push_varint(&mut bits, if time < 0 { -2 * time - 1 } else { 2 * time } as u128);
            push(&mut bits, value.into(), 64);
            continue;
        }
        let (time_before, value_before) = samples[index - 1];
        let next = time.wrapping_sub(time_before);
        if index == 1 {
            push_varint(&mut bits, (next as u64).into());
        } else {
            push_dod(&mut bits, next.wrapping_sub(delta));
        }
        delta = next;
        push_xor(&mut bits, value ^ value_before, &mut window);
    }
    bits.chunks(8).map(|byte| byte.iter().enumerate().map(|(at, &bit)| u8::from(bit) << (7 - at)).sum()).collect()
}

/// `None` for anything that does not hold its samples.
pub(crate) fn decode(chunk: &[u8]) -> Option<Samples> {
    let mut bits = chunk.iter().flat_map(|byte| (0..8).map(move |at| byte >> (7 - at) & 1 == 1));
    let count = take(&mut bits, 16)?;
    let (mut samples, mut window, mut delta) = (Samples::new(), (0, 64), 0i64);
    for index in 0..count {
        let Some(&(time, value)) = samples.last() else {
            let folded = i128::try_from(take_varint(&mut bits)?).ok()?;
            let time = if folded % 2 == 1 { -(folded + 1) / 2 } else { folded / 2 };
            samples.push((time as i64, take(&mut bits, 64)? as u64));
            continue;
        };
        delta = if index == 1 { take_varint(&mut bits)? as i64 } else { delta.wrapping_add(take_dod(&mut bits)?) };
        let xor = take_xor(&mut bits, &mut window)?;
        samples.push((time.wrapping_add(delta), value ^ xor));
    }
    Some(samples)
}

fn push(bits: &mut Vec<bool>, number: u128, count: u32) {
    bits.extend((0..count).rev().map(|at| number >> at & 1 == 1));
}

fn push_varint(bits: &mut Vec<bool>, number: u128) {
    let mut rest = number;
    while rest > 127 {
        push(bits, 128 + rest % 128, 8);
        rest /= 128;
    }
    push(bits, rest, 8);
}

fn push_dod(bits: &mut Vec<bool>, dod: i64) {
    if dod == 0 {
        return push(bits, 0, 1);
    }
    for (control, control_bits, width) in [(0b10, 2, 14), (0b110, 3, 17), (0b1110, 4, 20)] {
        let half = 1i64 << (width - 1);
        if (1 - half..=half).contains(&dod) {
            push(bits, control, control_bits);
            return push(bits, dod as u128, width);
        }
    }
    push(bits, 0b1111, 4);
    push(bits, dod as u128, 64);
}

/// `window`: leading zeros and length.
fn push_xor(bits: &mut Vec<bool>, xor: u64, window: &mut Option<(u32, u32)>) {
    if xor == 0 {
        return push(bits, 0, 1);
    }
    let (leading, trailing) = (xor.leading_zeros().min(31), xor.trailing_zeros());
    push(bits, 1, 1);
    let (in_force, length) = match *window {
        Some((in_force, length)) if leading >= in_force && trailing >= 64 - in_force - length => {
            push(bits, 0, 1);
            (in_force, length)
        }
        _ => {
            let length = 64 - leading - trailing;
            push(bits, 1, 1);
            push(bits, leading.into(), 5);
            push(bits, (length % 64).into(), 6);
            (leading, length)
        }
    };
    *window = Some((in_force, length));
    push(bits, u128::from(xor) >> (64 - in_force - length), length);
}

fn take(bits: &mut impl Iterator<Item = bool>, count: u32) -> Option<u128> {
    (0..count).try_fold(0, |number, _| Some(number << 1 | u128::from(bits.next()?)))
}

fn take_varint(bits: &mut impl Iterator<Item = bool>) -> Option<u128> {
    let mut number = 0;
    for place in 0..10 {
        let byte = take(bits, 8)?;
        number += (byte % 128) << (7 * place);
        if byte < 128 {
            return Some(number).filter(|&number| number <= u64::MAX.into());
        }
    }
    None
}

fn take_dod(bits: &mut impl Iterator<Item = bool>) -> Option<i64> {
    let mut ones = 0;
    while ones < 4 && take(bits, 1)? == 1 {
        ones += 1;
    }
    let width = [0, 14, 17, 20, 64][ones];
    let field = take(bits, width)? as i128;
    Some(if width > 0 && width < 64 && field > 1 << (width - 1) { field - (1 << width) } else { field } as i64)
}

fn take_xor(bits: &mut impl Iterator<Item = bool>, window: &mut (u32, u32)) -> Option<u64> {
    if take(bits, 1)? == 0 {
        return Some(0);
    }
    if take(bits, 1)? == 1 {
        let (leading, length) = (take(bits, 5)? as u32, take(bits, 6)? as u32);
        *window = (leading, if length == 0 { 64 } else { length });
    }
    let trailing = 64u32.checked_sub(window.0 + window.1)?;
    Some((take(bits, window.1)? as u64) << trailing)
}
