//! The scalar twins: every kernel in plain Rust, written from its definition.
//!
//! They share no loop with `generic`, so that tests compare two independent implementations.

use crate::generic::codes::CodeBounds;
use crate::generic::count::Operands;
use crate::generic::peak::PEAK_REGISTERS;
use crate::generic::sinks::{Compared, Dots, Scores};
use crate::generic::ternary::TernaryDots;
use crate::n_words;
use crate::panels::{PANEL_ROWS, padded_rows};

/// Packs `value >= 0` of every row.
pub(crate) fn pack_signs(values: &[f32], n_cols: usize, words: &mut [u64]) {
    for (row, out) in values
        .chunks_exact(n_cols)
        .zip(words.chunks_exact_mut(n_words(n_cols)))
    {
        for (chunk, word) in row.chunks(64).zip(out) {
            *word = chunk
                .iter()
                .enumerate()
                .fold(0, |bits, (i, &value)| bits | (u64::from(value >= 0.0) << i));
        }
    }
}

/// Packs `value > 0` and `value != 0` of every row.
pub(crate) fn pack_nonzero(values: &[f32], n_cols: usize, sign: &mut [u64], mask: &mut [u64]) {
    let words = n_words(n_cols);
    let outs = sign
        .chunks_exact_mut(words)
        .zip(mask.chunks_exact_mut(words));
    for (row, (sign, mask)) in values.chunks_exact(n_cols).zip(outs) {
        for ((chunk, sign), mask) in row.chunks(64).zip(sign).zip(mask) {
            (*sign, *mask) = (0, 0);
            for (i, &value) in chunk.iter().enumerate() {
                *sign |= u64::from(value > 0.0) << i;
                *mask |= u64::from(value != 0.0) << i;
            }
        }
    }
}

/// Writes +1 and -1 for the bits of every row.
pub(crate) fn unpack_signs(words: &[u64], n_cols: usize, values: &mut [f32]) {
    for (row, bits) in values
        .chunks_exact_mut(n_cols)
        .zip(words.chunks_exact(n_words(n_cols)))
    {
        for (i, value) in row.iter_mut().enumerate() {
            *value = if bits[i / 64] >> (i % 64) & 1 == 1 {
                1.0
            } else {
                -1.0
            };
        }
    }
}

/// Writes +1, 0 and -1 for the bits of every row.
pub(crate) fn unpack_ternary(sign: &[u64], mask: &[u64], n_cols: usize, values: &mut [f32]) {
    let words = n_words(n_cols);
    let bits = sign.chunks_exact(words).zip(mask.chunks_exact(words));
    for (row, (sign, mask)) in values.chunks_exact_mut(n_cols).zip(bits) {
        for (i, value) in row.iter_mut().enumerate() {
            let bit = |words: &[u64]| words[i / 64] >> (i % 64) & 1 == 1;
            *value = match (bit(mask), bit(sign)) {
                (false, _) => 0.0,
                (true, true) => 1.0,
                (true, false) => -1.0,
            };
        }
    }
}

/// Totals of every image and row, each given to `put(image, row, total)`.
fn totals(operands: Operands<'_>, mut put: impl FnMut(usize, usize, u64)) {
    let Operands {
        x,
        sign,
        mask,
        n_words,
        n_planes,
        m,
        n,
    } = operands;
    for first in (0..n).step_by(PANEL_ROWS) {
        let stored = PANEL_ROWS.min(padded_rows(n) - first);
        let panel = first * n_words..(first + stored) * n_words;
        let sign = &sign[panel.clone()];
        let mask = if mask.is_empty() { mask } else { &mask[panel] };
        for image in 0..m {
            let mut totals = [0; PANEL_ROWS];
            for (at, x) in x[image * n_planes * n_words..][..n_planes * n_words]
                .iter()
                .enumerate()
            {
                let (plane, line) = (at / n_words, at % n_words * stored);
                let sign = &sign[line..line + stored];
                if mask.is_empty() {
                    for (total, sign) in totals.iter_mut().zip(sign) {
                        *total += u64::from((x ^ sign).count_ones()) << plane;
                    }
                } else {
                    for ((total, sign), mask) in totals.iter_mut().zip(sign).zip(&mask[line..]) {
                        *total += u64::from(((x ^ sign) & mask).count_ones()) << plane;
                    }
                }
            }
            for (row, total) in (first..n).zip(&totals[..stored]) {
                put(image, row, *total);
            }
        }
    }
}

