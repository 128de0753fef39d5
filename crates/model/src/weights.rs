//! Packed weight matrices, shared by Net and Program.
//!
//! Owns [`BitMatrix`] (one bit per entry) and [`Weights`] (bipolar or ternary rows).
//! Every other room reads these; none keeps a packed form of its own except `run`, which repacks
//! them into a Plan for one machine.

use alloc::vec;
use alloc::vec::Vec;

/// A dense matrix of bits, one row per output, packed into 64-bit words.
///
/// Layout: `words[row * words_per_row + w]`, bit `i` of word `w` is column `64 * w + i`
/// (least significant bit first). Bits past the last column are always zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BitMatrix {
    n_rows: usize,
    n_cols: usize,
    words: Vec<u64>,
}

impl BitMatrix {
    /// A matrix of `n_rows` by `n_cols` zero bits.
    pub fn zeros(n_rows: usize, n_cols: usize) -> Self {
        BitMatrix {
            n_rows,
            n_cols,
            words: vec![0; n_rows * n_cols.div_ceil(64)],
        }
    }

    /// A matrix whose bit at `(row, col)` is `bit(row, col)`.
    pub fn from_fn(
        n_rows: usize,
        n_cols: usize,
        mut bit: impl FnMut(usize, usize) -> bool,
    ) -> Self {
        let mut matrix = Self::zeros(n_rows, n_cols);
        for row in 0..n_rows {
            for col in 0..n_cols {
                if bit(row, col) {
                    matrix.set(row, col, true);
                }
            }
        }
        matrix
    }

    /// The matrix with these words, in the layout above; `None` if there are more or fewer than the
    /// rows need, or a bit past the last column is set.
    pub fn from_words(n_rows: usize, n_cols: usize, words: Vec<u64>) -> Option<Self> {
        let words_per_row = n_cols.div_ceil(64);
        if n_rows.checked_mul(words_per_row) != Some(words.len()) {
            return None;
        }
        let used = n_cols % 64;
        let is_clean = |row: &[u64]| row.last().is_none_or(|word| word >> used == 0);
        if used != 0 && !words.chunks_exact(words_per_row).all(is_clean) {
            return None;
        }
        Some(BitMatrix {
            n_rows,
            n_cols,
            words,
        })
    }

    /// Number of rows (outputs).
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Number of columns (inputs).
    pub fn n_cols(&self) -> usize {
        self.n_cols
    }

    /// Words in one row: `n_cols / 64`, rounded up.
    pub fn words_per_row(&self) -> usize {
        self.n_cols.div_ceil(64)
    }

    /// The words of one row; bits past the last column are zero.
    pub fn row(&self, row: usize) -> &[u64] {
        let n = self.words_per_row();
        &self.words[row * n..(row + 1) * n]
    }

    /// The bit at `(row, col)`.
    pub fn get(&self, row: usize, col: usize) -> bool {
        assert!(
            col < self.n_cols,
            "column {col} of a matrix with {} columns",
            self.n_cols
        );
        (self.row(row)[col / 64] >> (col % 64)) & 1 == 1
    }

    /// Sets the bit at `(row, col)`.
    pub fn set(&mut self, row: usize, col: usize, value: bool) {
        assert!(
            col < self.n_cols,
            "column {col} of a matrix with {} columns",
            self.n_cols
        );
        let n = self.words_per_row();
        let word = &mut self.words[row * n + col / 64];
        let bit = 1u64 << (col % 64);
        if value {
            *word |= bit;
        } else {
            *word &= !bit;
        }
    }

    /// Number of one bits in a row.
    pub fn count_ones(&self, row: usize) -> u32 {
        self.row(row).iter().map(|word| word.count_ones()).sum()
    }
}

/// The weights of a layer, one row per output.
///
/// A sign bit of 1 means +1, of 0 means -1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Weights {
    /// Every weight is -1 or +1.
    Bits(BitMatrix),
    /// Every weight is -1, 0 or +1: where the mask bit is 0 the weight is 0 and the sign bit is 0.
    Ternary {
        /// Sign plane; zero wherever the mask is zero.
        sign: BitMatrix,
        /// Mask plane: 1 where the weight is not zero.
        mask: BitMatrix,
    },
}

impl Weights {
    /// Number of rows (outputs).
    pub fn n_rows(&self) -> usize {
        self.sign().n_rows()
    }

    /// Number of columns (inputs).
    pub fn n_cols(&self) -> usize {
        self.sign().n_cols()
    }

    /// The sign plane.
    pub fn sign(&self) -> &BitMatrix {
        match self {
            Weights::Bits(sign) | Weights::Ternary { sign, .. } => sign,
        }
    }

    /// The weight at `(row, col)`: -1, 0 or +1.
    pub fn get(&self, row: usize, col: usize) -> i32 {
        match self {
            Weights::Bits(sign) => 2 * i32::from(sign.get(row, col)) - 1,
            Weights::Ternary { sign, mask } => {
                if !mask.get(row, col) {
                    0
                } else {
                    2 * i32::from(sign.get(row, col)) - 1
                }
            }
        }
    }

    /// Number of weights in a row that are not zero.
    pub fn row_nonzero(&self, row: usize) -> u32 {
        match self {
            Weights::Bits(sign) => sign.n_cols() as u32,
            Weights::Ternary { mask, .. } => mask.count_ones(row),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_make_a_matrix_only_if_they_fit() {
        for n_cols in [1, 63, 64, 65, 128, 130] {
            let matrix = BitMatrix::from_fn(3, n_cols, |row, col| (row + col) % 3 == 0);
            let words: Vec<u64> = (0..3).flat_map(|row| matrix.row(row).to_vec()).collect();
            let from = |words: Vec<u64>| BitMatrix::from_words(3, n_cols, words);
            assert_eq!(from(words.clone()), Some(matrix));
            assert_eq!(from(words[1..].to_vec()), None);
            let mut dirty = words.clone();
            let last_of_row_1 = 2 * n_cols.div_ceil(64) - 1;
            dirty[last_of_row_1] |= 1 << 63;
            let is_whole = n_cols % 64 == 0;
            assert_eq!(from(dirty).is_some(), is_whole);
        }
        assert_eq!(BitMatrix::from_words(usize::MAX, 65, vec![0]), None);
    }
}
