//! The 512-bit register of 32-bit lanes.

use core::arch::x86_64::*;

use crate::arch::one;
use crate::lanes::Lanes;

/// Sixteen lanes of 32 bits.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct L512(__m512i);

/// A mask of the first `n` lanes.
#[inline(always)]
fn first(n: usize) -> u16 {
    ((1u32 << n) - 1) as u16
}

#[inline(always)]
fn ps(x: L512) -> __m512 {
    // SAFETY: a value of this type exists only where the tier's instructions do.
    unsafe { _mm512_castsi512_ps(x.0) }
}

#[inline(always)]
fn si(x: __m512) -> L512 {
    // SAFETY: as `ps`.
    unsafe { L512(_mm512_castps_si512(x)) }
}

impl From<L512> for __m512 {
    #[inline(always)]
    fn from(x: L512) -> __m512 {
        ps(x)
    }
}

impl From<__m512> for L512 {
    #[inline(always)]
    fn from(x: __m512) -> L512 {
        si(x)
    }
}

impl Lanes for L512 {
    const N: usize = 16;
    const MAX_COUNTS: usize = usize::MAX;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the trait's contract.
        unsafe { L512(_mm512_setzero_si512()) }
    }
    #[inline(always)]
    unsafe fn load(ptr: *const u32) -> Self {
        // SAFETY: the trait's contract.
        unsafe { L512(_mm512_loadu_si512(ptr.cast())) }
    }
    #[inline(always)]
    unsafe fn store(self, ptr: *mut u32) {
        // SAFETY: the trait's contract.
        unsafe { _mm512_storeu_si512(ptr.cast(), self.0) }
    }
    #[inline(always)]
    unsafe fn load_first(ptr: *const u32, n: usize) -> Self {
        // SAFETY: the trait's contract; lanes outside the mask are not read.
        unsafe { L512(_mm512_maskz_loadu_epi32(first(n), ptr.cast())) }
    }
    #[inline(always)]
    unsafe fn store_first(self, ptr: *mut u32, n: usize) {
        // SAFETY: the trait's contract; lanes outside the mask are not written.
        unsafe { _mm512_mask_storeu_epi32(ptr.cast(), first(n), self.0) }
    }
    #[inline(always)]
    unsafe fn splat(word: u32) -> Self {
        // SAFETY: the trait's contract.
        unsafe { L512(_mm512_set1_epi32(word as i32)) }
    }
    one! {
        xor(a, b) = L512(_mm512_xor_si512(a.0, b.0));
        // Truth table of `(a ^ b) & c`: a = 0xF0, b = 0xCC, c = 0xAA.
        xor_and(a, b, c) = L512(_mm512_ternarylogic_epi32::<0x28>(a.0, b.0, c.0));
        count(a) = L512(_mm512_popcnt_epi32(a.0));
        add_counts(a, b) = L512(_mm512_add_epi32(a.0, b.0));
        add(a, b) = L512(_mm512_add_epi32(a.0, b.0));
        sub(a, b) = L512(_mm512_sub_epi32(a.0, b.0));
        max(a, b) = L512(_mm512_max_epi32(a.0, b.0));
        dot4(a, x, w) = L512(_mm512_dpbusd_epi32(a.0, x.0, w.0));
        to_float(a) = si(_mm512_cvtepi32_ps(a.0));
        add_float(a, b) = si(_mm512_add_ps(ps(a), ps(b)));
        mul_float(a, b) = si(_mm512_mul_ps(ps(a), ps(b)));
        div_float(a, b) = si(_mm512_div_ps(ps(a), ps(b)));
        greater_float(a, b) = si(_mm512_max_ps(ps(a), ps(b)));
        lesser_float(a, b) = si(_mm512_min_ps(ps(a), ps(b)));
        or_if_negative(a, b) = {
            let keep = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(ps(a), _mm512_setzero_ps());
            si(_mm512_mask_blend_ps(keep, ps(b), ps(a)))
        };
    }
    #[inline(always)]
    unsafe fn widen(self) -> Self {
        self
    }
    #[inline(always)]
    unsafe fn less(self, other: Self) -> u32 {
        // SAFETY: the trait's contract.
        unsafe { u32::from(_mm512_cmplt_epi32_mask(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn at_least_float(self, other: Self) -> u32 {
        // SAFETY: the trait's contract.
        unsafe { u32::from(_mm512_cmp_ps_mask::<_CMP_GE_OQ>(ps(self), ps(other))) }
    }
}

crate::arch::lane_wrappers!(
    L512,
    "avx2,popcnt,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vpopcntdq,avx512vnni",
    4,
    6,
    3,
    6,
    3
);
