//! The product of two ternary matrices, which training needs.
//!
//! Each operand has a sign plane and a mask plane; the answer is the number of bits where both
//! masks are set, less twice the number of those where the signs differ.

use crate::panels::{PANEL_ROWS, padded_rows};
use crate::vector::Vector;

/// The operands and the place of the answers.
pub(crate) struct TernaryDots<'a> {
    /// Sign and mask of the images, `[m][n_words]` each.
    pub x: [&'a [u64]; 2],
    /// Sign and mask panels of the weights.
    pub w: [&'a [u64]; 2],
    /// Words in a row.
    pub n_words: usize,
    /// Images.
    pub m: usize,
    /// Rows.
    pub n: usize,
    /// `[m][n]`.
    pub out: &'a mut [f32],
}

/// Computes every answer.
///
/// `N8` is `8 / V::WORDS`.
///
/// # Safety
///
/// As [`Vector`]; the slices have the lengths their fields state.
#[inline(always)]
pub(crate) unsafe fn ternary_dots<V: Vector, const MR: usize, const N8: usize>(
    product: TernaryDots<'_>,
) {
    let TernaryDots {
        x,
        w,
        n_words,
        m,
        n,
        out,
    } = product;
    for first_row in (0..n).step_by(PANEL_ROWS) {
        let stored = PANEL_ROWS.min(padded_rows(n) - first_row);
        for row in (0..stored).step_by(8) {
            let present = 8.min(n - first_row - row);
            let mut image = 0;
            while image < m {
                let at = first_row * n_words + row;
                let images = if image + MR <= m { MR } else { 1 };
                let mut few = [[0.0; 8]; MR];
                // SAFETY: the panel stores `stored` rows, `row + 8 <= stored`, and `images` images
                // follow the first.
                unsafe {
                    let x = [
                        x[0].as_ptr().add(image * n_words),
                        x[1].as_ptr().add(image * n_words),
                    ];
                    let w = [w[0].as_ptr().add(at), w[1].as_ptr().add(at)];
                    if images == MR {
                        few = block::<V, MR, N8>(x, w, stored, n_words);
                    } else {
                        few[..1].copy_from_slice(&block::<V, 1, N8>(x, w, stored, n_words));
                    }
                }
                for (i, few) in few.iter().take(images).enumerate() {
                    let to = (image + i) * n + first_row + row;
                    out[to..to + present].copy_from_slice(&few[..present]);
                }
                image += images;
            }
        }
    }
}

/// The answers of `MR` images and 8 rows.
///
/// # Safety
///
/// As [`Vector`]; `x` is valid for `MR` rows of `n_words`, and `w + k * stride` for 8 words for
/// every `k < n_words`.
#[inline(always)]
unsafe fn block<V: Vector, const MR: usize, const N8: usize>(
    x: [*const u64; 2],
    w: [*const u64; 2],
    stride: usize,
    n_words: usize,
) -> [[f32; 8]; MR] {
    // SAFETY: the caller's promise covers every word index below `n_words`.
    unsafe {
        let mut totals = [[[V::zero(); N8]; 2]; MR];
        let mut first = 0;
        while first < n_words {
            let end = n_words.min(first.saturating_add(V::MAX_COUNTS));
            let mut counts = [[[V::zero(); N8]; 2]; MR];
            for k in first..end {
                for i in 0..MR {
                    let sign = V::splat(*x[0].add(i * n_words + k));
                    let mask = V::splat(*x[1].add(i * n_words + k));
                    for v in 0..N8 {
                        let at = k * stride + v * V::WORDS;
                        let both = mask.and(V::load(w[1].add(at)));
                        let differ = sign.xor_and(V::load(w[0].add(at)), both);
                        counts[i][0][v] = counts[i][0][v].add_counts(both.count());
                        counts[i][1][v] = counts[i][1][v].add_counts(differ.count());
                    }
                }
            }
            for i in 0..MR {
                for v in 0..N8 {
                    totals[i][0][v] = totals[i][0][v].add(counts[i][0][v].widen());
                    totals[i][1][v] = totals[i][1][v].add(counts[i][1][v].widen());
                }
            }
            first = end;
        }
        let mut dots = [[0.0; 8]; MR];
        for i in 0..MR {
            let (mut both, mut differ) = ([0i32; 8], [0i32; 8]);
            V::store_totals8(totals[i][0].as_ptr(), both.as_mut_ptr());
            V::store_totals8(totals[i][1].as_ptr(), differ.as_mut_ptr());
            for row in 0..8 {
                dots[i][row] = (both[row] - 2 * differ[row]) as f32;
            }
        }
        dots
    }
}
