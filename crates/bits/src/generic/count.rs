//! Products of packed rows by counting: XOR, population count, add.
//!
//! Weights come as panels (see [`crate::panels`]): lanes are rows, so totals stay in lanes. A block
//! of `MR` images by `NV` registers of rows is kept in registers while the words stream by, and a
//! [`Sink`] turns finished totals into answers.

use core::ops::Range;

use crate::panels::{PANEL_ROWS, padded_rows};
use crate::vector::Vector;

/// The operands of a counting product.
///
/// An operand of `n_planes` planes holds codes: plane `p` weighs `2^p`, and the total of an image
/// and a row is the sum over planes of `2^p * popcount((x_p ^ sign) & mask)`.
#[derive(Clone, Copy)]
pub(crate) struct Operands<'a> {
    /// Images: `[m][n_planes][n_words]`.
    pub x: &'a [u64],
    /// Sign panels of the weights.
    pub sign: &'a [u64],
    /// Mask panels, as long as `sign` when the product is masked and empty when it is not.
    pub mask: &'a [u64],
    /// Words in a row.
    pub n_words: usize,
    /// Bit planes of an image, at least 1.
    pub n_planes: usize,
    /// Images.
    pub m: usize,
    /// Rows of the weights.
    pub n: usize,
}

/// Where totals go.
///
/// # Safety
///
/// As [`Vector`].
pub(crate) trait Sink<V: Vector> {
    /// Takes the totals of one image and `NV * V::WORDS` consecutive rows, a multiple of 8.
    ///
    /// Within an image, rows come in ascending order within each panel of 64. Rows past the last
    /// one may be among them; their totals mean nothing.
    ///
    /// # Safety
    ///
    /// As the trait.
    unsafe fn put<const NV: usize>(&mut self, totals: &[V; NV], image: usize, row: usize);
}

/// Counts for every image and row.
///
/// `NV * V::WORDS` divides 64 and is a multiple of 16; `N8` is `8 / V::WORDS`.
///
/// # Safety
///
/// As [`Vector`]; the slices have the lengths their fields state.
#[inline(always)]
pub(crate) unsafe fn count<
    V: Vector,
    S: Sink<V>,
    const MR: usize,
    const NV: usize,
    const N8: usize,
    const MASKED: bool,
>(
    operands: Operands<'_>,
    sink: &mut S,
) {
    for first_row in (0..operands.n).step_by(PANEL_ROWS) {
        let mut image = 0;
        // SAFETY: `image + MR <= m` (or `image < m`), and `first_row` starts a panel.
        unsafe {
            while image + MR <= operands.m {
                panel::<V, S, MR, NV, N8, MASKED>(operands, first_row, image, sink);
                image += MR;
            }
            while image < operands.m {
                panel::<V, S, 1, NV, N8, MASKED>(operands, first_row, image, sink);
                image += 1;
            }
        }
    }
}

/// Counts for `MR` images in one panel.
///
/// # Safety
///
/// As [`count`]; `image + MR <= m`, and `first_row` is a multiple of 64 below `n`.
#[inline(always)]
unsafe fn panel<
    V: Vector,
    S: Sink<V>,
    const MR: usize,
    const NV: usize,
    const N8: usize,
    const MASKED: bool,
>(
    operands: Operands<'_>,
    first_row: usize,
    image: usize,
    sink: &mut S,
) {
    let stored = PANEL_ROWS.min(padded_rows(operands.n) - first_row);
    let mut row = 0;
    while row + NV * V::WORDS <= stored {
        // SAFETY: the panel stores `stored` rows.
        unsafe {
            let totals = block::<V, MR, NV, MASKED>(operands, first_row, row, stored, image);
            for i in 0..MR {
                sink.put(&totals[i], image + i, first_row + row);
            }
        }
        row += NV * V::WORDS;
    }
    while row < stored {
        // SAFETY: as above; `stored` is a multiple of 8.
        unsafe {
            let totals = block::<V, MR, N8, MASKED>(operands, first_row, row, stored, image);
            for i in 0..MR {
                sink.put(&totals[i], image + i, first_row + row);
            }
        }
        row += 8;
    }
}

