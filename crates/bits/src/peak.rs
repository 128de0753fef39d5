//! The work of the peak measurement: a fixed number of XOR, population count and add operations.
//!
//! Owns the loop only; whoever times it owns the clock.

use crate::dispatch::dispatch;
use crate::generic::peak::PEAK_REGISTERS;
use crate::isa::{Isa, Tier};

/// Words that the loop reads; they stay in the first-level cache.
const N_WORDS: usize = 496;

/// Runs the loop `rounds` times and returns the bit multiply-accumulates it did and a checksum.
pub fn count_bits(isa: Isa, rounds: usize) -> (u64, u64) {
    let mut x = [0u64; N_WORDS];
    for (i, word) in x.iter_mut().enumerate() {
        *word = (i as u64 + 1).wrapping_mul(0xD134_2543_DE82_EF95);
    }
    let mut checksum = 0;
    dispatch!(isa, peak(&x, rounds, &mut checksum));
    let register_words: u64 = match isa.tier() {
        Tier::Scalar => 1,
        Tier::Neon | Tier::Simd128 => 2,
        Tier::Avx2 => 4,
        Tier::Avx512 => 8,
    };
    (
        rounds as u64 * (N_WORDS * PEAK_REGISTERS * 64) as u64 * register_words,
        checksum,
    )
}
