//! The line that counting products cannot pass: XOR, population count and add on registers.

use crate::vector::Vector;

/// Registers of weights in the loop.
pub(crate) const PEAK_REGISTERS: usize = 4;

/// Counts the differing bits of `x` and four registers, over and over; the answer is a checksum.
///
/// # Safety
///
/// As [`Vector`].
#[inline(always)]
pub(crate) unsafe fn peak<V: Vector>(x: &[u64], rounds: usize, checksum: &mut u64) {
    // SAFETY: only registers and the slice are read; the buffer holds the widest register.
    unsafe {
        let mut weights = [V::zero(); PEAK_REGISTERS];
        for v in 0..PEAK_REGISTERS {
            weights[v] = V::splat(0x9E37_79B9_7F4A_7C15 << v);
        }
        let mut totals = [V::zero(); PEAK_REGISTERS];
        for _ in 0..rounds {
            for words in x.chunks(V::MAX_COUNTS.min(64)) {
                let mut counts = [V::zero(); PEAK_REGISTERS];
                for &word in words {
                    let x = V::splat(word);
                    for v in 0..PEAK_REGISTERS {
                        counts[v] = counts[v].add_counts(x.xor(weights[v]).count());
                    }
                }
                for v in 0..PEAK_REGISTERS {
                    totals[v] = totals[v].add(counts[v].widen());
                }
            }
        }
        for total in totals {
            let mut words = [0; 8];
            total.store(words.as_mut_ptr());
            for word in words {
                *checksum = checksum.wrapping_add(word);
            }
        }
    }
}
