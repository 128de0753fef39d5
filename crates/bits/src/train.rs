//! Kernels of the training step: floats to packed bits, back, and products of packed rows as floats.
//!
//! Matrices of floats are row-major; packed matrices are row-major with `n_words(n_cols)` words a
//! row and zero tails. Every function panics when a slice's length does not fit the stated shape:
//! shapes here come from the trainer's own layers, never from a file.

use crate::dispatch::dispatch;
use crate::generic::count::Operands;
use crate::generic::sinks::Dots;
use crate::generic::ternary::TernaryDots;
use crate::isa::{Isa, Tier};
use crate::n_words;
use crate::panels::interleave;

/// Rows in a matrix of `len` elements, `n_cols` to a row.
fn n_rows(len: usize, n_cols: usize) -> usize {
    assert!(n_cols > 0, "a matrix needs at least one column");
    assert!(
        len.is_multiple_of(n_cols),
        "{len} values do not fill rows of {n_cols}"
    );
    len / n_cols
}

/// Panics unless a packed matrix has `n_rows` rows of `n_cols` bits.
fn check_packed(words: &[u64], n_rows: usize, n_cols: usize) {
    assert_eq!(
        words.len(),
        n_rows * n_words(n_cols),
        "words of {n_rows} packed rows of {n_cols} bits"
    );
}

/// Packs the signs of row-major `values`: bit 1 where `value >= 0`, so -0 gives 1 and NaN gives 0.
pub fn pack_signs(isa: Isa, values: &[f32], n_cols: usize, words: &mut [u64]) {
    check_packed(words, n_rows(values.len(), n_cols), n_cols);
    dispatch!(isa, pack_signs(values, n_cols, words));
}

/// Packs ternary values: `mask` bit 1 where `value != 0`, `sign` bit 1 where `value > 0`.
pub fn pack_nonzero(isa: Isa, values: &[f32], n_cols: usize, sign: &mut [u64], mask: &mut [u64]) {
    let rows = n_rows(values.len(), n_cols);
    check_packed(sign, rows, n_cols);
    check_packed(mask, rows, n_cols);
    dispatch!(isa, pack_nonzero(values, n_cols, sign, mask));
}

/// Writes +1 for every one bit and -1 for every zero bit.
pub fn unpack_signs(isa: Isa, words: &[u64], n_cols: usize, values: &mut [f32]) {
    check_packed(words, n_rows(values.len(), n_cols), n_cols);
    dispatch!(isa, unpack_signs(words, n_cols, values));
}

/// Writes 0 where `mask` is 0, else +1 or -1 as `sign` says.
pub fn unpack_ternary(isa: Isa, sign: &[u64], mask: &[u64], n_cols: usize, values: &mut [f32]) {
    let rows = n_rows(values.len(), n_cols);
    check_packed(sign, rows, n_cols);
    check_packed(mask, rows, n_cols);
    dispatch!(isa, unpack_ternary(sign, mask, n_cols, values));
}

/// `out[i * n + j]` = the dot product of bipolar rows `x_i` and `w_j`: `n_cols - 2 * popcount(x_i ^ w_j)`.
///
/// `x` has `m` rows and `w` has `n`. Allocates a repacked copy of `w`.
pub fn xnor_gemm_f32(
    isa: Isa,
    x: &[u64],
    w: &[u64],
    n_cols: usize,
    m: usize,
    n: usize,
    out: &mut [f32],
) {
    assert!(
        n_cols > 0 && n > 0,
        "a product needs at least one row and one column"
    );
    check_packed(x, m, n_cols);
    check_packed(w, n, n_cols);
    assert_eq!(out.len(), m * n, "answers of {m} by {n}");
    let w = interleave(w, n, n_cols);
    let n_words = n_words(n_cols);
    let operands = Operands {
        x,
        sign: &w,
        mask: &[],
        n_words,
        n_planes: 1,
        m,
        n,
    };
    dispatch!(
        isa,
        count_dots(
            operands,
            &mut Dots {
                whole: n_cols as i32,
                n,
                out
            }
        )
    );
}

/// `out[i * n + j]` = the dot product of ternary rows: `popcount(mx & mw) - 2 * popcount((xs ^ ws) & mx & mw)`.
///
/// Sign bits are zero wherever the mask is. Allocates a repacked copy of the weights.
#[allow(
    clippy::too_many_arguments,
    reason = "two planes for each of two matrices, as training holds them"
)]
pub fn ternary_gemm_f32(
    isa: Isa,
    x_sign: &[u64],
    x_mask: &[u64],
    w_sign: &[u64],
    w_mask: &[u64],
    n_cols: usize,
    m: usize,
    n: usize,
    out: &mut [f32],
) {
    assert!(
        n_cols > 0 && n > 0,
        "a product needs at least one row and one column"
    );
    for (plane, rows) in [(x_sign, m), (x_mask, m), (w_sign, n), (w_mask, n)] {
        check_packed(plane, rows, n_cols);
    }
    assert_eq!(out.len(), m * n, "answers of {m} by {n}");
    let w = [
        &*interleave(w_sign, n, n_cols),
        &*interleave(w_mask, n, n_cols),
    ];
    let x = [x_sign, x_mask];
    dispatch!(
        isa,
        ternary_dots(TernaryDots {
            x,
            w,
            n_words: n_words(n_cols),
            m,
            n,
            out
        })
    );
}
