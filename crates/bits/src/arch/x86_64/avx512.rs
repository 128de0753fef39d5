//! The 512-bit tier.

use core::arch::x86_64::*;

use crate::vector::{Convert, Vector};

/// Eight words.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct V512(__m512i);

impl Vector for V512 {
    const WORDS: usize = 8;
    const MAX_COUNTS: usize = usize::MAX;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the trait's contract.
        unsafe { V512(_mm512_setzero_si512()) }
    }
    #[inline(always)]
    unsafe fn load(ptr: *const u64) -> Self {
        // SAFETY: the trait's contract.
        unsafe { V512(_mm512_loadu_si512(ptr.cast())) }
    }
    #[inline(always)]
    unsafe fn store(self, ptr: *mut u64) {
        // SAFETY: the trait's contract.
        unsafe { _mm512_storeu_si512(ptr.cast(), self.0) }
    }
    #[inline(always)]
    unsafe fn splat(word: u64) -> Self {
        // SAFETY: the trait's contract.
        unsafe { V512(_mm512_set1_epi64(word as i64)) }
    }
    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { V512(_mm512_xor_si512(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn and(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { V512(_mm512_and_si512(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn xor_and(self, other: Self, mask: Self) -> Self {
        // Truth table of `(a ^ b) & c`: a = 0xF0, b = 0xCC, c = 0xAA.
        // SAFETY: the trait's contract.
        unsafe { V512(_mm512_ternarylogic_epi64::<0x28>(self.0, other.0, mask.0)) }
    }
    #[inline(always)]
    unsafe fn full_add(self, b: Self, c: Self) -> (Self, Self) {
        // Truth table of `a ^ b ^ c`.
        // SAFETY: the trait's contract.
        unsafe {
            (
                V512(_mm512_ternarylogic_epi64::<0x96>(self.0, b.0, c.0)),
                self.majority(b, c),
            )
        }
    }
    #[inline(always)]
    unsafe fn full_add_loaded(self, b: Self, c: Self) -> (Self, Self) {
        // The first exclusive or takes one operand from memory, and nothing needs a copy.
        // SAFETY: the trait's contract; the truth table selects `self` where `b` and `c` differ.
        unsafe {
            let differ = b.xor(c);
            let carry = _mm512_ternarylogic_epi64::<0xCA>(differ.0, self.0, b.0);
            (self.xor(differ), V512(carry))
        }
    }
    #[inline(always)]
    unsafe fn majority(self, b: Self, c: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { V512(_mm512_ternarylogic_epi64::<0xE8>(self.0, b.0, c.0)) }
    }
    #[inline(always)]
    unsafe fn borrow(self, b: Self, c: Self) -> Self {
        // Truth table of the majority with its first input inverted.
        // SAFETY: the trait's contract.
        unsafe { V512(_mm512_ternarylogic_epi64::<0x8E>(self.0, b.0, c.0)) }
    }
    #[inline(always)]
    unsafe fn count(self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { V512(_mm512_popcnt_epi64(self.0)) }
    }
    #[inline(always)]
    unsafe fn add_counts(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { self.add(other) }
    }
    #[inline(always)]
    unsafe fn widen(self) -> Self {
        self
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { V512(_mm512_add_epi64(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn less8(totals: *const Self, bounds: *const u64) -> u8 {
        // SAFETY: the trait's contract.
        unsafe { _mm512_cmplt_epu64_mask((*totals).0, Self::load(bounds).0) }
    }
    #[inline(always)]
    unsafe fn store_totals8(totals: *const Self, out: *mut i32) {
        // SAFETY: the trait's contract.
        unsafe { _mm256_storeu_si256(out.cast(), _mm512_cvtepi64_epi32((*totals).0)) }
    }
    #[inline(always)]
    unsafe fn store_dots16(totals: *const Self, whole: i32, out: *mut f32) {
        // SAFETY: the trait's contract; the low halves of both registers' lanes are gathered.
        unsafe {
            let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            let totals = _mm512_permutex2var_epi32((*totals).0, even, (*totals.add(1)).0);
            let dots = _mm512_sub_epi32(_mm512_set1_epi32(whole), _mm512_add_epi32(totals, totals));
            _mm512_storeu_ps(out, _mm512_cvtepi32_ps(dots));
        }
    }
}

impl Convert for V512 {
    #[inline(always)]
    unsafe fn signs64(values: *const f32) -> u64 {
        // SAFETY: the trait's contract.
        unsafe {
            let mut bits = 0;
            for quarter in 0..4 {
                let value = _mm512_loadu_ps(values.add(quarter * 16));
                let mask = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(value, _mm512_setzero_ps());
                bits |= u64::from(mask) << (quarter * 16);
            }
            bits
        }
    }
    #[inline(always)]
    unsafe fn signs_nonzero64(values: *const f32) -> (u64, u64) {
        // SAFETY: the trait's contract.
        unsafe {
            let (mut sign, mut mask) = (0, 0);
            for quarter in 0..4 {
                let value = _mm512_loadu_ps(values.add(quarter * 16));
                let zero = _mm512_setzero_ps();
                sign |= u64::from(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(value, zero)) << (quarter * 16);
                mask |= u64::from(_mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(value, zero)) << (quarter * 16);
            }
            (sign, mask)
        }
    }
    #[inline(always)]
    unsafe fn expand64(bits: u64, values: *mut f32) {
        // SAFETY: the trait's contract.
        unsafe {
            for quarter in 0..4 {
                let mask = (bits >> (quarter * 16)) as u16;
                let value = _mm512_mask_blend_ps(mask, _mm512_set1_ps(-1.0), _mm512_set1_ps(1.0));
                _mm512_storeu_ps(values.add(quarter * 16), value);
            }
        }
    }
    #[inline(always)]
    unsafe fn expand_ternary64(sign: u64, mask: u64, values: *mut f32) {
        // SAFETY: the trait's contract.
        unsafe {
            for quarter in 0..4 {
                let positive = (sign >> (quarter * 16)) as u16;
                let present = (mask >> (quarter * 16)) as u16;
                let value =
                    _mm512_mask_blend_ps(positive, _mm512_set1_ps(-1.0), _mm512_set1_ps(1.0));
                _mm512_storeu_ps(
                    values.add(quarter * 16),
                    _mm512_maskz_mov_ps(present, value),
                );
            }
        }
    }
    #[inline(always)]
    unsafe fn at_least64(codes: *const u8, at: *const u8) -> u64 {
        // SAFETY: the trait's contract.
        unsafe {
            _mm512_cmpge_epu8_mask(
                _mm512_loadu_si512(codes.cast()),
                _mm512_loadu_si512(at.cast()),
            )
        }
    }
    #[inline(always)]
    unsafe fn plane64(codes: *const u8, plane: u32) -> u64 {
        // SAFETY: the trait's contract.
        unsafe {
            _mm512_test_epi8_mask(
                _mm512_loadu_si512(codes.cast()),
                _mm512_set1_epi8((1u8 << plane) as i8),
            )
        }
    }
    #[inline(always)]
    unsafe fn octal64(ones: u64, twos: u64, fours: u64, out: *mut u8) {
        // SAFETY: the trait's contract.
        unsafe {
            let low = _mm512_maskz_mov_epi8(ones, _mm512_set1_epi8(8));
            let middle = _mm512_mask_add_epi8(low, twos, low, _mm512_set1_epi8(16));
            let all = _mm512_mask_add_epi8(middle, fours, middle, _mm512_set1_epi8(32));
            _mm512_storeu_si512(out.cast(), all);
        }
    }
}

crate::arch::wrappers!(
    V512,
    "avx2,popcnt,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vpopcntdq",
    3,
    8,
    1
);
