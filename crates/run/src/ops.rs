//! The ops without a kernel of their own, in plain loops over a tile.
//!
//! Arithmetic is exactly the interpreter's: binary32 with one rounding per operation.

use onebit_bits::n_words;
use onebit_model::program::{Cuts, ThresholdValues};

use crate::values::Values;

/// Sets bit `i` of an image's packed bits for every element, in order.
fn pack(words: &mut [u64], bits: impl Iterator<Item = bool>) {
    words.fill(0);
    for (i, bit) in bits.enumerate() {
        words[i / 64] |= u64::from(bit) << (i % 64);
    }
}

/// `(x >= at[channel]) != flip[channel]` for `m` images of `n` elements.
pub(crate) fn threshold(
    x: &Values,
    at: &ThresholdValues,
    flip: &[bool],
    n: usize,
    m: usize,
    out: &mut [u64],
) {
    let images = out.chunks_exact_mut(n_words(n)).take(m);
    match (x, at) {
        (Values::Ints(x), ThresholdValues::Int(at)) => {
            for (x, out) in x.chunks_exact(n).zip(images) {
                let channels = at.iter().zip(flip).cycle();
                pack(
                    out,
                    x.iter()
                        .zip(channels)
                        .map(|(x, (at, flip))| (x >= at) != *flip),
                );
            }
        }
        (Values::Reals(x), ThresholdValues::Real(at)) => {
            for (x, out) in x.chunks_exact(n).zip(images) {
                let channels = at.iter().zip(flip).cycle();
                pack(
                    out,
                    x.iter()
                        .zip(channels)
                        .map(|(x, (at, flip))| (x >= at) != *flip),
                );
            }
        }
        _ => unreachable!("verify: thresholds are of the operand's kind"),
    }
}

/// The number of cuts that each of `count` elements reaches; cuts ascend, so they are searched.
pub(crate) fn quantize(x: &Values, cuts: &Cuts, count: usize, out: &mut [u8]) {
    let code_of_int = |x: i32, cuts: &[i32]| cuts.partition_point(|&cut| x >= cut) as u8;
    match (x, cuts) {
        (Values::Ints(x), Cuts::Int(cuts)) => {
            for (out, &x) in out.iter_mut().zip(&x[..count]) {
                *out = code_of_int(x, cuts);
            }
        }
        (Values::Codes(x), Cuts::Int(cuts)) => {
            for (out, &x) in out.iter_mut().zip(&x[..count]) {
                *out = code_of_int(i32::from(x), cuts);
            }
        }
        (Values::Reals(x), Cuts::Real(cuts)) => {
            for (out, &x) in out.iter_mut().zip(&x[..count]) {
                *out = cuts.partition_point(|&cut| x >= cut) as u8;
            }
        }
        _ => unreachable!("verify: cuts are of the operand's kind"),
    }
}

/// `scale[c] * (x as f32) + shift[c]`, each operation rounded once.
pub(crate) fn affine(x: &[i32], scale: &[f32], shift: &[f32], count: usize, out: &mut [f32]) {
    let rows = x[..count]
        .chunks_exact(scale.len())
        .zip(out.chunks_exact_mut(scale.len()));
    for (x, out) in rows {
        for (((out, &x), scale), shift) in out.iter_mut().zip(x).zip(scale).zip(shift) {
            let product = scale * x as f32;
            *out = product + shift;
        }
    }
}

/// The index of the greatest of `n` elements of each of `m` images; the lowest on a tie.
pub(crate) fn argmax(x: &Values, n: usize, m: usize, out: &mut [i32]) {
    fn best<T: PartialOrd>(x: &[T]) -> i32 {
        // A later element wins only if it is strictly greater, so a tie or a NaN keeps the first.
        (1..x.len()).fold(0, |best, i| if x[i] > x[best] { i } else { best }) as i32
    }
    match x {
        Values::Ints(x) => {
            for (x, out) in x.chunks_exact(n).zip(&mut out[..m]) {
                *out = best(x);
            }
        }
        Values::Reals(x) => {
            for (x, out) in x.chunks_exact(n).zip(&mut out[..m]) {
                *out = best(x);
            }
        }
        _ => unreachable!("verify: argmax reads int or real"),
    }
}

/// Ors `n` bits of `from` into `to`, the first at bit `at`; both are packed, and the target bits
/// are zero before.
pub(crate) fn append_bits(to: &mut [u64], at: usize, from: &[u64], n: usize) {
    let (first, shift) = (at / 64, at % 64);
    for (i, &word) in from[..n_words(n)].iter().enumerate() {
        to[first + i] |= word << shift;
        if shift > 0 && word >> (64 - shift) != 0 {
            to[first + i + 1] |= word >> (64 - shift);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appended_bits_keep_their_order() {
        let mut joined = vec![0; 4];
        append_bits(&mut joined, 0, &[0b101], 3);
        append_bits(&mut joined, 3, &[u64::MAX, 1], 65);
        append_bits(&mut joined, 68, &[u64::MAX], 64);
        let ones = (0..256)
            .filter(|i| joined[i / 64] >> (i % 64) & 1 == 1)
            .collect::<Vec<_>>();
        assert_eq!(ones, [0].into_iter().chain(2..132).collect::<Vec<_>>());
    }

    #[test]
    fn argmax_keeps_the_first_of_equals() {
        let mut out = [9; 2];
        argmax(&Values::Ints(vec![1, 3, 3, -1, -1, -2]), 3, 2, &mut out);
        assert_eq!(out, [1, 0]);
    }
}
