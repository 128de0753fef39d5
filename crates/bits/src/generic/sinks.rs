//! What becomes of a counting product's totals: floats, integer scores or packed bits.

use crate::generic::count::Sink;
use crate::n_words;
use crate::vector::Vector;

/// `out[image][row] = whole - 2 * total`, as floats.
pub(crate) struct Dots<'a> {
    /// Columns of the product.
    pub whole: i32,
    /// Rows.
    pub n: usize,
    /// `[m][n]`.
    pub out: &'a mut [f32],
}

impl<V: Vector> Sink<V> for Dots<'_> {
    #[inline(always)]
    unsafe fn put<const NV: usize>(&mut self, totals: &[V; NV], image: usize, row: usize) {
        let n_rows = NV * V::WORDS;
        let at = image * self.n + row;
        if n_rows.is_multiple_of(16) && row + n_rows <= self.n {
            let to = &mut self.out[at..at + n_rows];
            let mut v = 0;
            while v < NV {
                // SAFETY: `to` holds 16 floats for each step of 16 rows.
                unsafe {
                    let out = to.as_mut_ptr().add(v * V::WORDS);
                    V::store_dots16(totals.as_ptr().add(v), self.whole, out);
                }
                v += 16 / V::WORDS;
            }
        } else {
            for eight in 0..n_rows / 8 {
                let row = row + 8 * eight;
                let mut few = [0; 8];
                // SAFETY: the buffer holds 8, and `totals` has `n_rows / 8` times 8 rows.
                unsafe {
                    V::store_totals8(totals.as_ptr().add(eight * 8 / V::WORDS), few.as_mut_ptr())
                };
                let present = 8.min(self.n.saturating_sub(row));
                let at = image * self.n + row;
                for (to, total) in self.out[at..at + present].iter_mut().zip(few) {
                    *to = (self.whole - 2 * total) as f32;
                }
            }
        }
    }
}

/// `out[image][row] = base[row] - (total << shift)`, as integers modulo 2^32.
pub(crate) struct Scores<'a> {
    /// One per row.
    pub base: &'a [i32],
    /// 1 for an operand of bits, 0 for one of planes.
    pub shift: u32,
    /// `[m][n]`.
    pub out: &'a mut [i32],
}

impl<V: Vector> Sink<V> for Scores<'_> {
    #[inline(always)]
    unsafe fn put<const NV: usize>(&mut self, totals: &[V; NV], image: usize, row: usize) {
        let n = self.base.len();
        for eight in 0..NV * V::WORDS / 8 {
            let row = row + 8 * eight;
            let mut few = [0; 8];
            // SAFETY: the buffer holds 8, and `totals` has this many times 8 rows.
            unsafe {
                V::store_totals8(totals.as_ptr().add(eight * 8 / V::WORDS), few.as_mut_ptr())
            };
            let present = 8.min(n.saturating_sub(row));
            let base = &self.base[row..row + present];
            let to = &mut self.out[image * n + row..][..present];
            for ((to, base), total) in to.iter_mut().zip(base).zip(few) {
                *to = base.wrapping_sub(total << self.shift);
            }
        }
    }
}

/// Bit `row` of `out[image]` is `(total < bound[row]) != flip[row]`.
pub(crate) struct Compared<'a> {
    /// One per row, rounded up to a multiple of 8 with zeros.
    pub bounds: &'a [u64],
    /// One bit per row, zero past the last.
    pub flip: &'a [u64],
    /// Rows.
    pub n: usize,
    /// `[m][n_words(n)]`.
    pub out: &'a mut [u64],
}

impl<V: Vector> Sink<V> for Compared<'_> {
    #[inline(always)]
    unsafe fn put<const NV: usize>(&mut self, totals: &[V; NV], image: usize, row: usize) {
        let n_rows = NV * V::WORDS;
        let bounds = &self.bounds[row..row + n_rows];
        let mut bits = 0;
        for eight in 0..n_rows / 8 {
            // SAFETY: `totals` and `bounds` hold `n_rows` rows.
            let byte = unsafe {
                V::less8(
                    totals.as_ptr().add(eight * 8 / V::WORDS),
                    bounds.as_ptr().add(eight * 8),
                )
            };
            bits |= u64::from(byte) << (eight * 8);
        }
        let (word, shift) = (row / 64, row % 64);
        let flip = self.flip[word] >> shift & u64::MAX >> (64 - n_rows);
        let to = &mut self.out[image * n_words(self.n) + word];
        // Rows come in ascending order within a word, so the first ones clear it.
        *to = if shift == 0 {
            bits ^ flip
        } else {
            *to | (bits ^ flip) << shift
        };
    }
}
