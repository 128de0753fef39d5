//! The 128-bit tier of ARM: population counts of bytes by `cnt`.
//!
//! Words and bytes of a register are reinterpreted as each other, which is only right where the
//! first byte is the least significant one; [`crate::isa`] asks for that.

use core::arch::aarch64::*;

use crate::vector::{Convert, Vector};

/// Two words.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct V128(uint64x2_t);

impl V128 {
    /// The low 32 bits of the lanes of two registers, in lane order.
    ///
    /// # Safety
    ///
    /// As [`Vector`].
    #[inline(always)]
    unsafe fn low_halves(self, other: Self) -> uint32x4_t {
        // SAFETY: the trait's contract, which callers in this file are under.
        unsafe { vcombine_u32(vmovn_u64(self.0), vmovn_u64(other.0)) }
    }
}

/// Bit `i` of the answer is the mask of byte `i`; each byte is all ones or zero.
///
/// # Safety
///
/// As [`Vector`].
#[inline(always)]
unsafe fn bits_of_bytes(masks: [uint8x16_t; 4]) -> u64 {
    // SAFETY: the trait's contract, which callers in this file are under. Each byte keeps the bit
    // of its place among eight, and three additions of neighbours join eight bytes in one.
    unsafe {
        let bit = vreinterpretq_u8_u64(vdupq_n_u64(0x8040_2010_0804_0201));
        let [a, b, c, d] = masks;
        let low = vpaddq_u8(vandq_u8(a, bit), vandq_u8(b, bit));
        let high = vpaddq_u8(vandq_u8(c, bit), vandq_u8(d, bit));
        let all = vpaddq_u8(low, high);
        vgetq_lane_u64::<0>(vreinterpretq_u64_u8(vpaddq_u8(all, all)))
    }
}

/// The masks of 16 floats as 16 bytes.
///
/// # Safety
///
/// As [`Vector`].
#[inline(always)]
unsafe fn bytes_of_floats(masks: [uint32x4_t; 4]) -> uint8x16_t {
    // SAFETY: the trait's contract, which callers in this file are under.
    unsafe {
        let [a, b, c, d] = masks;
        let low = vcombine_u16(vmovn_u32(a), vmovn_u32(b));
        let high = vcombine_u16(vmovn_u32(c), vmovn_u32(d));
        vcombine_u8(vmovn_u16(low), vmovn_u16(high))
    }
}

