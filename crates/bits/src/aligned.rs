//! Words that start on a cache line.
//!
//! Owns [`AlignedWords`], the buffer that plans keep weights and scratch in. A vector load that
//! crosses a cache line costs two, and a `Vec<u64>` promises no more than eight bytes.

use alloc::vec;
use alloc::vec::Vec;
use core::ops::{Deref, DerefMut};

/// One cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u64; 8]);

/// A fixed number of 64-bit words whose first one is 64-byte aligned.
#[derive(Clone)]
pub struct AlignedWords {
    lines: Vec<Line>,
    // Never more than `8 * lines.len()`.
    n_words: usize,
}

impl AlignedWords {
    /// `n_words` words of zero.
    pub fn zeros(n_words: usize) -> Self {
        AlignedWords {
            lines: vec![Line([0; 8]); n_words.div_ceil(8)],
            n_words,
        }
    }
}

impl Deref for AlignedWords {
    type Target = [u64];

    fn deref(&self) -> &[u64] {
        // SAFETY: a `Line` is exactly eight words without padding, `Vec` holds them contiguously,
        // and `n_words` is at most eight times their number.
        unsafe { core::slice::from_raw_parts(self.lines.as_ptr().cast(), self.n_words) }
    }
}

impl DerefMut for AlignedWords {
    fn deref_mut(&mut self) -> &mut [u64] {
        // SAFETY: as `deref`, and `self` is borrowed exclusively.
        unsafe { core::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.n_words) }
    }
}

impl core::fmt::Debug for AlignedWords {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "AlignedWords({} words)", self.n_words)
    }
}

/// Words as their 32-bit halves, the lower half of each first.
pub(crate) fn halves(words: &[u64]) -> &[u32] {
    const {
        assert!(
            cfg!(target_endian = "little"),
            "the lower half comes first in memory"
        )
    };
    // SAFETY: a word is two halves without padding, and any bits are a valid half.
    unsafe { core::slice::from_raw_parts(words.as_ptr().cast(), 2 * words.len()) }
}

/// As [`halves`], to write.
pub(crate) fn halves_mut(words: &mut [u64]) -> &mut [u32] {
    const {
        assert!(
            cfg!(target_endian = "little"),
            "the lower half comes first in memory"
        )
    };
    // SAFETY: as `halves`, and `words` is borrowed exclusively.
    unsafe { core::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), 2 * words.len()) }
}

/// Words as their 16-bit quarters, the lowest of each first, to write.
pub(crate) fn quarters_mut(words: &mut [u64]) -> &mut [u16] {
    const {
        assert!(
            cfg!(target_endian = "little"),
            "the lowest quarter comes first in memory"
        )
    };
    // SAFETY: a word is four quarters without padding, any bits are valid, and `words` is borrowed exclusively.
    unsafe { core::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), 4 * words.len()) }
}
