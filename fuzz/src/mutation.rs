//! Making new inputs of old ones.

/// splitmix64: small, fast, and the same everywhere for a seed.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below a bound that is not zero.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.word() % bound as u64) as usize
    }
}

/// Longest input that is made.
pub const INPUT_BYTES_MAX: usize = 64 << 10;

/// Known inputs and those that were made of them, bounded.
pub struct Corpus {
    inputs: Vec<Vec<u8>>,
    seeds: usize,
}

/// How many made inputs are kept as a start for others.
const DRIFTED_MAX: usize = 256;

impl Corpus {
    pub fn new(mut seeds: Vec<Vec<u8>>) -> Self {
        seeds.push(Vec::new());
        Self { seeds: seeds.len(), inputs: seeds }
    }

    /// Makes an input: one of the corpus, changed in a few places. Now and then it is kept, so that changes add up.
    pub fn next(&mut self, random: &mut Random) -> Vec<u8> {
        let mut input = self.inputs[random.below(self.inputs.len())].clone();
        let most = 1 << random.below(5);
        for _ in 0..1 + random.below(most) {
            let other = &self.inputs[random.below(self.inputs.len())];
            mutate(&mut input, other, random);
        }
        input.truncate(INPUT_BYTES_MAX);
        if random.below(64) == 0 {
            self.keep(input.clone(), random);
        }
        input
    }

    fn keep(&mut self, input: Vec<u8>, random: &mut Random) {
        if self.inputs.len() < self.seeds + DRIFTED_MAX {
            self.inputs.push(input);
        } else {
            self.inputs[self.seeds + random.below(DRIFTED_MAX)] = input;
        }
    }
}

/// Bytes at which parsers take decisions.
const EDGES: [u8; 10] = [0, 1, 2, 0x3f, 0x40, 0x7f, 0x80, 0x81, 0xfe, 0xff];

fn mutate(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let length = input.len();
    if length == 0 {
        return input.extend((0..random.below(32)).map(|_| random.word() as u8));
    }
    let at = random.below(length);
    let longest = (length - at).min(1 << random.below(8));
    let run = 1 + random.below(longest);
    match random.below(11) {
        0 | 1 => input[at] ^= 1 << random.below(8),
        2 => input[at] = random.word() as u8,
        3 => input[at] = EDGES[random.below(EDGES.len())],
        4 => input[at] = input[at].wrapping_add(random.below(9) as u8).wrapping_sub(4),
        5 => drop(input.drain(at..at + run)),
        6 => drop(input.splice(at..at, (0..run).map(|_| random.word() as u8))),
        7 => {
            let copy = input[at..at + run].to_vec();
            drop(input.splice(at..at, copy));
        }
        8 => input.truncate(at),
        // The longest varint, and one that is too long.
        9 => {
            let end = (at + 9).min(length);
            input[at..end].fill(0xff);
            input.insert(end, random.below(3) as u8);
        }
        _ => {
            let from = random.below(other.len() + 1);
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_inputs_again() {
        let make = |seed| {
            let (mut corpus, mut random) = (Corpus::new(vec![vec![1, 2, 3], vec![9; 100]]), Random::new(seed));
            (0..5_000).map(|_| corpus.next(&mut random)).collect::<Vec<_>>()
        };
        let first = make(1);
        assert!(first == make(1) && first != make(2));
        assert!(first.iter().all(|input| input.len() <= INPUT_BYTES_MAX));
    }
}
