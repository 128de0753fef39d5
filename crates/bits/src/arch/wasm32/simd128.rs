//! The 128-bit tier of WebAssembly: population counts of bytes by `i8x16.popcnt`.

// The compiler lets these instructions be used in safe code on this target, but the trait's
// methods are `unsafe` and pointers are read and written all the same.
#![allow(unused_unsafe)]

use core::arch::wasm32::*;

use crate::vector::{Convert, Vector};

/// Two words.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct V128(v128);

impl V128 {
    /// The low 32 bits of the lanes of two registers, in lane order.
    ///
    /// # Safety
    ///
    /// As [`Vector`].
    #[inline(always)]
    unsafe fn low_halves(self, other: Self) -> v128 {
        i32x4_shuffle::<0, 2, 4, 6>(self.0, other.0)
    }
}

/// Bytes in which each of the 16 bits tests the bit of its place: all ones or zero.
///
/// # Safety
///
/// As [`Vector`].
#[inline(always)]
unsafe fn bytes_of_bits(bits: u16) -> v128 {
    let [low, high] = bits.to_le_bytes();
    let spread = i8x16_shuffle::<0, 0, 0, 0, 0, 0, 0, 0, 16, 16, 16, 16, 16, 16, 16, 16>(
        u8x16_splat(low),
        u8x16_splat(high),
    );
    let bit = u64x2_splat(0x8040_2010_0804_0201);
    i8x16_eq(v128_and(spread, bit), bit)
}

impl Vector for V128 {
    const WORDS: usize = 2;
    // A byte holds at most 8 per count, so 31 counts stay below 256.
    const MAX_COUNTS: usize = 31;

    #[inline(always)]
    unsafe fn zero() -> Self {
        V128(u64x2_splat(0))
    }
    #[inline(always)]
    unsafe fn load(ptr: *const u64) -> Self {
        // SAFETY: the trait's contract; `v128_load` needs no alignment.
        unsafe { V128(v128_load(ptr.cast())) }
    }
    #[inline(always)]
    unsafe fn store(self, ptr: *mut u64) {
        // SAFETY: the trait's contract; `v128_store` needs no alignment.
        unsafe { v128_store(ptr.cast(), self.0) }
    }
    #[inline(always)]
    unsafe fn splat(word: u64) -> Self {
        V128(u64x2_splat(word))
    }
    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        V128(v128_xor(self.0, other.0))
    }
    #[inline(always)]
    unsafe fn and(self, other: Self) -> Self {
        V128(v128_and(self.0, other.0))
    }
    #[inline(always)]
    unsafe fn xor_and(self, other: Self, mask: Self) -> Self {
        V128(v128_and(v128_xor(self.0, other.0), mask.0))
    }
    #[inline(always)]
    unsafe fn full_add(self, b: Self, c: Self) -> (Self, Self) {
        // The carry is `self` where `b` and `c` differ.
        let differ = v128_xor(b.0, c.0);
        let carry = v128_bitselect(self.0, b.0, differ);
        (V128(v128_xor(self.0, differ)), V128(carry))
    }
    #[inline(always)]
    unsafe fn full_add_loaded(self, b: Self, c: Self) -> (Self, Self) {
        // SAFETY: the trait's contract.
        unsafe { self.full_add(b, c) }
    }
    #[inline(always)]
    unsafe fn majority(self, b: Self, c: Self) -> Self {
        V128(v128_bitselect(self.0, b.0, v128_xor(b.0, c.0)))
    }
    #[inline(always)]
    unsafe fn borrow(self, b: Self, c: Self) -> Self {
        // Where `self` and `b` differ, `!self` is `b`; elsewhere the two cancel and `c` decides.
        V128(v128_bitselect(b.0, c.0, v128_xor(self.0, b.0)))
    }
    #[inline(always)]
    unsafe fn count(self) -> Self {
        V128(u8x16_popcnt(self.0))
    }
    #[inline(always)]
    unsafe fn add_counts(self, other: Self) -> Self {
        V128(u8x16_add(self.0, other.0))
    }
    #[inline(always)]
    unsafe fn widen(self) -> Self {
        let quarters = u32x4_extadd_pairwise_u16x8(u16x8_extadd_pairwise_u8x16(self.0));
        let low = v128_and(quarters, u64x2_splat(0xFFFF_FFFF));
        V128(u64x2_add(low, u64x2_shr(quarters, 32)))
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        V128(u64x2_add(self.0, other.0))
    }

    #[inline(always)]
    unsafe fn less8(totals: *const Self, bounds: *const u64) -> u8 {
        // SAFETY: the trait's contract; a signed comparison serves numbers below 2^63.
        unsafe {
            let mut bits = 0;
            for v in 0..4 {
                let less = i64x2_lt((*totals.add(v)).0, v128_load(bounds.add(2 * v).cast()));
                bits |= i64x2_bitmask(less) << (2 * v);
            }
            bits
        }
    }
    #[inline(always)]
    unsafe fn store_totals8(totals: *const Self, out: *mut i32) {
        // SAFETY: the trait's contract.
        unsafe {
            for half in 0..2 {
                let totals = (*totals.add(2 * half)).low_halves(*totals.add(2 * half + 1));
                v128_store(out.add(4 * half).cast(), totals);
            }
        }
    }
    #[inline(always)]
    unsafe fn store_dots16(totals: *const Self, whole: i32, out: *mut f32) {
        // SAFETY: the trait's contract.
        unsafe {
            for quarter in 0..4 {
                let totals = (*totals.add(2 * quarter)).low_halves(*totals.add(2 * quarter + 1));
                let dots = i32x4_sub(i32x4_splat(whole), i32x4_add(totals, totals));
                v128_store(out.add(4 * quarter).cast(), f32x4_convert_i32x4(dots));
            }
        }
    }
}