/// Totals of `MR` images and `NV` registers of rows, the first being `first_row + row`.
///
/// # Safety
///
/// As [`panel`]; `row + NV * V::WORDS <= stored`.
#[inline(always)]
unsafe fn block<V: Vector, const MR: usize, const NV: usize, const MASKED: bool>(
    operands: Operands<'_>,
    first_row: usize,
    row: usize,
    stored: usize,
    image: usize,
) -> [[V; NV]; MR] {
    let Operands {
        n_words, n_planes, ..
    } = operands;
    // SAFETY: the caller's promise puts every offset inside its slice.
    unsafe {
        let at = first_row * n_words + row;
        let w = Strip {
            sign: operands.sign.as_ptr().add(at),
            mask: if MASKED {
                operands.mask.as_ptr().add(at)
            } else {
                operands.sign.as_ptr()
            },
            stride: stored,
        };
        let x = operands.x.as_ptr().add(image * n_planes * n_words);
        let stride = n_planes * n_words;
        let mut plane = n_planes - 1;
        let top = x.add(plane * n_words);
        let mut totals = differing::<V, MR, NV, MASKED>(top, stride, w, n_words);
        while plane > 0 {
            plane -= 1;
            // Horner's rule over the planes, most significant first.
            let x = x.add(plane * n_words);
            let counts = differing::<V, MR, NV, MASKED>(x, stride, w, n_words);
            for i in 0..MR {
                for v in 0..NV {
                    totals[i][v] = totals[i][v].add(totals[i][v]).add(counts[i][v]);
                }
            }
        }
        totals
    }
}

/// `NV` registers of rows of a panel: word `k` of them is at `k * stride` words.
#[derive(Clone, Copy)]
struct Strip {
    sign: *const u64,
    mask: *const u64,
    stride: usize,
}

/// The number of differing bits between `MR` rows of `x` and `NV` registers of weights.
///
/// # Safety
///
/// As [`Vector`]; `x` is valid for `MR` rows `x_stride` words apart, and the strip for `n_words`.
#[inline(always)]
unsafe fn differing<V: Vector, const MR: usize, const NV: usize, const MASKED: bool>(
    x: *const u64,
    x_stride: usize,
    w: Strip,
    n_words: usize,
) -> [[V; NV]; MR] {
    // SAFETY: the caller's promise covers every word index below `n_words`.
    unsafe {
        let mut first = n_words.min(V::MAX_COUNTS);
        let mut totals = count_words::<V, MR, NV, MASKED>(x, x_stride, w, 0..first);
        while first < n_words {
            let end = n_words.min(first.saturating_add(V::MAX_COUNTS));
            let more = count_words::<V, MR, NV, MASKED>(x, x_stride, w, first..end);
            for i in 0..MR {
                for v in 0..NV {
                    totals[i][v] = totals[i][v].add(more[i][v]);
                }
            }
            first = end;
        }
        totals
    }
}

/// As [`differing`], for at most `V::MAX_COUNTS` words.
///
/// # Safety
///
/// As [`differing`].
#[inline(always)]
unsafe fn count_words<V: Vector, const MR: usize, const NV: usize, const MASKED: bool>(
    x: *const u64,
    x_stride: usize,
    w: Strip,
    words: Range<usize>,
) -> [[V; NV]; MR] {
    // SAFETY: as `differing`.
    unsafe {
        let mut counts = [[V::zero(); NV]; MR];
        for k in words {
            let mut image = [V::zero(); MR];
            for i in 0..MR {
                image[i] = V::splat(*x.add(i * x_stride + k));
            }
            for v in 0..NV {
                let at = k * w.stride + v * V::WORDS;
                let sign = V::load(w.sign.add(at));
                let mask = if MASKED {
                    V::load(w.mask.add(at))
                } else {
                    sign
                };
                for i in 0..MR {
                    let differ = if MASKED {
                        image[i].xor_and(sign, mask)
                    } else {
                        image[i].xor(sign)
                    };
                    counts[i][v] = counts[i][v].add_counts(differ.count());
                }
            }
        }
        for i in 0..MR {
            for v in 0..NV {
                counts[i][v] = counts[i][v].widen();
            }
        }
        counts
    }
}
