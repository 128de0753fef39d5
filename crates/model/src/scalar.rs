//! The arithmetic of one real element: what `affine`, `relu`, `clip`, `prelu`, `rprelu`, `group_norm` and
//! `softmax` do to it.
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

/// DoReFa's code of `bits` bits for an activation (Zhou et al. 2016): `round((2^bits - 1) * clip(x, 0, 1))`, a
/// half away from zero; NaN becomes 0.
pub fn dorefa_code(x: f32, bits: u8) -> u8 {
    let greatest = f32::from(u8::MAX >> (8 - bits));
    let product = clip(x, 0.0, 1.0) * greatest;
    // Not negative and below 256, so the conversion truncates.
    (product + 0.5) as u8
}

/// The square root, rounded to nearest; NaN below -0.
///
/// `core` has none. The root of the 49 or 50 bits `mantissa * 2^shift` is an integer of 25 bits, of which the
/// last says where to round: it cannot be a tie, for the square of an odd number is odd.
pub fn sqrt(x: f32) -> f32 {
    if x == 0.0 || x == f32::INFINITY {
        return x;
    }
    if x < 0.0 || x.is_nan() {
        return f32::NAN;
    }
    let (field, fraction) = ((x.to_bits() >> 23) as i32, x.to_bits() & 0x7f_ffff);
    let (mantissa, exponent) = match field {
        0 => (u64::from(fraction), -149),
        _ => (u64::from(fraction | 0x80_0000), field - 150),
    };
    let to_49_bits = mantissa.leading_zeros() as i32 - 15;
    let shift = to_49_bits + (exponent - to_49_bits).rem_euclid(2);
    let root = (mantissa << shift).isqrt();
    let rounded = (root + 1) >> 1;
    // 2^24 at most, times a power of two that is a normal number.
    let power = (exponent - shift) / 2 + 1;
    rounded as f32 * f32::from_bits(((power + 127) as u32) << 23)
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
    fn sqrt_is_correctly_rounded() {
        // Every exponent and every kind of mantissa: 2^32 numbers in odd steps.
        for bits in (0..=u32::MAX)
            .step_by(3989)
            .chain(0..4096)
            .chain(0x7f7f_f000..0x7f80_0001)
        {
            let x = f32::from_bits(bits);
            let (found, expected) = (sqrt(x), x.sqrt());
            let is_same =
                found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan());
            assert!(is_same, "sqrt({x:e}) is {found:e}, not {expected:e}");
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
