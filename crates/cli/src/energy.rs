//! An estimate of the energy of one inference, from published figures for one silicon process.
//!
//! In: counts of operations and bytes. Out: picojoules, and the assumptions in words. The figures are those of
//! M. Horowitz, "Computing's energy problem (and what we can do about it)", ISSCC 2014, 45 nm, 0.9 V. It is an
//! estimate of arithmetic and weight traffic; control, wires and activations are left out on both sides.

use serde_json::{Value, json};

/// Picojoules of a 32-bit float product.
const F32_MULT: f64 = 3.7;
/// Picojoules of a 32-bit float sum.
const F32_ADD: f64 = 0.9;
/// Picojoules of an 8-bit integer sum.
const INT8_ADD: f64 = 0.03;
/// Picojoules of an 8-bit integer product.
const INT8_MULT: f64 = 0.2;
/// Picojoules of a 32-bit integer sum; a comparison is priced as one.
const INT32_ADD: f64 = 0.1;
/// Picojoules of a 32-bit integer product.
const INT32_MULT: f64 = 3.1;
/// Picojoules of reading 64 bits from an 8 KB SRAM.
const SRAM_WORD: f64 = 10.0;
/// Picojoules of reading 64 bits from DRAM, the lower and the upper figure.
const DRAM_WORD: (f64, f64) = (1300.0, 2600.0);

/// One gate or one full adder: an eighth of an 8-bit sum, which is eight full adders.
const GATE: f64 = INT8_ADD / 8.0;

/// What one inference does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Products of single bits with binary weights.
    pub bit_macs: u64,
    /// Products of single bits with ternary weights.
    pub ternary_macs: u64,
    /// 8-bit products, each with a 32-bit sum.
    pub int8_macs: u64,
    /// 32-bit products, each with a sum.
    pub int32_macs: u64,
    /// Integer comparisons and sums.
    pub int_ops: u64,
    /// Float sums.
    pub float_adds: u64,
    /// Float product-and-sum pairs.
    pub float_macs: u64,
    /// Bytes of weights and constants read.
    pub bytes: u64,
}

/// Picojoules of one inference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Arithmetic.
    pub compute: f64,
    /// Reading every weight once from on-chip SRAM.
    pub sram: f64,
    /// Reading every weight once from DRAM, lower and upper figure.
    pub dram: (f64, f64),
}

impl Work {
    /// The energy of this work.
    pub fn estimate(&self) -> Estimate {
        let gates = 2 * self.bit_macs + 3 * self.ternary_macs;
        let compute = gates as f64 * GATE
            + self.int8_macs as f64 * (INT8_MULT + INT32_ADD)
            + self.int32_macs as f64 * (INT32_MULT + INT32_ADD)
            + self.int_ops as f64 * INT32_ADD
            + self.float_adds as f64 * F32_ADD
            + self.float_macs as f64 * (F32_MULT + F32_ADD);
        let words = self.bytes as f64 / 8.0;
        Estimate {
            compute,
            sram: words * SRAM_WORD,
            dram: (words * DRAM_WORD.0, words * DRAM_WORD.1),
        }
    }
}

impl Estimate {
    /// For `--json`.
    pub fn json(&self) -> Value {
        json!({
            "compute_pj": self.compute,
            "weights_from_sram_pj": self.sram,
            "weights_from_dram_pj": [self.dram.0, self.dram.1],
        })
    }
}

/// The assumptions, for people.
pub const ASSUMPTIONS: &str = "\
Energy is an estimate from M. Horowitz, ISSCC 2014 (45 nm, 0.9 V): float32 product 3.7 pJ and sum 0.9 pJ, 8-bit
product 0.2 pJ and sum 0.03 pJ, 32-bit product 3.1 pJ and sum 0.1 pJ, 64 bits from an 8 KB SRAM 10 pJ, 64 bits
from DRAM 1.3 to 2.6 nJ. A bit-MAC is one XNOR gate and one full adder of the population count, each an eighth of
an 8-bit sum; a ternary one adds an AND gate; a product of j and k bits is j times k bit-MACs; a threshold is one
32-bit sum. Every weight is read once an image. Activations, control and wires are left out, here and for float32.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bit_mac_is_two_eighths_of_a_byte_sum() {
        let work = Work {
            bit_macs: 8,
            ..Work::default()
        };
        assert!((work.estimate().compute - 2.0 * INT8_ADD).abs() < 1e-12);
        let float = Work {
            float_macs: 1,
            bytes: 8,
            ..Work::default()
        };
        assert!((float.estimate().compute - 4.6).abs() < 1e-12);
        assert_eq!(float.estimate().sram, SRAM_WORD);
    }
}
