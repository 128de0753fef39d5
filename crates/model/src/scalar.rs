//! The arithmetic of one real element: what `affine`, `relu`, `clip`, `prelu`, `rprelu` and `softmax` do to it.
//!
//! The interpreter and the passes that search for integer thresholds share it, so that what is folded
//! rounds as what is computed. Every operation is one binary32 operation, rounded once. FORMAT.md has the
//! same in words.

use core::f32::consts::LOG2_E;

/// `scale * x + shift`: the product and the sum round once each.
pub fn affine(x: f32, scale: f32, shift: f32) -> f32 {
    let product = scale * x;
    product + shift
}

/// `x` where `x > 0`, else +0; NaN becomes +0.
pub fn relu(x: f32) -> f32 {
    if x > 0.0 { x } else { 0.0 }
}

/// The greater of `x` and `min`, but at most `max`; NaN becomes `min`.
pub fn clip(x: f32, min: f32, max: f32) -> f32 {
    let raised = if x > min { x } else { min };
    if raised < max { raised } else { max }
}

/// `x` where `x >= 0`, else `slope * x`.
pub fn prelu(x: f32, slope: f32) -> f32 {
    if x >= 0.0 { x } else { slope * x }
}

/// `prelu(x + before) + after`.
pub fn rprelu(x: f32, before: f32, slope: f32, after: f32) -> f32 {
    prelu(x + before, slope) + after
}

/// The exponential of softmax for `t <= 0`; 0 below -87 and for NaN.
///
/// `t` is split as `n ln 2 + r`, and a polynomial of degree 7 gives `exp(r)` (the constants are those of
/// Cephes' `expf`; Moshier 1989).
#[expect(
    clippy::excessive_precision,
    reason = "the decimal constants of FORMAT.md, each read as the nearest binary32"
)]
pub fn exp(t: f32) -> f32 {
    // Adding and taking away 3 * 2^22 rounds to the nearest integer.
    const ROUND: f32 = 12_582_912.0;
    const POLYNOMIAL: [f32; 6] = [
        1.9875691500e-4,
        1.3981999507e-3,
        8.3334519073e-3,
        4.1665795894e-2,
        1.6666665459e-1,
        5.0000001201e-1,
    ];
    let is_in_range = t >= -87.0;
    if !is_in_range {
        return 0.0;
    }
    let n = (t * LOG2_E + ROUND) - ROUND;
    let r = (t - n * 0.693359375) - n * -2.12194440e-4;
    let mut p = POLYNOMIAL[0];
    for coefficient in &POLYNOMIAL[1..] {
        p = p * r + coefficient;
    }
    let y = ((p * (r * r)) + r) + 1.0;
    // From -126 to 0, so the exponent field is that of a normal number.
    let exponent = (n as i32 + 127) as u32;
    y * f32::from_bits(exponent << 23)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_to_the_true_exponential() {
        for step in 0..=8700 {
            let t = -(step as f32) / 100.0;
            let exact = f64::from(t).exp();
            let error = (f64::from(exp(t)) - exact).abs() / exact;
            assert!(error < 2e-7, "exp({t}) is off by {error}");
        }
    }

    #[test]
    fn exp_at_the_ends() {
        assert_eq!(exp(0.0).to_bits(), 1.0f32.to_bits());
        assert_eq!(exp(-0.0).to_bits(), 1.0f32.to_bits());
        for t in [-87.1, f32::NEG_INFINITY, f32::NAN] {
            assert_eq!(exp(t).to_bits(), 0.0f32.to_bits());
        }
    }

    #[test]
    fn signs_of_zero_and_nan() {
        let bits = |x: f32| x.to_bits();
        assert_eq!(bits(relu(-0.0)), bits(0.0));
        assert_eq!(bits(relu(f32::NAN)), bits(0.0));
        assert_eq!(bits(clip(f32::NAN, -2.0, 3.0)), bits(-2.0));
        assert_eq!(bits(clip(-0.0, 0.0, 1.0)), bits(0.0));
        assert_eq!(bits(clip(0.0, -0.0, 1.0)), bits(-0.0));
        assert_eq!(bits(clip(5.0, -2.0, 3.0)), bits(3.0));
        assert_eq!(bits(prelu(-0.0, 2.0)), bits(-0.0));
        assert_eq!(bits(prelu(-3.0, 0.5)), bits(-1.5));
        assert!(prelu(f32::NAN, 0.5).is_nan());
        assert_eq!(bits(rprelu(-3.0, 1.0, 0.5, 0.25)), bits(-0.75));
    }
}
