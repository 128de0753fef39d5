//! Floats to sign bits and back, row by row.
//!
//! Matrices of floats are row-major `[row][n_cols]`; packed rows are `n_words(n_cols)` words each.

use crate::lanes::Lanes;
use crate::n_words;
use crate::vector::Convert;

/// Packs `value >= 0` of every row.
///
/// # Safety
///
/// As [`Convert`]; `values.len()` is `rows * n_cols` and `words.len()` is `rows * n_words(n_cols)`.
#[inline(always)]
pub(crate) unsafe fn pack_signs<V: Convert>(values: &[f32], n_cols: usize, words: &mut [u64]) {
    for (row, out) in values
        .chunks_exact(n_cols)
        .zip(words.chunks_exact_mut(n_words(n_cols)))
    {
        let (full, tail) = row.split_at(n_cols / 64 * 64);
        for (chunk, word) in full.chunks_exact(64).zip(out.iter_mut()) {
            // SAFETY: the chunk holds 64 floats.
            *word = unsafe { V::signs64(chunk.as_ptr()) };
        }
        if let (false, Some(last)) = (tail.is_empty(), out.last_mut()) {
            let mut padded = [-1.0f32; 64];
            padded[..tail.len()].copy_from_slice(tail);
            // SAFETY: the buffer holds 64 floats.
            *last = unsafe { V::signs64(padded.as_ptr()) };
        }
    }
}

/// Packs `value > 0` and `value != 0` of every row.
///
/// # Safety
///
/// As [`pack_signs`], for both outputs.
#[inline(always)]
pub(crate) unsafe fn pack_nonzero<V: Convert>(
    values: &[f32],
    n_cols: usize,
    sign: &mut [u64],
    mask: &mut [u64],
) {
    let words = n_words(n_cols);
    let outs = sign
        .chunks_exact_mut(words)
        .zip(mask.chunks_exact_mut(words));
    for (row, (sign, mask)) in values.chunks_exact(n_cols).zip(outs) {
        for (word, chunk) in row.chunks(64).enumerate() {
            let mut padded = [0.0f32; 64];
            let ptr = if chunk.len() == 64 {
                chunk.as_ptr()
            } else {
                padded[..chunk.len()].copy_from_slice(chunk);
                padded.as_ptr()
            };
            // SAFETY: `ptr` is a chunk of 64 floats or the buffer of 64.
            (sign[word], mask[word]) = unsafe { V::signs_nonzero64(ptr) };
        }
    }
}

/// Writes +1 and -1 for the bits of every row.
///
/// # Safety
///
/// As [`pack_signs`].
#[inline(always)]
pub(crate) unsafe fn unpack_signs<V: Convert>(words: &[u64], n_cols: usize, values: &mut [f32]) {
    for (row, bits) in values
        .chunks_exact_mut(n_cols)
        .zip(words.chunks_exact(n_words(n_cols)))
    {
        for (chunk, &word) in row.chunks_mut(64).zip(bits) {
            if chunk.len() == 64 {
                // SAFETY: the chunk holds 64 floats.
                unsafe { V::expand64(word, chunk.as_mut_ptr()) };
            } else {
                let mut padded = [0.0f32; 64];
                // SAFETY: the buffer holds 64 floats.
                unsafe { V::expand64(word, padded.as_mut_ptr()) };
                chunk.copy_from_slice(&padded[..chunk.len()]);
            }
        }
    }
}

/// Writes +1, 0 and -1 for the bits of every row.
///
/// # Safety
///
/// As [`pack_signs`], for both inputs.
#[inline(always)]
pub(crate) unsafe fn unpack_ternary<V: Convert>(
    sign: &[u64],
    mask: &[u64],
    n_cols: usize,
    values: &mut [f32],
) {
    let words = n_words(n_cols);
    let bits = sign.chunks_exact(words).zip(mask.chunks_exact(words));
    for (row, (sign, mask)) in values.chunks_exact_mut(n_cols).zip(bits) {
        for (word, chunk) in row.chunks_mut(64).enumerate() {
            if chunk.len() == 64 {
                // SAFETY: the chunk holds 64 floats.
                unsafe { V::expand_ternary64(sign[word], mask[word], chunk.as_mut_ptr()) };
            } else {
                let mut padded = [0.0f32; 64];
                // SAFETY: the buffer holds 64 floats.
                unsafe { V::expand_ternary64(sign[word], mask[word], padded.as_mut_ptr()) };
                chunk.copy_from_slice(&padded[..chunk.len()]);
            }
        }
    }
}

/// Packs comparisons, bit 1 where `value >= at`, in words of 32 bits that begin anew at each pixel of `channels` values.
///
/// # Safety
///
/// As [`Lanes`].
#[inline(always)]
pub(crate) unsafe fn pack_pixels<V: Lanes>(
    values: &[f32],
    channels: usize,
    at: f32,
    words: &mut [u32],
) {
    let pixels = values.chunks_exact(channels);
    for (pixel, words) in pixels.zip(words.chunks_exact_mut(channels.div_ceil(32))) {
        for (chunk, word) in pixel.chunks(32).zip(words) {
            *word = 0;
            for (i, lanes) in chunk.chunks(V::N).enumerate() {
                // SAFETY: the caller's promise; lanes past the last are zero, and masked.
                let bits = unsafe {
                    let lanes = V::load_first(lanes.as_ptr().cast(), lanes.len());
                    lanes.at_least_float(V::splat(at.to_bits()))
                };
                let present = (1u64 << lanes.len()) - 1;
                *word |= (bits & present as u32) << (i * V::N);
            }
        }
    }
}
