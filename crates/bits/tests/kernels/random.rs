//! Repeatable inputs for every kernel.
//!
//! Owns the generator; the shapes of a kernel's cases are beside the kernel's test.

use onebit_bits::n_words;

/// A small generator (xorshift).
pub struct Random(u64);

impl Random {
    /// The generator of this seed.
    pub fn new(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        // Neighbouring seeds begin alike.
        for _ in 0..4 {
            random.next();
        }
        random
    }

    /// 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() >> 11) as usize % n
    }

    /// A number from `low` to `high`, both included.
    pub fn from(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1) as usize) as i64
    }

    /// True in one of `n` cases.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of a list.
    pub fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    /// Packed rows with zero tails.
    pub fn rows(&mut self, n_rows: usize, n_cols: usize) -> Vec<u64> {
        let words = n_words(n_cols);
        let tail = if n_cols.is_multiple_of(64) {
            !0
        } else {
            !0 >> (64 - n_cols % 64)
        };
        let mask = |at: usize| if at % words == words - 1 { tail } else { !0 };
        (0..n_rows * words)
            .map(|at| self.next() & mask(at))
            .collect()
    }

    /// Floats whose signs and zeros are easily confused.
    pub fn floats(&mut self, n: usize) -> Vec<f32> {
        let choices = [
            0.0,
            -0.0,
            1.0,
            -1.0,
            1e-40,
            -1e-40,
            f32::INFINITY,
            -2.5,
            f32::NAN,
        ];
        (0..n).map(|_| self.pick(&choices)).collect()
    }

    /// A float of no round value, between -4 and 4.
    pub fn real(&mut self) -> f32 {
        (self.next() as i32) as f32 / (1u32 << 29) as f32
    }

    /// Floats of no round value; where `specials` says so, one in eight is a zero, an infinity, a NaN or
    /// a number at the end of the range.
    pub fn reals(&mut self, n: usize, specials: Specials) -> Vec<f32> {
        let choices = [
            0.0,
            -0.0,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
            1e-40,
            -1e-40,
            f32::MAX,
        ];
        (0..n)
            .map(|_| match specials {
                Specials::Some if self.one_in(8) => self.pick(&choices),
                _ => self.real(),
            })
            .collect()
    }

    /// Bytes.
    pub fn codes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.next() as u8).collect()
    }

    /// Thresholds with flips, around the sums and at the ends of the range.
    pub fn thresholds(&mut self, n: usize, sums: &[i32]) -> Vec<(i32, bool)> {
        (0..n)
            .map(|_| {
                let near = self.pick(sums).saturating_add(self.from(-1, 1) as i32);
                let at = self.pick(&[near, near, near, near, near, 0, i32::MIN, i32::MAX]);
                (at, self.one_in(2))
            })
            .collect()
    }
}

/// Whether special floats are among the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Specials {
    /// They are.
    Some,
    /// All are finite and not zero.
    None,
}

/// The bits of floats, every NaN as the same one: payloads are not defined.
pub fn bits_of(values: &[f32]) -> Vec<u64> {
    values
        .iter()
        .map(|x| if x.is_nan() { f32::NAN } else { *x })
        .map(|x| u64::from(x.to_bits()))
        .collect()
}

/// Words of 32 bits in the `u64`s that hold them, the lower half first; an odd one leaves ones above it.
pub fn paired(words: &[u32]) -> Vec<u64> {
    words
        .chunks(2)
        .map(|pair| {
            let high = pair.get(1).copied().unwrap_or(u32::MAX);
            u64::from(pair[0]) | u64::from(high) << 32
        })
        .collect()
}

/// Bits of `[position][n]` as `[position][ceil(n / 32)]` words of 32 bits.
pub fn packed(bits: &[bool], n: usize) -> Vec<u32> {
    let mut words = Vec::with_capacity(bits.len() / n * n.div_ceil(32));
    for position in bits.chunks(n) {
        for chunk in position.chunks(32) {
            let set = chunk
                .iter()
                .enumerate()
                .map(|(i, &bit)| u32::from(bit) << i);
            words.push(set.sum());
        }
    }
    words
}