impl Vector for V128 {
    const WORDS: usize = 2;
    // A byte holds at most 8 per count, so 31 counts stay below 256.
    const MAX_COUNTS: usize = 31;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the trait's contract.
        unsafe { Self::splat(0) }
    }
    #[inline(always)]
    unsafe fn load(ptr: *const u64) -> Self {
        // SAFETY: the trait's contract.
        unsafe { V128(vld1q_u64(ptr)) }
    }
    #[inline(always)]
    unsafe fn store(self, ptr: *mut u64) {
        // SAFETY: the trait's contract.
        unsafe { vst1q_u64(ptr, self.0) }
    }
    #[inline(always)]
    unsafe fn splat(word: u64) -> Self {
        // SAFETY: the trait's contract.
        unsafe { V128(vdupq_n_u64(word)) }
    }
    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { V128(veorq_u64(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn and(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { V128(vandq_u64(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn xor_and(self, other: Self, mask: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { self.xor(other).and(mask) }
    }
    #[inline(always)]
    unsafe fn full_add(self, b: Self, c: Self) -> (Self, Self) {
        // SAFETY: the trait's contract; the carry is `self` where `b` and `c` differ.
        unsafe {
            let differ = b.xor(c);
            (self.xor(differ), V128(vbslq_u64(differ.0, self.0, b.0)))
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
        unsafe { V128(vbslq_u64(b.xor(c).0, self.0, b.0)) }
    }
    #[inline(always)]
    unsafe fn borrow(self, b: Self, c: Self) -> Self {
        // Where `self` and `b` differ, `!self` is `b`; elsewhere the two cancel and `c` decides.
        // SAFETY: the trait's contract.
        unsafe { V128(vbslq_u64(self.xor(b).0, b.0, c.0)) }
    }
    #[inline(always)]
    unsafe fn count(self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { V128(vreinterpretq_u64_u8(vcntq_u8(vreinterpretq_u8_u64(self.0)))) }
    }
    #[inline(always)]
    unsafe fn add_counts(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            let (a, b) = (vreinterpretq_u8_u64(self.0), vreinterpretq_u8_u64(other.0));
            V128(vreinterpretq_u64_u8(vaddq_u8(a, b)))
        }
    }
    #[inline(always)]
    unsafe fn widen(self) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            let pairs = vpaddlq_u8(vreinterpretq_u8_u64(self.0));
            V128(vpaddlq_u32(vpaddlq_u16(pairs)))
        }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { V128(vaddq_u64(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn less8(totals: *const Self, bounds: *const u64) -> u8 {
        // SAFETY: the trait's contract.
        unsafe {
            let mut less = [vdup_n_u32(0); 4];
            for (v, less) in less.iter_mut().enumerate() {
                let bound = vld1q_u64(bounds.add(2 * v));
                *less = vmovn_u64(vcltq_u64((*totals.add(v)).0, bound));
            }
            let low = vcombine_u32(less[0], less[1]);
            let high = vcombine_u32(less[2], less[3]);
            let bytes = vmovn_u16(vcombine_u16(vmovn_u32(low), vmovn_u32(high)));
            let bit = vcreate_u8(0x8040_2010_0804_0201);
            vaddv_u8(vand_u8(bytes, bit))
        }
    }
    #[inline(always)]
    unsafe fn store_totals8(totals: *const Self, out: *mut i32) {
        // SAFETY: the trait's contract.
        unsafe {
            for half in 0..2 {
                let totals = (*totals.add(2 * half)).low_halves(*totals.add(2 * half + 1));
                vst1q_s32(out.add(4 * half), vreinterpretq_s32_u32(totals));
            }
        }
    }
    #[inline(always)]
    unsafe fn store_dots16(totals: *const Self, whole: i32, out: *mut f32) {
        // SAFETY: the trait's contract.
        unsafe {
            for quarter in 0..4 {
                let totals = (*totals.add(2 * quarter)).low_halves(*totals.add(2 * quarter + 1));
                let totals = vreinterpretq_s32_u32(totals);
                let dots = vsubq_s32(vdupq_n_s32(whole), vaddq_s32(totals, totals));
                vst1q_f32(out.add(4 * quarter), vcvtq_f32_s32(dots));
            }
        }
    }
}

impl Convert for V128 {
    #[inline(always)]
    unsafe fn signs64(values: *const f32) -> u64 {
        // SAFETY: the trait's contract.
        unsafe {
            let mut bytes = [vdupq_n_u8(0); 4];
            for (quarter, bytes) in bytes.iter_mut().enumerate() {
                let mut ge = [vdupq_n_u32(0); 4];
                for (four, ge) in ge.iter_mut().enumerate() {
                    *ge = vcgezq_f32(vld1q_f32(values.add(quarter * 16 + four * 4)));
                }
                *bytes = bytes_of_floats(ge);
            }
            bits_of_bytes(bytes)
        }
    }
    #[inline(always)]
    unsafe fn signs_nonzero64(values: *const f32) -> (u64, u64) {
        // SAFETY: the trait's contract.
        unsafe {
            let (mut sign, mut zero) = ([vdupq_n_u8(0); 4], [vdupq_n_u8(0); 4]);
            for (quarter, (sign, zero)) in sign.iter_mut().zip(&mut zero).enumerate() {
                let (mut gt, mut eq) = ([vdupq_n_u32(0); 4], [vdupq_n_u32(0); 4]);
                for (four, (gt, eq)) in gt.iter_mut().zip(&mut eq).enumerate() {
                    let value = vld1q_f32(values.add(quarter * 16 + four * 4));
                    (*gt, *eq) = (vcgtzq_f32(value), vceqzq_f32(value));
                }
                (*sign, *zero) = (bytes_of_floats(gt), bytes_of_floats(eq));
            }
            (bits_of_bytes(sign), !bits_of_bytes(zero))
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
            let bit = vcombine_u32(vcreate_u32(1 | 2 << 32), vcreate_u32(4 | 8 << 32));
            for four in 0..16 {
                let positive = vtstq_u32(vdupq_n_u32((sign >> (four * 4)) as u32), bit);
                let present = vtstq_u32(vdupq_n_u32((mask >> (four * 4)) as u32), bit);
                let value = vbslq_f32(positive, vdupq_n_f32(1.0), vdupq_n_f32(-1.0));
                let value = vandq_u32(vreinterpretq_u32_f32(value), present);
                vst1q_f32(values.add(four * 4), vreinterpretq_f32_u32(value));
            }
        }
    }
    #[inline(always)]
    unsafe fn at_least64(codes: *const u8, at: *const u8) -> u64 {
        // SAFETY: the trait's contract.
        unsafe {
            let mut masks = [vdupq_n_u8(0); 4];
            for (quarter, mask) in masks.iter_mut().enumerate() {
                let code = vld1q_u8(codes.add(quarter * 16));
                *mask = vcgeq_u8(code, vld1q_u8(at.add(quarter * 16)));
            }
            bits_of_bytes(masks)
        }
    }
    #[inline(always)]
    unsafe fn plane64(codes: *const u8, plane: u32) -> u64 {
        // SAFETY: the trait's contract.
        unsafe {
            let bit = vdupq_n_u8(1 << plane);
            let mut masks = [vdupq_n_u8(0); 4];
            for (quarter, mask) in masks.iter_mut().enumerate() {
                *mask = vtstq_u8(vld1q_u8(codes.add(quarter * 16)), bit);
            }
            bits_of_bytes(masks)
        }
    }
    #[inline(always)]
    unsafe fn octal64(ones: u64, twos: u64, fours: u64, out: *mut u8) {
        // SAFETY: the trait's contract. Byte `i` of a quarter takes byte `i / 8` of the quarter's
        // bits, then tests its bit `i % 8`.
        unsafe {
            let bit = vreinterpretq_u8_u64(vdupq_n_u64(0x8040_2010_0804_0201));
            for quarter in 0..4 {
                let mut sum = vdupq_n_u8(0);
                for (mask, value) in [(ones, 8), (twos, 16), (fours, 32)] {
                    let low = vdup_n_u8((mask >> (quarter * 16)) as u8);
                    let high = vdup_n_u8((mask >> (quarter * 16 + 8)) as u8);
                    let present = vtstq_u8(vcombine_u8(low, high), bit);
                    sum = vorrq_u8(sum, vandq_u8(present, vdupq_n_u8(value)));
                }
                vst1q_u8(out.add(quarter * 16), sum);
            }
        }
    }
}

crate::arch::wrappers!(V128, "neon", 2, 8, 4);
