//! Unsigned codes to packed bits: comparison with thresholds, and bit planes.

use crate::n_words;
use crate::vector::Convert;

/// Thresholds of codes, one per element of an image, as `dense::CodeThresholds` holds them.
#[derive(Clone, Copy)]
pub(crate) struct CodeBounds<'a> {
    /// Rounded up to a multiple of 64 elements.
    pub at: &'a [u8],
    /// Zero bits where no code reaches the threshold.
    pub keep: &'a [u64],
    /// One bits where the answer is inverted.
    pub flip: &'a [u64],
}

/// Packs `(code >= at && keep) != flip` of every image.
///
/// # Safety
///
/// As [`Convert`]; `codes` is `[m][n]` and `out` is `[m][n_words(n)]`.
#[inline(always)]
pub(crate) unsafe fn threshold_codes<V: Convert>(
    codes: &[u8],
    n: usize,
    bounds: CodeBounds<'_>,
    out: &mut [u64],
) {
    for (codes, out) in codes.chunks_exact(n).zip(out.chunks_exact_mut(n_words(n))) {
        for (word, chunk) in codes.chunks(64).enumerate() {
            let mut padded = [0; 64];
            let ptr = if chunk.len() == 64 {
                chunk.as_ptr()
            } else {
                padded[..chunk.len()].copy_from_slice(chunk);
                padded.as_ptr()
            };
            let at = &bounds.at[word * 64..(word + 1) * 64];
            // SAFETY: `ptr` is a chunk of 64 codes or the buffer of 64, and so is `at`.
            let reached = unsafe { V::at_least64(ptr, at.as_ptr()) };
            out[word] = (reached & bounds.keep[word]) ^ bounds.flip[word];
        }
    }
}

/// Packs `n_planes` bit planes of every image.
///
/// # Safety
///
/// As [`Convert`]; `codes` is `[m][n]` and `out` is `[m][n_planes][n_words(n)]`.
#[inline(always)]
pub(crate) unsafe fn code_planes<V: Convert>(
    codes: &[u8],
    n: usize,
    n_planes: usize,
    out: &mut [u64],
) {
    let words = n_words(n);
    for (codes, out) in codes
        .chunks_exact(n)
        .zip(out.chunks_exact_mut(n_planes * words))
    {
        for (word, chunk) in codes.chunks(64).enumerate() {
            let mut padded = [0; 64];
            let ptr = if chunk.len() == 64 {
                chunk.as_ptr()
            } else {
                padded[..chunk.len()].copy_from_slice(chunk);
                padded.as_ptr()
            };
            for plane in 0..n_planes {
                // SAFETY: `ptr` is a chunk of 64 codes or the buffer of 64.
                out[plane * words + word] = unsafe { V::plane64(ptr, plane as u32) };
            }
        }
    }
}
