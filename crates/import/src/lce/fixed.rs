//! TFLite's fixed-point arithmetic for 8-bit tensors, and the cuts that stand for it in a Program.
//!
//! In: scales, zero points and what a layer computes. Out: for each code the least accumulator or real that gets
//! it, found by searching the exact formula. Leaves layers to `quantized`.

/// Where the second rounding puts a half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ties {
    /// Up, as the matrix kernels of TFLite do.
    Up,
    /// Away from zero, as its other kernels do.
    Away,
}

/// A real factor as a 31-bit integer and a power of two, as `QuantizeMultiplier` makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Multiplier {
    mantissa: i32,
    shift: i32,
}

impl Multiplier {
    /// The nearest multiplier to a factor that is finite and not negative.
    pub fn new(factor: f64) -> Self {
        let zero = Multiplier {
            mantissa: 0,
            shift: 0,
        };
        if !factor.is_normal() || factor < 0.0 {
            return zero;
        }
        let bits = factor.to_bits();
        // `factor` is `fraction * 2^shift` with the fraction in [0.5, 1).
        let mut shift = (bits >> 52) as i32 - 1022;
        let fraction = f64::from_bits(bits & ((1 << 52) - 1) | 1022 << 52);
        let mut mantissa = (fraction * 2f64.powi(31)).round() as i64;
        if mantissa == 1 << 31 {
            mantissa /= 2;
            shift += 1;
        }
        match shift {
            ..-31 => zero,
            31.. => Multiplier {
                mantissa: i32::MAX,
                shift: 30,
            },
            _ => Multiplier {
                mantissa: mantissa as i32,
                shift,
            },
        }
    }

    /// `x` times the factor, rounded twice: first to 31 bits after the point of the mantissa, then to an integer.
    pub fn apply(self, x: i32, ties: Ties) -> i32 {
        let left = self.shift.max(0);
        let right = -self.shift.min(0);
        let x = (i64::from(x) << left).clamp(i32::MIN.into(), i32::MAX.into());
        let product = x * i64::from(self.mantissa);
        let high = (product + (1 << 30)) >> 31;
        let half = match ties {
            Ties::Away if high < 0 && right > 0 => ((1i64 << right) >> 1) - 1,
            _ => (1i64 << right) >> 1,
        };
        ((high + half) >> right).clamp(i32::MIN.into(), i32::MAX.into()) as i32
    }

    /// The factor divided by a positive integer, as the mean of 8-bit tensors uses it.
    pub fn divided_by(self, n: u32) -> Self {
        let n = i64::from(n.max(1));
        let spare = (63 - n.leading_zeros() as i32)
            .clamp(0, 32)
            .min(31 + self.shift);
        let spare = spare.max(0);
        Multiplier {
            mantissa: ((i64::from(self.mantissa) << spare) / n) as i32,
            shift: self.shift - spare,
        }
    }
}

/// The least `x` for which `holds`, which stays true once it is; `i32::MAX` where it never is.
pub(super) fn least_int(mut low: i32, holds: impl Fn(i32) -> bool) -> i32 {
    let mut high = i32::MAX;
    while low < high {
        let middle = ((i64::from(low) + i64::from(high)).div_euclid(2)) as i32;
        if holds(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}
