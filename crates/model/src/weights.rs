//! Packed weight matrices, shared by Net and Program.
//!
//! Owns [`BitMatrix`] (one bit per entry), [`Matrix`] (plain numbers) and [`Weights`] (rows of one of them).
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

/// A dense matrix of plain numbers, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix<T> {
    n_rows: usize,
    n_cols: usize,
    values: Vec<T>,
}

impl<T: Copy> Matrix<T> {
    /// The matrix with these row-major values; `None` if there are more or fewer than it needs.
    pub fn from_vec(n_rows: usize, n_cols: usize, values: Vec<T>) -> Option<Self> {
        (n_rows.checked_mul(n_cols) == Some(values.len())).then_some(Matrix {
            n_rows,
            n_cols,
            values,
        })
    }

    /// A matrix whose entry at `(row, col)` is `value(row, col)`.
    pub fn from_fn(n_rows: usize, n_cols: usize, mut value: impl FnMut(usize, usize) -> T) -> Self {
        let mut values = Vec::with_capacity(n_rows * n_cols);
        for row in 0..n_rows {
            values.extend((0..n_cols).map(|col| value(row, col)));
        }
        Matrix {
            n_rows,
            n_cols,
            values,
        }
    }

    /// Number of rows (outputs).
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Number of columns (inputs).
    pub fn n_cols(&self) -> usize {
        self.n_cols
    }

    /// The entries of one row.
    pub fn row(&self, row: usize) -> &[T] {
        &self.values[row * self.n_cols..(row + 1) * self.n_cols]
    }

    /// All entries, row-major.
    pub fn values(&self) -> &[T] {
        &self.values
    }
}

/// Weights of `K` bits: `sum over i of 2^i * s_i`, where `s_i` is +1 or -1 by the bit in plane `i`.
///
/// So they are the odd numbers from `1 - 2^K` to `2^K - 1`, DoReFa-Net's (Zhou et al. 2016) times `2^K - 1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BitPlanes {
    planes: Vec<BitMatrix>,
}

impl BitPlanes {
    /// How many planes there may be: one is [`Weights::Bits`], and with seven every weight fits 8 bits.
    pub const N_PLANES: core::ops::RangeInclusive<u8> = 2..=7;

    /// Weights of these planes, the lowest first; `None` if there are too few or too many, or their sizes differ.
    pub fn new(planes: Vec<BitMatrix>) -> Option<Self> {
        let first = planes.first()?;
        let size = (first.n_rows(), first.n_cols());
        let is_same = |plane: &BitMatrix| (plane.n_rows(), plane.n_cols()) == size;
        let is_valid = u8::try_from(planes.len()).is_ok_and(|n| Self::N_PLANES.contains(&n))
            && planes.iter().all(is_same);
        is_valid.then_some(BitPlanes { planes })
    }

    /// Weights of `n_planes` bits whose value at `(row, col)` is `value(row, col)`.
    ///
    /// # Panics
    ///
    /// If a value is even or too large, or there are too few or too many planes.
    pub fn from_fn(
        n_planes: usize,
        n_rows: usize,
        n_cols: usize,
        value: impl Fn(usize, usize) -> i32,
    ) -> Self {
        let top = (1 << n_planes) - 1;
        let code = |row, col| {
            let doubled = value(row, col) + top;
            let is_code = doubled & 1 == 0 && (0..=2 * top).contains(&doubled);
            assert!(
                is_code,
                "a weight of {n_planes} bits cannot be {}",
                doubled - top
            );
            doubled >> 1
        };
        let plane = |i| BitMatrix::from_fn(n_rows, n_cols, |row, col| code(row, col) >> i & 1 == 1);
        let planes = (0..n_planes).map(plane).collect();
        Self::new(planes).expect("2 to 7 planes of one size")
    }

    /// The planes, the lowest first.
    pub fn planes(&self) -> &[BitMatrix] {
        &self.planes
    }

    /// Number of rows (outputs).
    pub fn n_rows(&self) -> usize {
        self.planes[0].n_rows()
    }

    /// Number of columns (inputs).
    pub fn n_cols(&self) -> usize {
        self.planes[0].n_cols()
    }

    /// The weight at `(row, col)`.
    pub fn get(&self, row: usize, col: usize) -> i32 {
        let planes = self.planes.iter().enumerate();
        let code: i32 = planes
            .map(|(i, plane)| i32::from(plane.get(row, col)) << i)
            .sum();
        2 * code + 1 - (1 << self.planes.len())
    }

    /// The same weights in planes that `change` makes of these.
    pub fn map(&self, change: impl FnMut(&BitMatrix) -> BitMatrix) -> Option<Self> {
        Self::new(self.planes.iter().map(change).collect())
    }

    /// Changes the sign of every weight of a row, which inverts its bits.
    pub fn negate_row(&mut self, row: usize) {
        for plane in &mut self.planes {
            for col in 0..plane.n_cols() {
                let bit = plane.get(row, col);
                plane.set(row, col, !bit);
            }
        }
    }
}

