//! The 128-bit register of 32-bit lanes of WebAssembly.

// As in the tier's other file: on this target the instructions themselves are safe.
#![allow(unused_unsafe)]

use core::arch::wasm32::*;

use crate::arch::one;
use crate::lanes::Lanes;

/// Four lanes of 32 bits.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct L128(v128);

impl Lanes for L128 {
    const N: usize = 4;
    // A byte holds at most 8 per count, so 31 counts stay below 256.
    const MAX_COUNTS: usize = 31;

    #[inline(always)]
    unsafe fn zero() -> Self {
        L128(u32x4_splat(0))
    }
    #[inline(always)]
    unsafe fn load(ptr: *const u32) -> Self {
        // SAFETY: the trait's contract; `v128_load` needs no alignment.
        unsafe { L128(v128_load(ptr.cast())) }
    }
    #[inline(always)]
    unsafe fn store(self, ptr: *mut u32) {
        // SAFETY: the trait's contract; `v128_store` needs no alignment.
        unsafe { v128_store(ptr.cast(), self.0) }
    }
    #[inline(always)]
    unsafe fn splat(word: u32) -> Self {
        L128(u32x4_splat(word))
    }
    one! {
        xor(a, b) = L128(v128_xor(a.0, b.0));
        xor_and(a, b, c) = L128(v128_and(v128_xor(a.0, b.0), c.0));
        count(a) = L128(u8x16_popcnt(a.0));
        add_counts(a, b) = L128(u8x16_add(a.0, b.0));
        widen(a) = L128(u32x4_extadd_pairwise_u16x8(u16x8_extadd_pairwise_u8x16(a.0)));
        add(a, b) = L128(u32x4_add(a.0, b.0));
        sub(a, b) = L128(u32x4_sub(a.0, b.0));
        max(a, b) = L128(i32x4_max(a.0, b.0));
        // Each dot product sums two of a lane's four products; even ones are its first two.
        dot4(a, x, w) = {
            let low = i32x4_dot_i16x8(u16x8_extend_low_u8x16(x.0), i16x8_extend_low_i8x16(w.0));
            let high = i32x4_dot_i16x8(u16x8_extend_high_u8x16(x.0), i16x8_extend_high_i8x16(w.0));
            let even = i32x4_shuffle::<0, 2, 4, 6>(low, high);
            let odd = i32x4_shuffle::<1, 3, 5, 7>(low, high);
            L128(i32x4_add(a.0, i32x4_add(even, odd)))
        };
        to_float(a) = L128(f32x4_convert_i32x4(a.0));
        add_float(a, b) = L128(f32x4_add(a.0, b.0));
        mul_float(a, b) = L128(f32x4_mul(a.0, b.0));
        div_float(a, b) = L128(f32x4_div(a.0, b.0));
        // `pmax(b, a)` is `b < a ? a : b`.
        greater_float(a, b) = L128(f32x4_pmax(b.0, a.0));
        // `pmin(b, a)` is `a < b ? a : b`.
        lesser_float(a, b) = L128(f32x4_pmin(b.0, a.0));
        or_if_negative(a, b) = {
            let keep = f32x4_ge(a.0, f32x4_splat(0.0));
            L128(v128_bitselect(a.0, b.0, keep))
        };
    }
    #[inline(always)]
    unsafe fn less(self, other: Self) -> u32 {
        u32::from(i32x4_bitmask(i32x4_lt(self.0, other.0)))
    }
    #[inline(always)]
    unsafe fn at_least_float(self, other: Self) -> u32 {
        u32::from(i32x4_bitmask(f32x4_ge(self.0, other.0)))
    }
}

crate::arch::lane_wrappers!(L128, "simd128", 4, 2, 1, 4, 2);
