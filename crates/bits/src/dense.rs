//! Kernels of the engine's dense layers: packed weights, products, comparisons with thresholds.
//!
//! Owns the repacked forms of a layer, [`BitRows`], the thresholds in the form that kernels
//! compare with, and the products over them. Packed images come in; integer scores or packed bits go
//! out. Leaves the choice of form, memory and threads to the engine. Every function panics when a
//! slice's length does not fit the stated shape: shapes come from a verified plan.

use alloc::vec::Vec;

use crate::aligned::AlignedWords;
use crate::dispatch::dispatch;
use crate::generic::codes::CodeBounds;
use crate::generic::count::Operands;
use crate::generic::sinks::{Compared, Scores};
use crate::isa::{Isa, Tier};
use crate::n_words;
use crate::panels::{interleave, padded_rows};

/// Rows of weights, each -1 or +1, or with a mask -1, 0 or +1, repacked for counting.
#[derive(Clone, Debug)]
pub struct BitRows {
    // Panels, see `panels`; the mask is empty when no weight is zero.
    sign: AlignedWords,
    mask: AlignedWords,
    n_rows: usize,
    n_cols: usize,
}

impl BitRows {
    /// Repacks row-major sign bits, `[n_rows][n_words(n_cols)]` with zero tails.
    pub fn bipolar(sign: &[u64], n_rows: usize, n_cols: usize) -> Self {
        let sign = interleave(sign, n_rows, n_cols);
        BitRows {
            sign,
            mask: AlignedWords::zeros(0),
            n_rows,
            n_cols,
        }
    }

    /// Repacks row-major sign and mask bits; sign bits outside the mask are zero.
    pub fn ternary(sign: &[u64], mask: &[u64], n_rows: usize, n_cols: usize) -> Self {
        let (sign, mask) = (
            interleave(sign, n_rows, n_cols),
            interleave(mask, n_rows, n_cols),
        );
        BitRows {
            sign,
            mask,
            n_rows,
            n_cols,
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
        8 * (self.sign.len() + self.mask.len())
    }

    fn operands<'a>(&'a self, x: &'a [u64], n_planes: usize) -> Operands<'a> {
        assert!(n_planes > 0, "an operand has at least one plane");
        let n_words = n_words(self.n_cols);
        assert!(
            x.len().is_multiple_of(n_planes * n_words),
            "words of images of {n_planes} planes"
        );
        let m = x.len() / (n_planes * n_words);
        Operands {
            x,
            sign: &self.sign,
            mask: &self.mask,
            n_words,
            n_planes,
            m,
            n: self.n_rows,
        }
    }
}

/// Bounds of a thresholded layer, one per row: a row answers `(total < bound) != flip`.
#[derive(Clone, Debug)]
pub struct Bounds {
    // Rounded up to a multiple of 8 rows with zeros, which answer 0.
    padded: Vec<u64>,
    // One bit per row, zero past the last.
    flip: Vec<u64>,
    n_rows: usize,
}

impl Bounds {
    /// A bound and a flip for every row.
    pub fn new(rows: impl ExactSizeIterator<Item = (u64, bool)>) -> Self {
        let n_rows = rows.len();
        let mut bounds = Bounds {
            padded: Vec::new(),
            flip: Vec::new(),
            n_rows,
        };
        bounds.padded.resize(padded_rows(n_rows), 0);
        bounds.flip.resize(n_words(n_rows), 0);
        for (row, (bound, flip)) in rows.enumerate() {
            bounds.padded[row] = bound;
            bounds.flip[row / 64] |= u64::from(flip) << (row % 64);
        }
        bounds
    }

    /// The bound and flip of every row.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (u64, bool)> {
        (0..self.n_rows).map(|row| (self.padded[row], self.flip[row / 64] >> (row % 64) & 1 == 1))
    }
}

