//! The line that counting cannot pass on this core, measured.

use std::hint::black_box;
use std::time::{Duration, Instant};

use onebit_bits::{Isa, peak};

/// The fastest XOR, population count and add that one core does, with its data in registers and
/// the first-level cache.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Peak {
    /// Name of the instruction set.
    pub isa: &'static str,
    /// Products of single bits per second.
    pub bit_macs_per_s: f64,
}

/// Measures the calling thread's core for about 50 ms and keeps the best of many short runs.
pub fn measure(isa: Isa) -> Peak {
    let rounds = 50;
    let mut best = 0.0f64;
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(50) {
        let begin = Instant::now();
        let (bit_macs, checksum) = peak::count_bits(isa, rounds);
        let seconds = begin.elapsed().as_secs_f64();
        black_box(checksum);
        best = best.max(bit_macs as f64 / seconds);
    }
    Peak {
        isa: isa.name(),
        bit_macs_per_s: best,
    }
}
