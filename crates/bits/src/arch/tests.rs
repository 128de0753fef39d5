//! Every method of every tier's [`Lanes`] against the portable register, lane by lane.

use core::ops::RangeInclusive;
use std::vec::Vec;

use crate::arch::plain::Plain;
use crate::isa::{Isa, Tier};
use crate::lanes::Lanes;

/// Words that are edges of integers or of floats.
const EDGES: [u32; 16] = [
    0,
    1,
    u32::MAX,
    i32::MAX as u32,
    i32::MIN as u32,
    0x3F80_0000,
    0xBF80_0000,
    0x7F80_0000,
    0xFF80_0000,
    0x7FC0_0000,
    0x0000_0100,
    0x8000_0100,
    0x7F7F_FFFF,
    0x4B80_0001,
    0x0080_0000,
    0x3EAA_AAAB,
];

/// Eight words: edges, or any bits.
fn words(seed: &mut u64) -> [u32; 8] {
    core::array::from_fn(|_| {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        if *seed & 1 == 0 {
            EDGES[(*seed >> 32) as usize % EDGES.len()]
        } else {
            (*seed >> 32) as u32
        }
    })
}

/// Eight words whose bytes lie in a range.
fn weights(seed: &mut u64, range: &RangeInclusive<i8>) -> [u32; 8] {
    words(seed).map(|word| {
        let byte = |byte: u8| (byte as i8).clamp(*range.start(), *range.end()) as u8;
        u32::from_le_bytes(word.to_le_bytes().map(byte))
    })
}

type Two<'a, V> = &'a dyn Fn(V, V) -> V;

/// The answers of every method on registers of `V`, eight lanes of each.
///
/// # Safety
///
/// The CPU has the tier's instructions.
unsafe fn answers<V: Lanes>(
    seed: u64,
    range: &RangeInclusive<i8>,
) -> Vec<(&'static str, Vec<u32>)> {
    let mut seed = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let (a, b, c) = (words(&mut seed), words(&mut seed), words(&mut seed));
    let weights = weights(&mut seed, range);
    // A register may be wider than eight lanes, so memory is.
    let wide = |words: [u32; 8]| -> [u32; 16] { core::array::from_fn(|i| words[i % 8]) };
    let (a, b, c, weights) = (wide(a), wide(b), wide(c), wide(weights));
    let mut all = Vec::new();
    // SAFETY: the caller's promise; buffers hold the widest register from any lane that is a
    // multiple of its width.
    unsafe {
        let each = |f: &dyn Fn(V, V, V, V) -> V| -> Vec<u32> {
            let mut out = [0; 16];
            for at in (0..8).step_by(V::N) {
                let load = |words: &[u32; 16]| V::load(words.as_ptr().add(at));
                f(load(&a), load(&b), load(&c), load(&weights)).store(out.as_mut_ptr().add(at));
            }
            out[..8].to_vec()
        };
        let bits = |f: &dyn Fn(V, V) -> u32| -> Vec<u32> {
            let mut out = 0;
            for at in (0..8).step_by(V::N) {
                let (a, b) = (V::load(a.as_ptr().add(at)), V::load(b.as_ptr().add(at)));
                out |= f(a, b) << at;
            }
            std::vec![out & 255]
        };
        all.push(("zero", each(&|_, _, _, _| V::zero())));
        all.push(("splat", each(&|_, _, _, _| V::splat(0x1234_5678))));
        all.push(("xor", each(&|a, b, _, _| a.xor(b))));
        all.push(("xor_and", each(&|a, b, c, _| a.xor_and(b, c))));
        // As many counts as every register may sum.
        let counts = |a: V, b: V, c: V, _: V| {
            let mut sum = V::zero();
            for step in 0..31 {
                sum = sum.add_counts([a, b, c][step % 3].count());
            }
            sum.widen()
        };
        all.push(("count", each(&counts)));
        let full = |_: V, _: V, _: V, _: V| {
            let mut sum = V::zero();
            for _ in 0..31 {
                sum = sum.add_counts(V::splat(u32::MAX).count());
            }
            sum.widen()
        };
        all.push(("full counts", each(&full)));
        all.push(("add", each(&|a, b, _, _| a.add(b))));
        all.push(("sub", each(&|a, b, _, _| a.sub(b))));
        all.push(("max", each(&|a, b, _, _| a.max(b))));
        all.push(("less", bits(&|a, b| a.less(b))));
        all.push(("dot4", each(&|a, b, _, weights| a.dot4(b, weights))));
        all.push(("to_float", each(&|a, _, _, _| a.to_float())));
        let floats: [(&str, Two<V>); 6] = [
            ("add_float", &|a, b| a.add_float(b)),
            ("mul_float", &|a, b| a.mul_float(b)),
            ("div_float", &|a, b| a.div_float(b)),
            ("greater_float", &|a, b| a.greater_float(b)),
            ("lesser_float", &|a, b| a.lesser_float(b)),
            ("or_if_negative", &|a, b| a.or_if_negative(b)),
        ];
        for (name, f) in floats {
            let canonical = |word: u32| {
                if f32::from_bits(word).is_nan() {
                    f32::NAN.to_bits()
                } else {
                    word
                }
            };
            let found = each(&|a, b, _, _| f(a, b));
            all.push((name, found.into_iter().map(canonical).collect()));
        }
        all.push(("at_least_float", bits(&|a, b| a.at_least_float(b))));
    }
    all
}

#[test]
fn every_register_of_lanes_equals_the_portable_one() {
    for isa in Isa::available() {
        // The weights for which `dot4` is exact.
        let range = match isa.tier() {
            Tier::Avx2 => -64..=64,
            _ => i8::MIN..=i8::MAX,
        };
        for seed in 1..=2000 {
            // SAFETY: the `Isa` proves the instructions.
            let (found, expected) = unsafe {
                let found = match isa.tier() {
                    #[cfg(target_arch = "x86_64")]
                    Tier::Avx2 => answers::<crate::arch::x86_64::lanes256::L256>(seed, &range),
                    #[cfg(target_arch = "x86_64")]
                    Tier::Avx512 => answers::<crate::arch::x86_64::lanes512::L512>(seed, &range),
                    #[cfg(target_arch = "aarch64")]
                    Tier::Neon => answers::<crate::arch::aarch64::lanes128::L128>(seed, &range),
                    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
                    Tier::Simd128 => answers::<crate::arch::wasm32::lanes128::L128>(seed, &range),
                    _ => answers::<Plain>(seed, &range),
                };
                (found, answers::<Plain>(seed, &range))
            };
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!(found, expected, "{isa:?}, seed {seed}");
            }
        }
    }
}
