//! The 128-bit register of 32-bit lanes of ARM.

use core::arch::aarch64::*;

use crate::arch::one;
use crate::lanes::Lanes;

/// Four lanes of 32 bits.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct L128(uint32x4_t);

#[inline(always)]
fn bytes(x: L128) -> uint8x16_t {
    // SAFETY: a value of this type exists only where the tier's instructions do.
    unsafe { vreinterpretq_u8_u32(x.0) }
}

#[inline(always)]
fn ints(x: L128) -> int32x4_t {
    // SAFETY: as `bytes`.
    unsafe { vreinterpretq_s32_u32(x.0) }
}

#[inline(always)]
fn floats(x: L128) -> float32x4_t {
    // SAFETY: as `bytes`.
    unsafe { vreinterpretq_f32_u32(x.0) }
}

#[inline(always)]
fn of_floats(x: float32x4_t) -> L128 {
    // SAFETY: as `bytes`.
    unsafe { L128(vreinterpretq_u32_f32(x)) }
}

/// Bit `i` of the answer is the mask of lane `i`.
#[inline(always)]
fn bits_of_lanes(mask: uint32x4_t) -> u32 {
    // SAFETY: as `bytes`.
    unsafe {
        let bit = vcombine_u32(vcreate_u32(1 | 2 << 32), vcreate_u32(4 | 8 << 32));
        vaddvq_u32(vandq_u32(mask, bit))
    }
}

impl Lanes for L128 {
    const N: usize = 4;
    // A byte holds at most 8 per count, so 31 counts stay below 256.
    const MAX_COUNTS: usize = 31;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self::splat(0) }
    }
    #[inline(always)]
    unsafe fn load(ptr: *const u32) -> Self {
        // SAFETY: the trait's contract.
        unsafe { L128(vld1q_u32(ptr)) }
    }
    #[inline(always)]
    unsafe fn store(self, ptr: *mut u32) {
        // SAFETY: the trait's contract.
        unsafe { vst1q_u32(ptr, self.0) }
    }
    #[inline(always)]
    unsafe fn splat(word: u32) -> Self {
        // SAFETY: the trait's contract.
        unsafe { L128(vdupq_n_u32(word)) }
    }
    one! {
        xor(a, b) = L128(veorq_u32(a.0, b.0));
        xor_and(a, b, c) = L128(vandq_u32(veorq_u32(a.0, b.0), c.0));
        count(a) = L128(vreinterpretq_u32_u8(vcntq_u8(bytes(a))));
        add_counts(a, b) = L128(vreinterpretq_u32_u8(vaddq_u8(bytes(a), bytes(b))));
        widen(a) = L128(vpaddlq_u16(vpaddlq_u8(bytes(a))));
        add(a, b) = L128(vaddq_u32(a.0, b.0));
        sub(a, b) = L128(vsubq_u32(a.0, b.0));
        max(a, b) = L128(vreinterpretq_u32_s32(vmaxq_s32(ints(a), ints(b))));
        // A product fits 16 bits, a sum of two may not.
        dot4(a, x, w) = {
            let (x, w) = (bytes(x), vreinterpretq_s8_u8(bytes(w)));
            let low = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(x)));
            let high = vreinterpretq_s16_u16(vmovl_high_u8(x));
            let low = vpaddlq_s16(vmulq_s16(low, vmovl_s8(vget_low_s8(w))));
            let high = vpaddlq_s16(vmulq_s16(high, vmovl_high_s8(w)));
            L128(vreinterpretq_u32_s32(vaddq_s32(ints(a), vpaddq_s32(low, high))))
        };
        to_float(a) = of_floats(vcvtq_f32_s32(ints(a)));
        add_float(a, b) = of_floats(vaddq_f32(floats(a), floats(b)));
        mul_float(a, b) = of_floats(vmulq_f32(floats(a), floats(b)));
        div_float(a, b) = of_floats(vdivq_f32(floats(a), floats(b)));
        greater_float(a, b) = L128(vbslq_u32(vcgtq_f32(floats(a), floats(b)), a.0, b.0));
        lesser_float(a, b) = L128(vbslq_u32(vcltq_f32(floats(a), floats(b)), a.0, b.0));
        or_if_negative(a, b) = L128(vbslq_u32(vcgezq_f32(floats(a)), a.0, b.0));
    }
    #[inline(always)]
    unsafe fn less(self, other: Self) -> u32 {
        // SAFETY: the trait's contract.
        unsafe { bits_of_lanes(vcltq_s32(ints(self), ints(other))) }
    }
    #[inline(always)]
    unsafe fn at_least_float(self, other: Self) -> u32 {
        // SAFETY: the trait's contract.
        unsafe { bits_of_lanes(vcgeq_f32(floats(self), floats(other))) }
    }
}

crate::arch::lane_wrappers!(L128, "neon", 4, 4, 2, 12, 4);
