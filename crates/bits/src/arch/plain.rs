//! The portable register: arrays of words, for the scalar tier.

use crate::lanes::Lanes;

/// Eight lanes.
#[derive(Clone, Copy)]
pub(crate) struct Plain([u32; 8]);

impl Plain {
    #[inline(always)]
    fn map2(self, other: Self, f: impl Fn(u32, u32) -> u32) -> Self {
        let mut out = self.0;
        for (a, b) in out.iter_mut().zip(other.0) {
            *a = f(*a, b);
        }
        Plain(out)
    }

    #[inline(always)]
    fn float2(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        self.map2(other, |a, b| {
            f(f32::from_bits(a), f32::from_bits(b)).to_bits()
        })
    }

    #[inline(always)]
    fn mask(self, other: Self, f: impl Fn(u32, u32) -> bool) -> u32 {
        let mut bits = 0;
        for (i, (a, b)) in self.0.into_iter().zip(other.0).enumerate() {
            bits |= u32::from(f(a, b)) << i;
        }
        bits
    }
}

impl Lanes for Plain {
    const N: usize = 8;
    const MAX_COUNTS: usize = usize::MAX;

    #[inline(always)]
    unsafe fn zero() -> Self {
        Plain([0; 8])
    }
    #[inline(always)]
    unsafe fn load(ptr: *const u32) -> Self {
        // SAFETY: the trait's contract; an array of words has their layout.
        unsafe { Plain(ptr.cast::<[u32; 8]>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn store(self, ptr: *mut u32) {
        // SAFETY: as `load`.
        unsafe { ptr.cast::<[u32; 8]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn splat(word: u32) -> Self {
        Plain([word; 8])
    }
    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        self.map2(other, |a, b| a ^ b)
    }
    #[inline(always)]
    unsafe fn xor_and(self, other: Self, mask: Self) -> Self {
        self.map2(other, |a, b| a ^ b).map2(mask, |a, b| a & b)
    }
    #[inline(always)]
    unsafe fn count(self) -> Self {
        self.map2(self, |a, _| a.count_ones())
    }
    #[inline(always)]
    unsafe fn add_counts(self, other: Self) -> Self {
        self.map2(other, u32::wrapping_add)
    }
    #[inline(always)]
    unsafe fn widen(self) -> Self {
        self
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.map2(other, u32::wrapping_add)
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        self.map2(other, u32::wrapping_sub)
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        self.map2(other, |a, b| (a as i32).max(b as i32) as u32)
    }
    #[inline(always)]
    unsafe fn less(self, other: Self) -> u32 {
        self.mask(other, |a, b| (a as i32) < b as i32)
    }
    #[inline(always)]
    unsafe fn dot4(self, codes: Self, weights: Self) -> Self {
        let products = codes.map2(weights, |codes, weights| {
            let pairs = codes.to_le_bytes().into_iter().zip(weights.to_le_bytes());
            pairs
                .map(|(code, weight)| i32::from(code) * i32::from(weight as i8))
                .sum::<i32>() as u32
        });
        self.map2(products, u32::wrapping_add)
    }
    #[inline(always)]
    unsafe fn to_float(self) -> Self {
        self.map2(self, |a, _| (a as i32 as f32).to_bits())
    }
    #[inline(always)]
    unsafe fn add_float(self, other: Self) -> Self {
        self.float2(other, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn mul_float(self, other: Self) -> Self {
        self.float2(other, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div_float(self, other: Self) -> Self {
        self.float2(other, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn greater_float(self, other: Self) -> Self {
        self.float2(other, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn lesser_float(self, other: Self) -> Self {
        self.float2(other, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn or_if_negative(self, other: Self) -> Self {
        self.float2(other, |a, b| if a >= 0.0 { a } else { b })
    }
    #[inline(always)]
    unsafe fn at_least_float(self, other: Self) -> u32 {
        self.mask(other, |a, b| f32::from_bits(a) >= f32::from_bits(b))
    }
}

crate::arch::lane_wrappers!(Plain, 1, 2, 1, 2, 1);

/// Products of floats for the training step.
pub(crate) mod train {
    use super::Plain;
    use crate::generic::train::Separate;
    crate::arch::train_wrappers!([inline], Plain, Separate, 2, 2, 2, 1, 4);
}
