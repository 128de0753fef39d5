//! Products of floats: the tiers' fused multiplications and the products of bfloat16 pairs.

use core::arch::x86_64::*;

use crate::arch::x86_64::lanes256::L256;
use crate::arch::x86_64::lanes512::L512;
use crate::generic::train::Multiply;

/// One fused multiplication and addition.
pub(crate) struct Fused;

impl Multiply<L256> for Fused {
    #[inline(always)]
    unsafe fn multiply_add(total: L256, x: L256, weight: L256) -> L256 {
        // SAFETY: the trait's contract.
        unsafe { L256::from(_mm256_fmadd_ps(x.into(), weight.into(), total.into())) }
    }
}

impl Multiply<L512> for Fused {
    #[inline(always)]
    unsafe fn multiply_add(total: L512, x: L512, weight: L512) -> L512 {
        // SAFETY: the trait's contract.
        unsafe { L512::from(_mm512_fmadd_ps(x.into(), weight.into(), total.into())) }
    }
}

/// Two products of bfloat16.
pub(crate) struct Pairs;

impl Multiply<L512> for Pairs {
    #[inline(always)]
    unsafe fn multiply_add(total: L512, x: L512, weight: L512) -> L512 {
        // SAFETY: the trait's contract; both types are 64 bytes of which any are valid.
        unsafe {
            let (x, weight): (__m512, __m512) = (x.into(), weight.into());
            let (x, weight): (__m512bh, __m512bh) = (
                core::mem::transmute::<__m512, __m512bh>(x),
                core::mem::transmute::<__m512, __m512bh>(weight),
            );
            L512::from(_mm512_dpbf16_ps(total.into(), x, weight))
        }
    }
}

/// The 256-bit tier on a CPU with fused multiplications.
pub(crate) mod fused256 {
    use super::{Fused, L256};
    crate::arch::train_wrappers!(
        [target_feature(enable = "avx2,popcnt,fma")],
        L256,
        Fused,
        2,
        2,
        6,
        2,
        6
    );
}

/// The 512-bit tier.
pub(crate) mod fused512 {
    use super::{Fused, L512};
    crate::arch::train_wrappers!(
        [target_feature(
            enable = "avx2,popcnt,fma,avx512f,avx512bw,avx512dq,avx512vl"
        )],
        L512,
        Fused,
        2,
        1,
        12,
        3,
        8
    );
}

/// The 512-bit tier on a CPU with products of bfloat16.
pub(crate) mod pairs512 {
    use super::{L512, Pairs};
    crate::arch::train_wrappers!(
        [target_feature(
            enable = "avx2,popcnt,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16"
        )],
        L512,
        Pairs,
        2,
        1,
        12,
        3,
        8
    );
}