/// The weights of a layer, one row per output.
///
/// A sign bit of 1 means +1, of 0 means -1.
#[derive(Clone, Debug, PartialEq)]
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
    /// Odd integers of 2 to 7 bits.
    Planes(BitPlanes),
    /// Integers from -128 to 127.
    Int8(Matrix<i8>),
    /// Finite IEEE binary32 numbers; a product with them is real.
    Real(Matrix<f32>),
}

impl Weights {
    /// Number of rows (outputs).
    pub fn n_rows(&self) -> usize {
        match self {
            Weights::Bits(sign) | Weights::Ternary { sign, .. } => sign.n_rows(),
            Weights::Planes(planes) => planes.n_rows(),
            Weights::Int8(values) => values.n_rows(),
            Weights::Real(values) => values.n_rows(),
        }
    }

    /// Number of columns (inputs).
    pub fn n_cols(&self) -> usize {
        match self {
            Weights::Bits(sign) | Weights::Ternary { sign, .. } => sign.n_cols(),
            Weights::Planes(planes) => planes.n_cols(),
            Weights::Int8(values) => values.n_cols(),
            Weights::Real(values) => values.n_cols(),
        }
    }

    /// Whether the weights are reals.
    pub fn is_real(&self) -> bool {
        matches!(self, Weights::Real(_))
    }

    /// The sign plane of bits and ternary weights.
    pub fn sign(&self) -> Option<&BitMatrix> {
        match self {
            Weights::Bits(sign) | Weights::Ternary { sign, .. } => Some(sign),
            Weights::Planes(_) | Weights::Int8(_) | Weights::Real(_) => None,
        }
    }

    /// The weight at `(row, col)` of a matrix of integers: -1, 0 or +1, or an integer of at most 8 bits.
    ///
    /// # Panics
    ///
    /// If the weights are reals.
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
            Weights::Planes(planes) => planes.get(row, col),
            Weights::Int8(values) => i32::from(values.row(row)[col]),
            Weights::Real(_) => panic!("real weights are no integers"),
        }
    }

    /// The weight at `(row, col)` as binary32, exactly.
    pub fn get_real(&self, row: usize, col: usize) -> f32 {
        match self {
            Weights::Real(values) => values.row(row)[col],
            _ => self.get(row, col) as f32,
        }
    }

    /// The sum of the positive and the sum of the negative weights of a row of integers.
    ///
    /// # Panics
    ///
    /// If the weights are reals.
    pub fn row_sums(&self, row: usize) -> (i64, i64) {
        match self {
            Weights::Bits(sign) => {
                let plus = i64::from(sign.count_ones(row));
                (plus, plus - sign.n_cols() as i64)
            }
            Weights::Ternary { sign, mask } => {
                let plus = i64::from(sign.count_ones(row));
                (plus, plus - i64::from(mask.count_ones(row)))
            }
            Weights::Planes(_) | Weights::Int8(_) => {
                let entries = (0..self.n_cols()).map(|col| i64::from(self.get(row, col)));
                entries.fold((0, 0), |(plus, minus), w| {
                    (plus + w.max(0), minus + w.min(0))
                })
            }
            Weights::Real(_) => panic!("real weights are no integers"),
        }
    }

    /// Number of weights in a row that are not zero.
    pub fn row_nonzero(&self, row: usize) -> u32 {
        match self {
            Weights::Bits(sign) => sign.n_cols() as u32,
            Weights::Planes(planes) => planes.n_cols() as u32,
            Weights::Ternary { mask, .. } => mask.count_ones(row),
            Weights::Int8(values) => values.row(row).iter().filter(|&&w| w != 0).count() as u32,
            Weights::Real(values) => values.row(row).iter().filter(|&&w| w != 0.0).count() as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_hold_every_odd_number_of_their_bits() {
        for n_planes in BitPlanes::N_PLANES.map(usize::from) {
            let n = 1 << n_planes;
            let value = |row: usize, col: usize| (2 * ((row + col) % n) + 1) as i32 - n as i32;
            let mut planes = BitPlanes::from_fn(n_planes, 3, n, value);
            for (row, col) in (0..3).flat_map(|row| (0..n).map(move |col| (row, col))) {
                assert_eq!(planes.get(row, col), value(row, col));
            }
            planes.negate_row(1);
            let negated = |row, col| value(row, col) * if row == 1 { -1 } else { 1 };
            assert_eq!(planes, BitPlanes::from_fn(n_planes, 3, n, negated));
            let most = (n * n / 4) as i64;
            assert_eq!(Weights::Planes(planes).row_sums(2), (most, -most));
        }
        let plane = |cols| BitMatrix::zeros(2, cols);
        assert_eq!(BitPlanes::new(vec![plane(3)]), None);
        assert_eq!(BitPlanes::new(vec![plane(3), plane(4)]), None);
        assert_eq!(BitPlanes::new(vec![plane(3); 8]), None);
    }

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