/// `out[image][row] = base[row] - (total << shift)`, where `total` is the sum over planes `p` of
/// `2^p` times the number of bits that differ between plane `p` and the row, within its mask.
/// Scores wrap around `i32`; a verified plan has none that would.
///
/// `x` is `[m][n_planes][n_words(n_cols)]`, `out` is `[m][n_rows]`. A product of bits has one plane
/// and shift 1; a product of codes has a plane for each of their bits and shift 0.
pub fn dense_scores(
    isa: Isa,
    rows: &BitRows,
    x: &[u64],
    n_planes: usize,
    base: &[i32],
    shift: u32,
    out: &mut [i32],
) {
    let operands = rows.operands(x, n_planes);
    assert_eq!(base.len(), rows.n_rows, "one base for each row");
    assert_eq!(
        out.len(),
        operands.m * rows.n_rows,
        "one score for each image and row"
    );
    let mut sink = Scores { base, shift, out };
    if rows.mask.is_empty() {
        dispatch!(isa, count_scores(operands, &mut sink));
    } else {
        dispatch!(isa, count_scores_masked(operands, &mut sink));
    }
}

/// Bit `row` of `out[image]` is `(total < bound[row]) != flip[row]`, with totals as in [`dense_scores`].
///
/// `x` is `[m][n_planes][n_words(n_cols)]`, `out` is `[m][n_words(n_rows)]`.
pub fn dense_bits(
    isa: Isa,
    rows: &BitRows,
    x: &[u64],
    n_planes: usize,
    bounds: &Bounds,
    out: &mut [u64],
) {
    let operands = rows.operands(x, n_planes);
    assert_eq!(bounds.n_rows, rows.n_rows, "one bound for each row");
    assert_eq!(
        out.len(),
        operands.m * n_words(rows.n_rows),
        "one bit for each image and row"
    );
    let mut sink = Compared {
        bounds: &bounds.padded,
        flip: &bounds.flip,
        n: rows.n_rows,
        out,
    };
    if rows.mask.is_empty() {
        dispatch!(isa, count_compared(operands, &mut sink));
    } else {
        dispatch!(isa, count_compared_masked(operands, &mut sink));
    }
}

/// Thresholds of 8-bit codes, one per element of an image.
#[derive(Clone, Debug)]
pub struct CodeThresholds {
    at: Vec<u8>,
    keep: Vec<u64>,
    flip: Vec<u64>,
    n: usize,
}

impl CodeThresholds {
    /// Compares element `i` as `(code >= at[i]) != flip[i]`, where `thresholds` yields `(at, flip)`.
    pub fn new(thresholds: impl ExactSizeIterator<Item = (i32, bool)>) -> Self {
        let n = thresholds.len();
        let words = n_words(n);
        let mut packed = CodeThresholds {
            at: Vec::new(),
            keep: Vec::new(),
            flip: Vec::new(),
            n,
        };
        packed.at.resize(64 * words, 0);
        packed.keep.resize(words, 0);
        packed.flip.resize(words, 0);
        for (i, (at, flip)) in thresholds.enumerate() {
            // A threshold above every code is one that is reached but not kept.
            packed.at[i] = at.clamp(0, 255) as u8;
            packed.keep[i / 64] |= u64::from(at <= 255) << (i % 64);
            packed.flip[i / 64] |= u64::from(flip) << (i % 64);
        }
        packed
    }

    /// Elements of an image.
    pub fn n(&self) -> usize {
        self.n
    }
}

/// Packs the comparison of every code with its threshold.
///
/// `codes` is `[m][n]`, `out` is `[m][n_words(n)]`.
pub fn threshold_codes(isa: Isa, codes: &[u8], thresholds: &CodeThresholds, out: &mut [u64]) {
    let n = thresholds.n;
    assert!(codes.len().is_multiple_of(n), "codes fill images of {n}");
    assert_eq!(
        out.len(),
        codes.len() / n * n_words(n),
        "one bit for each code"
    );
    let bounds = CodeBounds {
        at: &thresholds.at,
        keep: &thresholds.keep,
        flip: &thresholds.flip,
    };
    dispatch!(isa, threshold_codes(codes, n, bounds, out));
}

/// Packs the `n_planes` least significant bit planes of codes.
///
/// `codes` is `[m][n]`, `out` is `[m][n_planes][n_words(n)]`.
pub fn code_planes(isa: Isa, codes: &[u8], n: usize, n_planes: usize, out: &mut [u64]) {
    assert!((1..=8).contains(&n_planes), "codes have 1 to 8 planes");
    assert!(
        n > 0 && codes.len().is_multiple_of(n),
        "codes fill images of {n}"
    );
    assert_eq!(
        out.len(),
        codes.len() / n * n_planes * n_words(n),
        "one bit for each plane of a code"
    );
    dispatch!(isa, code_planes(codes, n, n_planes, out));
}
