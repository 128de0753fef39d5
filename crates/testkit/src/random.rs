//! A small seeded generator of random numbers (SplitMix64), the same on every machine.
//!
//! It owns the choices that tests make again and again: sizes around the edges of bytes and words,
//! and one of a list. It is no source of secrets.

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

/// Sizes at which packing into bytes, words and vectors changes its course.
const EDGES: [usize; 18] = [
    1, 2, 3, 7, 8, 9, 31, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 300,
];

impl Random {
    /// The stream of this seed.
    pub fn new(seed: u64) -> Self {
        Random { state: seed }
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `low` to `high`, both included.
    pub fn int(&mut self, low: i64, high: i64) -> i64 {
        let span = (high - low) as u64 + 1;
        low + (self.bits() % span) as i64
    }

    /// An index below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of a list.
    pub fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    /// A size from 1 to `max`, often one where packing changes its course.
    pub fn size(&mut self, max: usize) -> usize {
        let edge = self.pick(&EDGES);
        if edge <= max && self.once_in(2) {
            edge
        } else {
            1 + self.below(max)
        }
    }

    /// A multiple of 1/8 from -32 to 32, so that equal values come up; sometimes -0.
    pub fn real(&mut self) -> f32 {
        let eighths = self.int(-256, 256);
        if eighths == 0 && self.once_in(2) {
            -0.0
        } else {
            eighths as f32 / 8.0
        }
    }
}