impl Convert for V128 {
    #[inline(always)]
    unsafe fn signs64(values: *const f32) -> u64 {
        // SAFETY: the trait's contract.
        unsafe {
            let mut bits = 0;
            for four in 0..16 {
                let value = v128_load(values.add(four * 4).cast());
                let ge = i32x4_bitmask(f32x4_ge(value, f32x4_splat(0.0)));
                bits |= u64::from(ge) << (four * 4);
            }
            bits
        }
    }
    #[inline(always)]
    unsafe fn signs_nonzero64(values: *const f32) -> (u64, u64) {
        // SAFETY: the trait's contract.
        unsafe {
            let (mut sign, mut mask) = (0, 0);
            for four in 0..16 {
                let value = v128_load(values.add(four * 4).cast());
                let gt = i32x4_bitmask(f32x4_gt(value, f32x4_splat(0.0)));
                let ne = i32x4_bitmask(f32x4_ne(value, f32x4_splat(0.0)));
                sign |= u64::from(gt) << (four * 4);
                mask |= u64::from(ne) << (four * 4);
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
            let bit = u32x4(1, 2, 4, 8);
            for four in 0..16 {
                let sign = u32x4_splat((sign >> (four * 4)) as u32);
                let mask = u32x4_splat((mask >> (four * 4)) as u32);
                let positive = i32x4_eq(v128_and(sign, bit), bit);
                let present = i32x4_eq(v128_and(mask, bit), bit);
                let value = v128_bitselect(f32x4_splat(1.0), f32x4_splat(-1.0), positive);
                v128_store(values.add(four * 4).cast(), v128_and(value, present));
            }
        }
    }
    #[inline(always)]
    unsafe fn at_least64(codes: *const u8, at: *const u8) -> u64 {
        // SAFETY: the trait's contract.
        unsafe {
            let mut bits = 0;
            for quarter in 0..4 {
                let code = v128_load(codes.add(quarter * 16).cast());
                let at = v128_load(at.add(quarter * 16).cast());
                bits |= u64::from(u8x16_bitmask(u8x16_ge(code, at))) << (quarter * 16);
            }
            bits
        }
    }
    #[inline(always)]
    unsafe fn plane64(codes: *const u8, plane: u32) -> u64 {
        // SAFETY: the trait's contract; the plane's bit is moved to each byte's sign.
        unsafe {
            let mut bits = 0;
            for quarter in 0..4 {
                let code = v128_load(codes.add(quarter * 16).cast());
                let moved = u8x16_bitmask(u8x16_shl(code, 7 - plane));
                bits |= u64::from(moved) << (quarter * 16);
            }
            bits
        }
    }
    #[inline(always)]
    unsafe fn octal64(ones: u64, twos: u64, fours: u64, out: *mut u8) {
        // SAFETY: the trait's contract.
        unsafe {
            for quarter in 0..4 {
                let mut sum = u8x16_splat(0);
                for (mask, value) in [(ones, 8), (twos, 16), (fours, 32)] {
                    let present = bytes_of_bits((mask >> (quarter * 16)) as u16);
                    sum = v128_or(sum, v128_and(present, u8x16_splat(value)));
                }
                v128_store(out.add(quarter * 16).cast(), sum);
            }
        }
    }
}

crate::arch::wrappers!(V128, "simd128", 1, 8, 4);
