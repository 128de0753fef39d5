//! The 256-bit register of 32-bit lanes.

use core::arch::x86_64::*;

use crate::arch::one;
use crate::lanes::Lanes;

/// Eight lanes of 32 bits.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct L256(__m256i);

/// A mask of the first `n` lanes.
#[inline(always)]
fn first(n: usize) -> __m256i {
    // SAFETY: called from methods of `L256` alone, which are under the trait's contract.
    unsafe {
        let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), lanes)
    }
}

#[inline(always)]
fn ps(x: L256) -> __m256 {
    // SAFETY: a value of this type exists only where the tier's instructions do.
    unsafe { _mm256_castsi256_ps(x.0) }
}

#[inline(always)]
fn si(x: __m256) -> L256 {
    // SAFETY: as `ps`.
    unsafe { L256(_mm256_castps_si256(x)) }
}

impl From<L256> for __m256 {
    #[inline(always)]
    fn from(x: L256) -> __m256 {
        ps(x)
    }
}

impl From<__m256> for L256 {
    #[inline(always)]
    fn from(x: __m256) -> L256 {
        si(x)
    }
}

impl Lanes for L256 {
    const N: usize = 8;
    // A byte holds at most 8 per count, so 31 counts stay below 256.
    const MAX_COUNTS: usize = 31;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the trait's contract.
        unsafe { L256(_mm256_setzero_si256()) }
    }
    #[inline(always)]
    unsafe fn load(ptr: *const u32) -> Self {
        // SAFETY: the trait's contract.
        unsafe { L256(_mm256_loadu_si256(ptr.cast())) }
    }
    #[inline(always)]
    unsafe fn store(self, ptr: *mut u32) {
        // SAFETY: the trait's contract.
        unsafe { _mm256_storeu_si256(ptr.cast(), self.0) }
    }
    #[inline(always)]
    unsafe fn load_first(ptr: *const u32, n: usize) -> Self {
        // SAFETY: the trait's contract; lanes outside the mask are not read.
        unsafe { L256(_mm256_maskload_epi32(ptr.cast(), first(n))) }
    }
    #[inline(always)]
    unsafe fn store_first(self, ptr: *mut u32, n: usize) {
        // SAFETY: the trait's contract; lanes outside the mask are not written.
        unsafe { _mm256_maskstore_epi32(ptr.cast(), first(n), self.0) }
    }
    #[inline(always)]
    unsafe fn splat(word: u32) -> Self {
        // SAFETY: the trait's contract.
        unsafe { L256(_mm256_set1_epi32(word as i32)) }
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
            let high = _mm256_and_si256(_mm256_srli_epi32::<4>(self.0), nibble);
            let counts = _mm256_add_epi8(
                _mm256_shuffle_epi8(table, low),
                _mm256_shuffle_epi8(table, high),
            );
            L256(counts)
        }
    }
    one! {
        xor(a, b) = L256(_mm256_xor_si256(a.0, b.0));
        xor_and(a, b, c) = L256(_mm256_and_si256(_mm256_xor_si256(a.0, b.0), c.0));
        add_counts(a, b) = L256(_mm256_add_epi8(a.0, b.0));
        widen(a) = {
            let pairs = _mm256_maddubs_epi16(a.0, _mm256_set1_epi8(1));
            L256(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        };
        add(a, b) = L256(_mm256_add_epi32(a.0, b.0));
        sub(a, b) = L256(_mm256_sub_epi32(a.0, b.0));
        max(a, b) = L256(_mm256_max_epi32(a.0, b.0));
        // Two products of at most 255 * 64 each fit 16 bits.
        dot4(a, x, w) = {
            let pairs = _mm256_maddubs_epi16(x.0, w.0);
            L256(_mm256_add_epi32(a.0, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))))
        };
        to_float(a) = si(_mm256_cvtepi32_ps(a.0));
        add_float(a, b) = si(_mm256_add_ps(ps(a), ps(b)));
        mul_float(a, b) = si(_mm256_mul_ps(ps(a), ps(b)));
        div_float(a, b) = si(_mm256_div_ps(ps(a), ps(b)));
        greater_float(a, b) = si(_mm256_max_ps(ps(a), ps(b)));
        lesser_float(a, b) = si(_mm256_min_ps(ps(a), ps(b)));
        or_if_negative(a, b) = {
            let keep = _mm256_cmp_ps::<_CMP_GE_OQ>(ps(a), _mm256_setzero_ps());
            si(_mm256_blendv_ps(ps(b), ps(a), keep))
        };
    }
    #[inline(always)]
    unsafe fn less(self, other: Self) -> u32 {
        // SAFETY: the trait's contract.
        unsafe {
            let less = _mm256_cmpgt_epi32(other.0, self.0);
            _mm256_movemask_ps(_mm256_castsi256_ps(less)) as u32
        }
    }
    #[inline(always)]
    unsafe fn at_least_float(self, other: Self) -> u32 {
        // SAFETY: the trait's contract.
        unsafe { _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GE_OQ>(ps(self), ps(other))) as u32 }
    }
}

crate::arch::lane_wrappers!(L256, "avx2,popcnt", 4, 2, 1, 6, 2);