/// `out[image][row] = whole - 2 * total`.
pub(crate) fn count_dots(operands: Operands<'_>, sink: &mut Dots<'_>) {
    totals(operands, |image, row, total| {
        sink.out[image * sink.n + row] = (sink.whole - 2 * total as i32) as f32;
    });
}

/// `out[image][row] = base[row] - (total << shift)`.
pub(crate) fn count_scores(operands: Operands<'_>, sink: &mut Scores<'_>) {
    totals(operands, |image, row, total| {
        sink.out[image * sink.base.len() + row] =
            sink.base[row].wrapping_sub((total as i32) << sink.shift);
    });
}

/// As [`count_scores`]: the mask is among the operands.
pub(crate) fn count_scores_masked(operands: Operands<'_>, sink: &mut Scores<'_>) {
    count_scores(operands, sink);
}

/// Bit `row` of `out[image]` is `(total < bound[row]) != flip[row]`.
pub(crate) fn count_compared(operands: Operands<'_>, sink: &mut Compared<'_>) {
    sink.out.fill(0);
    totals(operands, |image, row, total| {
        let word = &mut sink.out[image * n_words(sink.n) + row / 64];
        let flip = sink.flip[row / 64] >> (row % 64) & 1 == 1;
        *word |= u64::from((total < sink.bounds[row]) != flip) << (row % 64);
    });
}

/// As [`count_compared`]: the mask is among the operands.
pub(crate) fn count_compared_masked(operands: Operands<'_>, sink: &mut Compared<'_>) {
    count_compared(operands, sink);
}

/// `out[image][row]` = sum of `x * w` over ternary entries.
pub(crate) fn ternary_dots(product: TernaryDots<'_>) {
    let TernaryDots {
        x,
        w,
        n_words,
        m,
        n,
        out,
    } = product;
    for image in 0..m {
        for row in 0..n {
            let first = row / PANEL_ROWS * PANEL_ROWS;
            let stored = PANEL_ROWS.min(padded_rows(n) - first);
            let mut sum = 0;
            for word in 0..n_words {
                let at = first * n_words + word * stored + row - first;
                let both = x[1][image * n_words + word] & w[1][at];
                let differ = (x[0][image * n_words + word] ^ w[0][at]) & both;
                sum += both.count_ones() as i32 - 2 * differ.count_ones() as i32;
            }
            out[image * n + row] = sum as f32;
        }
    }
}

/// Packs `(code >= at && keep) != flip` of every image.
pub(crate) fn threshold_codes(codes: &[u8], n: usize, bounds: CodeBounds<'_>, out: &mut [u64]) {
    for (codes, out) in codes.chunks_exact(n).zip(out.chunks_exact_mut(n_words(n))) {
        out.fill(0);
        for (i, &code) in codes.iter().enumerate() {
            let bit = |words: &[u64]| words[i / 64] >> (i % 64) & 1 == 1;
            let one = (code >= bounds.at[i] && bit(bounds.keep)) != bit(bounds.flip);
            out[i / 64] |= u64::from(one) << (i % 64);
        }
    }
}

/// Packs bit planes of every image.
pub(crate) fn code_planes(codes: &[u8], n: usize, n_planes: usize, out: &mut [u64]) {
    let words = n_words(n);
    for (codes, out) in codes
        .chunks_exact(n)
        .zip(out.chunks_exact_mut(n_planes * words))
    {
        out.fill(0);
        for (i, &code) in codes.iter().enumerate() {
            for plane in 0..n_planes {
                out[plane * words + i / 64] |= u64::from(code >> plane & 1) << (i % 64);
            }
        }
    }
}

/// Counts the differing bits of `x` and four words, over and over; the answer is a checksum.
pub(crate) fn peak(x: &[u64], rounds: usize, checksum: &mut u64) {
    let weights: [u64; PEAK_REGISTERS] = core::array::from_fn(|v| 0x9E37_79B9_7F4A_7C15 << v);
    let mut totals = [0u64; PEAK_REGISTERS];
    for _ in 0..rounds {
        for &word in x {
            for (total, weights) in totals.iter_mut().zip(weights) {
                *total += u64::from((word ^ weights).count_ones());
            }
        }
    }
    *checksum = totals.into_iter().fold(*checksum, u64::wrapping_add);
}
