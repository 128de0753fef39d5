//! A layer of bipolar weights with thresholds, repacked for bit-sliced products of large batches.
//!
//! Owns [`SlicedRows`] and its scratch; the algorithm is in `generic::sliced`. The form belongs to
//! one tier, because a block of rows is as wide as the tier's registers.

use alloc::vec;

use crate::aligned::AlignedWords;
#[cfg(target_arch = "aarch64")]
use crate::arch::aarch64::neon;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
use crate::arch::wasm32::simd128;
#[cfg(target_arch = "x86_64")]
use crate::arch::x86_64::{avx2, avx512};
use crate::dense::Bounds;
use crate::generic::sliced::{CHUNK_PAIRS, SlicedProduct, VARIANTS, n_chunks, n_planes};
use crate::isa::{Isa, Tier};
use crate::n_words;

/// Fewest columns of a sliced layer: fewer would leave the algorithm's lowest planes unused.
pub const MIN_SLICED_COLS: usize = 128;

/// A thresholded layer of bipolar weights, sliced for one tier.
#[derive(Clone, Debug)]
pub struct SlicedRows {
    // Private: the layout fits the registers of `isa` only.
    isa: Isa,
    pairs: AlignedWords,
    ends: AlignedWords,
    n_rows: usize,
    n_cols: usize,
}

/// Memory that a sliced product works in, for any of the layers it was made for.
#[derive(Clone, Debug)]
pub struct SlicedScratch {
    table: AlignedWords,
    sums: AlignedWords,
    offsets: AlignedWords,
}

/// Words in a register of the tier, or `None` where it has no sliced kernel.
fn register_words(isa: Isa) -> Option<usize> {
    match isa.tier() {
        Tier::Avx512 => Some(8),
        Tier::Avx2 => Some(4),
        Tier::Neon | Tier::Simd128 => Some(2),
        Tier::Scalar => None,
    }
}

impl SlicedRows {
    /// Rows that one pass of the tier's kernel computes, or `None` where the tier has none.
    pub fn block_rows(isa: Isa) -> Option<usize> {
        register_words(isa).map(|words| 64 * words)
    }

    /// Slices row-major sign bits, `[n_rows][n_words(n_cols)]` with zero tails; a row answers
    /// `(total < bound) != flip`, where the total is the number of its bits that differ.
    ///
    /// `None` where the tier has no sliced kernel or there are fewer than [`MIN_SLICED_COLS`]
    /// columns.
    pub fn new(isa: Isa, sign: &[u64], n_cols: usize, bounds: &Bounds) -> Option<Self> {
        let width = register_words(isa)?;
        let (n_rows, words) = (bounds.iter().len(), n_words(n_cols));
        assert_eq!(sign.len(), n_rows * words, "words of the sign bits");
        if n_cols < MIN_SLICED_COLS {
            return None;
        }
        let (chunks, planes) = (n_chunks(n_cols), n_planes(n_cols));
        let n_blocks = n_rows.div_ceil(64 * width);
        let mut rows = SlicedRows {
            isa,
            pairs: AlignedWords::zeros(n_blocks * chunks * CHUNK_PAIRS * 3 * width),
            ends: AlignedWords::zeros(n_blocks * (planes + 3) * width),
            n_rows,
            n_cols,
        };
        let mut unlike = vec![0; words];
        for (row, (sign, (bound, flip))) in sign.chunks_exact(words).zip(bounds.iter()).enumerate()
        {
            if flip {
                // The opposite row differs where this one agrees: `total >= bound` becomes
                // `n_cols - total < n_cols - bound + 1`.
                for (unlike, word) in unlike.iter_mut().zip(sign) {
                    *unlike = !word;
                }
                unlike[words - 1] &= u64::MAX >> (64 * words - n_cols);
                let bound = (n_cols as u64 + 1).saturating_sub(bound);
                rows.set_row(width, row, &unlike, bound);
            } else {
                rows.set_row(width, row, sign, bound);
            }
        }
        Some(rows)
    }

