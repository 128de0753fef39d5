//! The 256-bit tier: population counts by nibble look-up in `vpshufb`.

use core::arch::x86_64::*;

use crate::vector::{Convert, Vector};

/// Four words.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct V256(__m256i);

impl V256 {
    /// The low 32 bits of the lanes of two registers, in lane order.
    ///
    /// # Safety
    ///
    /// As [`Vector`].
    #[inline(always)]
    unsafe fn low_halves(self, other: Self) -> __m256i {
        // SAFETY: the trait's contract, which callers in this file are under.
        unsafe {
            let low = _mm256_castsi256_ps(self.0);
            let high = _mm256_castsi256_ps(other.0);
            // The shuffle works within 128-bit halves; the permutation puts quarters in order.
            let mixed = _mm256_castps_si256(_mm256_shuffle_ps::<0x88>(low, high));
            _mm256_permute4x64_epi64::<0xD8>(mixed)
        }
    }
}

impl Vector for V256 {
    const WORDS: usize = 4;
    // A byte holds at most 8 per count, so 31 counts stay below 256.
    const MAX_COUNTS: usize = 31;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the trait's contract.
        unsafe { V256(_mm256_setzero_si256()) }
    }
    #[inline(always)]
    unsafe fn load(ptr: *const u64) -> Self {
        // SAFETY: the trait's contract.
        unsafe { V256(_mm256_loadu_si256(ptr.cast())) }
    }
    #[inline(always)]
    unsafe fn store(self, ptr: *mut u64) {
        // SAFETY: the trait's contract.
        unsafe { _mm256_storeu_si256(ptr.cast(), self.0) }
    }
    #[inline(always)]
    unsafe fn splat(word: u64) -> Self {
        // SAFETY: the trait's contract.
        unsafe { V256(_mm256_set1_epi64x(word as i64)) }
    }
    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { V256(_mm256_xor_si256(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn and(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { V256(_mm256_and_si256(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn xor_and(self, other: Self, mask: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { self.xor(other).and(mask) }
    }
    #[inline(always)]
    unsafe fn full_add(self, b: Self, c: Self) -> (Self, Self) {
        // SAFETY: the trait's contract.
        unsafe {
            let differ = _mm256_xor_si256(b.0, c.0);
            let carry =
                _mm256_or_si256(_mm256_and_si256(b.0, c.0), _mm256_and_si256(self.0, differ));
            (V256(_mm256_xor_si256(self.0, differ)), V256(carry))
        }
    }
    #[inline(always)]
    unsafe fn full_add_loaded(self, b: Self, c: Self) -> (Self, Self) {
        // SAFETY: the trait's contract.
        unsafe { self.full_add(b, c) }
    }
    #[inline(always)]
    unsafe fn majority(self, b: Self, c: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { self.full_add(b, c).1 }
    }
    #[inline(always)]
    unsafe fn borrow(self, b: Self, c: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            let either = _mm256_or_si256(b.0, c.0);
            V256(_mm256_or_si256(
                _mm256_and_si256(b.0, c.0),
                _mm256_andnot_si256(self.0, either),
            ))
        }
    }
    #[inline(always)]
    unsafe fn count(self) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            let table = _mm256_setr_epi8(
                0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3,
                2, 3, 3, 4,
            );
            let nibble = _mm256_set1_epi8(15);
            let low = _mm256_and_si256(self.0, nibble);
            let high = _mm256_and_si256(_mm256_srli_epi16::<4>(self.0), nibble);
            V256(_mm256_add_epi8(
                _mm256_shuffle_epi8(table, low),
                _mm256_shuffle_epi8(table, high),
            ))
        }
    }
    #[inline(always)]
    unsafe fn add_counts(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { V256(_mm256_add_epi8(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn widen(self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { V256(_mm256_sad_epu8(self.0, _mm256_setzero_si256())) }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { V256(_mm256_add_epi64(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn less8(totals: *const Self, bounds: *const u64) -> u8 {
        // SAFETY: the trait's contract; a signed comparison serves numbers below 2^63.
        unsafe {
            let low = _mm256_cmpgt_epi64(Self::load(bounds).0, (*totals).0);
            let high = _mm256_cmpgt_epi64(Self::load(bounds.add(4)).0, (*totals.add(1)).0);
            let low = _mm256_movemask_pd(_mm256_castsi256_pd(low));
            let high = _mm256_movemask_pd(_mm256_castsi256_pd(high));
            (low | high << 4) as u8
        }
    }
    #[inline(always)]
    unsafe fn store_totals8(totals: *const Self, out: *mut i32) {
        // SAFETY: the trait's contract.
        unsafe { _mm256_storeu_si256(out.cast(), (*totals).low_halves(*totals.add(1))) }
    }
    #[inline(always)]
    unsafe fn store_dots16(totals: *const Self, whole: i32, out: *mut f32) {
        // SAFETY: the trait's contract.
        unsafe {
            for half in 0..2 {
                let totals = (*totals.add(2 * half)).low_halves(*totals.add(2 * half + 1));
                let dots =
                    _mm256_sub_epi32(_mm256_set1_epi32(whole), _mm256_add_epi32(totals, totals));
                _mm256_storeu_ps(out.add(8 * half), _mm256_cvtepi32_ps(dots));
            }
        }
    }
}

impl Convert for V256 {
    #[inline(always)]
    unsafe fn signs64(values: *const f32) -> u64 {
        // SAFETY: the trait's contract.
        unsafe {
            let mut bits = 0;
            for eighth in 0..8 {
                let value = _mm256_loadu_ps(values.add(eighth * 8));
                let ge = _mm256_cmp_ps::<_CMP_GE_OQ>(value, _mm256_setzero_ps());
                bits |= u64::from(_mm256_movemask_ps(ge) as u8) << (eighth * 8);
            }
            bits
        }
    }
    #[inline(always)]
    unsafe fn signs_nonzero64(values: *const f32) -> (u64, u64) {
        // SAFETY: the trait's contract.
        unsafe {
            let (mut sign, mut mask) = (0, 0);
            for eighth in 0..8 {
                let value = _mm256_loadu_ps(values.add(eighth * 8));
                let zero = _mm256_setzero_ps();
                let gt = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(value, zero));
                let ne = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_NEQ_UQ>(value, zero));
                sign |= u64::from(gt as u8) << (eighth * 8);
                mask |= u64::from(ne as u8) << (eighth * 8);
            }
            (sign, mask)
        }
    }
    #[inline(always)]
    unsafe fn expand64(bits: u64, values: *mut f32) {
        // SAFETY: the trait's contract.
        unsafe { Self::expand_ternary64(bits, u64::MAX, values) }
    }
    #[inline(always)]
    unsafe fn expand_ternary64(sign: u64, mask: u64, values: *mut f32) {
        // SAFETY: the trait's contract.
        unsafe {
            let bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
            for eighth in 0..8 {
                let sign = _mm256_set1_epi32((sign >> (eighth * 8)) as i32);
                let mask = _mm256_set1_epi32((mask >> (eighth * 8)) as i32);
                let positive =
                    _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(sign, bit), bit));
                let present =
                    _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(mask, bit), bit));
                let value = _mm256_blendv_ps(_mm256_set1_ps(-1.0), _mm256_set1_ps(1.0), positive);
                _mm256_storeu_ps(values.add(eighth * 8), _mm256_and_ps(value, present));
            }
        }
    }
    #[inline(always)]
    unsafe fn at_least64(codes: *const u8, at: *const u8) -> u64 {
        // SAFETY: the trait's contract; `max(code, at) == code` is the unsigned comparison.
        unsafe {
            let mut bits = 0;
            for half in 0..2 {
                let code = _mm256_loadu_si256(codes.add(half * 32).cast());
                let at = _mm256_loadu_si256(at.add(half * 32).cast());
                let ge = _mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_max_epu8(code, at), code));
                bits |= u64::from(ge as u32) << (half * 32);
            }
            bits
        }
    }
    #[inline(always)]
    unsafe fn plane64(codes: *const u8, plane: u32) -> u64 {
        // SAFETY: the trait's contract; the plane's bit is moved to each byte's sign.
        unsafe {
            let shift = _mm_cvtsi32_si128(7 - plane as i32);
            let mut bits = 0;
            for half in 0..2 {
                let code = _mm256_loadu_si256(codes.add(half * 32).cast());
                let moved = _mm256_movemask_epi8(_mm256_sll_epi16(code, shift));
                bits |= u64::from(moved as u32) << (half * 32);
            }
            bits
        }
    }
    #[inline(always)]
    unsafe fn octal64(ones: u64, twos: u64, fours: u64, out: *mut u8) {
        // SAFETY: the trait's contract.
        unsafe {
            // Byte `i` takes byte `i / 8` of a 32-bit mask, then tests its bit `i % 8`.
            let byte = _mm256_setr_epi64x(
                0,
                0x0101_0101_0101_0101,
                0x0202_0202_0202_0202,
                0x0303_0303_0303_0303,
            );
            let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
            for half in 0..2 {
                let mut sum = _mm256_setzero_si256();
                for (mask, value) in [(ones, 8), (twos, 16), (fours, 32)] {
                    let spread =
                        _mm256_shuffle_epi8(_mm256_set1_epi32((mask >> (half * 32)) as i32), byte);
                    let present = _mm256_cmpeq_epi8(_mm256_and_si256(spread, bit), bit);
                    sum = _mm256_or_si256(sum, _mm256_and_si256(present, _mm256_set1_epi8(value)));
                }
                _mm256_storeu_si256(out.add(half * 32).cast(), sum);
            }
        }
    }
}

crate::arch::wrappers!(V256, "avx2,popcnt", 2, 4, 2);