    /// Writes one row's bits into its lane of every register.
    fn set_row(&mut self, width: usize, row: usize, sign: &[u64], bound: u64) {
        let (chunks, planes) = (n_chunks(self.n_cols), n_planes(self.n_cols));
        let (block, lane) = (row / (64 * width), row % (64 * width));
        let (word, bit) = (lane / 64, lane % 64);
        let mut parity = 0;
        for pair in 0..chunks * CHUNK_PAIRS {
            let (chunk, column) = (pair / CHUNK_PAIRS, pair % CHUNK_PAIRS);
            let first = sign[2 * chunk] >> column & 1;
            let second = sign.get(2 * chunk + 1).map_or(0, |word| word >> column & 1);
            let at = (block * chunks * CHUNK_PAIRS + pair) * 3 * width + word;
            self.pairs[at] |= parity << bit;
            self.pairs[at + width] |= first << bit;
            self.pairs[at + 2 * width] |= second << bit;
            parity ^= first ^ second;
        }
        let at = block * (planes + 3) * width + word;
        self.ends[at] |= parity << bit;
        // A bound above every total answers 1 as well as the greatest one that the planes hold.
        let bound = bound.min((4 << planes) - 1);
        for plane in 0..planes + 2 {
            self.ends[at + (plane + 1) * width] |= (bound >> plane & 1) << bit;
        }
    }

    /// Number of rows.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Number of columns.
    pub fn n_cols(&self) -> usize {
        self.n_cols
    }

    /// Bytes of the repacked weights.
    pub fn n_bytes(&self) -> usize {
        8 * (self.pairs.len() + self.ends.len())
    }
}

impl SlicedScratch {
    /// Scratch for batches of at most `m` images of any of the layers.
    pub fn new<'a>(layers: impl Iterator<Item = &'a SlicedRows>, m: usize) -> Self {
        let (mut table, mut sums, mut offsets) = (0, 0, 0);
        for layer in layers {
            let width = register_words(layer.isa).unwrap_or(0);
            table = table.max(CHUNK_PAIRS * VARIANTS * width);
            sums = sums.max(m * n_planes(layer.n_cols) * width);
            offsets = offsets.max(m * n_chunks(layer.n_cols) * 8);
        }
        SlicedScratch {
            table: AlignedWords::zeros(table),
            sums: AlignedWords::zeros(sums),
            offsets: AlignedWords::zeros(offsets),
        }
    }
}

/// Bit `row` of `out[image]` is `(total < bound[row]) != flip[row]`.
///
/// `x` is `[m][n_words(n_cols)]` and `out` is `[m][n_words(n_rows)]`. Panics when the scratch was
/// not made for the layer and a batch of `m`.
pub fn dense_bits_sliced(
    rows: &SlicedRows,
    x: &[u64],
    scratch: &mut SlicedScratch,
    out: &mut [u64],
) {
    let width = register_words(rows.isa).unwrap_or(0);
    let words = n_words(rows.n_cols);
    assert!(x.len().is_multiple_of(words), "words of whole images");
    let m = x.len() / words;
    assert_eq!(
        out.len(),
        m * n_words(rows.n_rows),
        "one bit for each image and row"
    );
    assert!(
        scratch.table.len() >= CHUNK_PAIRS * VARIANTS * width,
        "scratch of another tier"
    );
    assert!(
        scratch.sums.len() >= m * n_planes(rows.n_cols) * width,
        "scratch for fewer images"
    );
    assert!(
        scratch.offsets.len() >= m * n_chunks(rows.n_cols) * 8,
        "scratch for fewer images"
    );
    let product = SlicedProduct {
        x,
        pairs: &rows.pairs,
        ends: &rows.ends,
        n_cols: rows.n_cols,
        m,
        n: rows.n_rows,
        table: &mut scratch.table,
        sums: &mut scratch.sums,
        offsets: &mut scratch.offsets,
        out,
    };
    match rows.isa.tier() {
        // SAFETY: the `Isa` proves the instructions; the lengths were checked here and in `new`.
        #[cfg(target_arch = "x86_64")]
        Tier::Avx512 => unsafe { avx512::sliced(product) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Tier::Avx2 => unsafe { avx2::sliced(product) },
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        Tier::Neon => unsafe { neon::sliced(product) },
        // SAFETY: as above.
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        Tier::Simd128 => unsafe { simd128::sliced(product) },
        _ => {
            let _ = product;
            unreachable!("`new` makes no sliced rows for a tier without the kernel");
        }
    }
}
