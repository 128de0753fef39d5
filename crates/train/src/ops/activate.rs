//! Hidden units: sign with a choice of derivative (the straight-through estimators), codes, tanh, ReLU, each
//! with dropout folded into the same pass.
//!
//! In: values `[batch, features]`. Out: the unit's values of the same shape, and the derivative that stands in
//! for its own in the backward pass. Shifts, slopes and other learned parameters are elsewhere.

use burn::backend::Flex;
use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;

use super::{contiguous, dims, flex_handle, flex_tensor, values};
use crate::recipe::EstimatorName;
use crate::simd::{CHUNK, hash32, tanh, vectorized};

/// Least width of the progressive sign's ramp, so that nothing is divided by zero.
const LEAST_WIDTH: f32 = 1e-7;
/// ReSTE's derivative is constant below the first and 0 above the second.
const RESTE_RANGE: (f32, f32) = (0.1, 1.5);
/// Separates the draws of a stochastic sign from those of its dropout.
const DRAW_SALT: u32 = 0x5851_F42D;

/// What stands in for the derivative of sign in the backward pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Estimator {
    /// 1 everywhere (Kim & Smaragdis 2015 as transcribed; Hinton's straight-through).
    Identity,
    /// `1 - tanh^2(x)` (the seed group's later code).
    Tanh,
    /// 1 where `|x| <= clip`, else 0 (BinaryNet, Hubara et al. 2016).
    Clipped {
        /// Half width of the window.
        clip: f32,
    },
    /// `max(0, 2 - 2 |x|)` (Bi-Real-Net, Liu et al. 2018).
    ApproxSign,
    /// `beta (2 - y tanh(y / 2)) / (1 + cosh(y))` with `y = beta x`: the sign-swish's derivative (BNN+, Darabi
    /// et al. 2018).
    SwishSign {
        /// Steepness.
        beta: f32,
    },
    /// `k t (1 - tanh^2(t x))` with `k = max(1 / t, 1)` (EDE; IR-Net, Qin et al. 2020).
    Ede {
        /// Steepness.
        t: f32,
    },
    /// 1 everywhere; in training the forward pass is `clip(x / (1 - tau), -1, 1)` too, so that its values are
    /// real numbers (progressive sign; BNext, Guo et al. 2022).
    Progressive {
        /// 0 is a clip, 1 the sign.
        tau: f32,
    },
    /// `|x|^((1 - o) / o) / o` where `0.1 < |x| <= 1.5`, `0.1^((1 - o) / o)` closer to 0, 0 further away (ReSTE,
    /// Wu et al. 2023).
    Reste {
        /// Root, at least 1; 1 is a window of half width 1.5.
        o: f32,
    },
}

impl Estimator {
    /// Whether a sign with this estimator gives -1 and +1 in training too.
    pub fn keeps_sign(self) -> bool {
        !matches!(self, Estimator::Progressive { .. })
    }
}

/// The estimator of this name at `progress` in `[0, 1]` of a stage; `clip` is the window of
/// [`EstimatorName::Clipped`].
///
/// EDE's t goes from 0.001 to 10 along `10^progress` (the values of IR-Net's code; its paper starts at 0.1), the
/// progressive tau is `1 - 4^(-10 progress)`, and ReSTE's o goes linearly from 1 to 3.
pub fn scheduled(name: EstimatorName, clip: f32, progress: f32) -> Estimator {
    match name {
        EstimatorName::Identity => Estimator::Identity,
        EstimatorName::Tanh => Estimator::Tanh,
        EstimatorName::Clipped => Estimator::Clipped { clip },
        EstimatorName::ApproxSign => Estimator::ApproxSign,
        EstimatorName::SwishSign => Estimator::SwishSign { beta: 5.0 },
        EstimatorName::Ede => Estimator::Ede {
            t: 10f32.powf(-3.0 + 4.0 * progress),
        },
        EstimatorName::Progressive => Estimator::Progressive {
            tau: 1.0 - 4f32.powf(-10.0 * progress),
        },
        EstimatorName::Reste => Estimator::Reste {
            o: 1.0 + 2.0 * progress,
        },
    }
}

/// The function of a hidden unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unit {
    /// +1 where the value is >= 0, else -1.
    Sign(Estimator),
    /// In training +1 with probability `clip((x + 1) / 2, 0, 1)`, else -1; otherwise sign. The derivative is 1
    /// where `|x| <= 1`, else 0 (BinaryNet, Hubara et al. 2016).
    Stochastic {
        /// Changes from step to step and layer to layer.
        seed: u32,
    },
    /// 1 where the value is > 0, else 0; the derivative is 1 where `|x| <= clip`, else 0.
    Heaviside {
        /// Half width of the window.
        clip: f32,
    },
    /// The code `round((2^bits - 1) clip(x, 0, 1))`, halves upwards; the derivative is `2^bits - 1` where
    /// `0 <= x <= 1`, else 0 (DoReFa, Zhou et al. 2016).
    Levels {
        /// 1 to 8.
        bits: u8,
    },
    /// `clip(x, -1, 1)`.
    Hardtanh,
    /// `clip(x, 0, 1)`.
    ClippedRelu,
    /// Hyperbolic tangent.
    Tanh,
    /// `max(0, x)`.
    Relu,
}

/// Dropout of a layer's outputs: each is set to 0 with probability `rate`, by a hash of `seed` and its
/// position. Kept values are not rescaled; the next product's `scale` does that, so bits stay bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// Probability of zero, in `[0, 1)`.
    pub rate: f32,
    /// Changes from step to step and layer to layer.
    pub seed: u32,
}

impl Dropout {
    /// No dropout.
    pub const NONE: Dropout = Dropout { rate: 0.0, seed: 0 };

    #[inline(always)]
    fn keeps(self, index: u32) -> bool {
        // 24 bits compare exactly in f32.
        (hash32(self.seed, index) >> 8) as f32 >= self.rate * 16_777_216.0
    }
}

/// Applies `unit` to each element of `x: [batch, features]`, then dropout.
pub fn activate(x: Tensor<2>, unit: Unit, dropout: Dropout) -> Tensor<2> {
    let Some(handle) = flex_handle(&x) else {
        return composite(x, unit, dropout);
    };
    let (primitive, node) = handle.into_parts();
    let primitive = contiguous(primitive);
    let (rows, cols) = dims(&primitive);
    let out = flex_tensor(
        dropped_values(values(&primitive), unit, dropout),
        rows,
        cols,
    );
    let out = match Activate
        .prepare::<NoCheckpointing>([node])
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(prep) => prep.finish((primitive, unit, dropout), out),
        OpsKind::UnTracked(prep) => prep.finish(out),
    };
    Tensor::from_primitive::<Autodiff<Flex>>(out)
}

/// The values of `unit` outside training: without dropout, and nothing drawn or softened.
pub fn unit_values(x: &[f32], unit: Unit) -> Vec<f32> {
    let unit = match unit {
        Unit::Sign(_) | Unit::Stochastic { .. } => Unit::Sign(Estimator::Identity),
        other => other,
    };
    dropped_values(x, unit, Dropout::NONE)
}

/// What stands in for the derivative of `unit` at each of `x`, without dropout.
pub fn unit_derivative(x: &[f32], unit: Unit) -> Vec<f32> {
    let mut derivative = vec![1.0; x.len()];
    multiply_by_derivative(&mut derivative, x, unit, Dropout::NONE);
    derivative
}

/// Sets dropped elements to 0.
pub fn drop_in_place(x: &mut FlexTensor, dropout: Dropout) {
    if dropout.rate == 0.0 {
        return;
    }
    x.storage_mut::<f32>()
        .par_chunks_mut(CHUNK)
        .enumerate()
        .for_each(|(chunk, x)| {
            vectorized(
                #[inline(always)]
                || drop_out(x, dropout, (chunk * CHUNK) as u32),
            );
        });
}

/// The values of training.
fn dropped_values(x: &[f32], unit: Unit, dropout: Dropout) -> Vec<f32> {
    // Each is written so that NaN goes through and is noticed in the loss, but for those that give codes.
    match unit {
        Unit::Sign(Estimator::Progressive { tau }) => {
            let width = (1.0 - tau).max(LEAST_WIDTH);
            map(x, dropout, move |v, _| (v / width).clamp(-1.0, 1.0))
        }
        Unit::Sign(_) => map(x, dropout, |v, _| if v >= 0.0 { 1.0 } else { -1.0 }),
        Unit::Stochastic { seed } => map(x, dropout, move |v, i| {
            let probability = ((v + 1.0) * 0.5).clamp(0.0, 1.0);
            if drawn(seed, i) < probability {
                1.0
            } else {
                -1.0
            }
        }),
        Unit::Heaviside { .. } => map(x, dropout, |v, _| if v > 0.0 { 1.0 } else { 0.0 }),
        Unit::Levels { bits } => {
            let top = top_level(bits);
            map(x, dropout, move |v, _| {
                let v = if v > 0.0 { v } else { 0.0 };
                let v = if v < 1.0 { v } else { 1.0 };
                (v * top + 0.5).trunc()
            })
        }
        Unit::Hardtanh => map(x, dropout, |v, _| v.clamp(-1.0, 1.0)),
        Unit::ClippedRelu => map(x, dropout, |v, _| v.clamp(0.0, 1.0)),
        Unit::Tanh => map(x, dropout, |v, _| tanh(v)),
        Unit::Relu => map(x, dropout, |v, _| if v < 0.0 { 0.0 } else { v }),
    }
}

/// `2^bits - 1`.
fn top_level(bits: u8) -> f32 {
    ((1u32 << bits.min(8)) - 1) as f32
}

/// A number in `[0, 1)`.
#[inline(always)]
fn drawn(seed: u32, index: u32) -> f32 {
    (hash32(seed ^ DRAW_SALT, index) >> 8) as f32 / 16_777_216.0
}

/// `f(value, index)` of each value, then dropout.
fn map(x: &[f32], dropout: Dropout, f: impl Fn(f32, u32) -> f32 + Sync + Copy) -> Vec<f32> {
    let mut out = vec![0.0f32; x.len()];
    out.par_chunks_mut(CHUNK)
        .zip(x.par_chunks(CHUNK))
        .enumerate()
        .for_each(|(chunk, (out, x))| {
            let first = (chunk * CHUNK) as u32;
            vectorized(
                #[inline(always)]
                move || {
                    // Of its own, so that no store to `out` can seem to change what it captured.
                    let f = f;
                    for (i, (o, &v)) in out.iter_mut().zip(x).enumerate() {
                        *o = f(v, first.wrapping_add(i as u32));
                    }
                    drop_out(out, dropout, first);
                },
            );
        });
    out
}

#[inline(always)]
fn drop_out(values: &mut [f32], dropout: Dropout, first: u32) {
    if dropout.rate > 0.0 {
        for (i, v) in values.iter_mut().enumerate() {
            *v = if dropout.keeps(first.wrapping_add(i as u32)) {
                *v
            } else {
                0.0
            };
        }
    }
}

#[derive(Debug)]
struct Activate;

impl Backward<Flex, 1> for Activate {
    type State = (FlexTensor, Unit, Dropout);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (x, unit, dropout) = ops.state;
        let [node] = ops.parents;
        let mut g = contiguous(grads.consume::<Flex>(&ops.node));
        if let Some(node) = node {
            multiply_by_derivative(g.storage_mut::<f32>(), values(&x), unit, dropout);
            grads.register::<Flex>(node.id, g);
        }
    }
}

/// `g[i] *= unit'(x[i])`, and 0 where dropout dropped.
fn multiply_by_derivative(g: &mut [f32], x: &[f32], unit: Unit, dropout: Dropout) {
    let window = |clip: f32| move |g: f32, v: f32| if v.abs() <= clip { g } else { 0.0 };
    match unit {
        Unit::Sign(Estimator::Identity | Estimator::Progressive { .. }) => {
            zip(g, x, dropout, |g, _| g);
        }
        Unit::Sign(Estimator::Clipped { clip }) | Unit::Heaviside { clip } => {
            zip(g, x, dropout, window(clip));
        }
        Unit::Stochastic { .. } | Unit::Hardtanh => zip(g, x, dropout, window(1.0)),
        Unit::ClippedRelu => zip(g, x, dropout, |g, v| {
            if (0.0..=1.0).contains(&v) { g } else { 0.0 }
        }),
        Unit::Sign(Estimator::Tanh) | Unit::Tanh => zip(g, x, dropout, |g, v| {
            let t = tanh(v);
            g * (1.0 - t * t)
        }),
        Unit::Sign(Estimator::ApproxSign) => zip(g, x, dropout, |g, v| {
            let d = 2.0 - 2.0 * v.abs();
            if d > 0.0 { g * d } else { 0.0 }
        }),
        Unit::Sign(Estimator::SwishSign { beta }) => zip(g, x, dropout, move |g, v| {
            g * swish_derivative(beta * v) * beta
        }),
        Unit::Sign(Estimator::Ede { t }) => {
            let kt = ede_factor(t);
            zip(g, x, dropout, move |g, v| {
                let tanh = tanh(t * v);
                g * (kt * (1.0 - tanh * tanh))
            });
        }
        Unit::Sign(Estimator::Reste { o }) => {
            let exponent = (1.0 - o) / o;
            let inner = RESTE_RANGE.0.powf(exponent);
            zip(g, x, dropout, move |g, v| {
                let v = v.abs();
                let outer = power(v, exponent) / o;
                let d = if v > RESTE_RANGE.0 { outer } else { inner };
                if v <= RESTE_RANGE.1 { g * d } else { 0.0 }
            });
        }
        Unit::Levels { bits } => {
            let top = top_level(bits);
            zip(g, x, dropout, move |g, v| {
                if (0.0..=1.0).contains(&v) {
                    g * top
                } else {
                    0.0
                }
            });
        }
        Unit::Relu => zip(g, x, dropout, |g, v| if v > 0.0 { g } else { 0.0 }),
    }
}

/// EDE's `k t`.
fn ede_factor(t: f32) -> f32 {
    (1.0 / t).max(1.0) * t
}

/// `(2 - y tanh(y / 2)) / (1 + cosh(y))`, by `1 + cosh(y) = 2 / (1 - tanh^2(y / 2))`.
#[inline(always)]
fn swish_derivative(y: f32) -> f32 {
    // Beyond, the true value is below 1e-6, and y would magnify what tanh is away from 1.
    let t = tanh(0.5 * y);
    let d = (1.0 - 0.5 * y * t) * (1.0 - t * t);
    if y.abs() < 18.0 { d } else { 0.0 }
}

/// `x^exponent` for x in ReSTE's range and an exponent in `[-1, 0]`, within 2e-6 of the exact value, relatively.
#[inline(always)]
fn power(x: f32, exponent: f32) -> f32 {
    let x = x.clamp(RESTE_RANGE.0, RESTE_RANGE.1);
    // x = m 2^e with m in [3/4, 3/2), then ln(m) = 2 artanh(s).
    let bits = x.to_bits();
    let e = (bits.wrapping_add(0x0040_0000) >> 23) as i32 - 127;
    let m = f32::from_bits(bits.wrapping_sub((e as u32) << 23));
    let s = (m - 1.0) / (m + 1.0);
    let s2 = s * s;
    let mut series = 1.0 / 11.0;
    for c in [1.0 / 9.0, 1.0 / 7.0, 1.0 / 5.0, 1.0 / 3.0, 1.0] {
        series = series * s2 + c;
    }
    let log = 2.0 * s * series + e as f32 * std::f32::consts::LN_2;
    // e^y by Taylor's series of e^(y / 8), as |y| <= 2.4.
    let y = exponent * log * 0.125;
    let mut root = 1.0 / 720.0;
    for c in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        root = root * y + c;
    }
    let square = root * root;
    let fourth = square * square;
    fourth * fourth
}

fn zip(g: &mut [f32], x: &[f32], dropout: Dropout, f: impl Fn(f32, f32) -> f32 + Sync + Copy) {
    g.par_chunks_mut(CHUNK)
        .zip(x.par_chunks(CHUNK))
        .enumerate()
        .for_each(|(chunk, (g, x))| {
            vectorized(
                #[inline(always)]
                move || {
                    let f = f;
                    for (g, &v) in g.iter_mut().zip(x) {
                        *g = f(*g, v);
                    }
                    drop_out(g, dropout, (chunk * CHUNK) as u32);
                },
            );
        });
}

/// The same function from Burn's own operations, for backends without the custom one.
pub(super) fn composite(x: Tensor<2>, unit: Unit, dropout: Dropout) -> Tensor<2> {
    let sign = || x.clone().greater_equal_elem(0.0).float() * 2.0 - 1.0;
    let window = |clip: f32| x.clone().abs().lower_equal_elem(clip).float();
    let out = match unit {
        Unit::Tanh => x.clone().tanh(),
        Unit::Relu => burn::tensor::activation::relu(x.clone()),
        Unit::Hardtanh => x.clone().clamp(-1.0, 1.0),
        Unit::ClippedRelu => x.clone().clamp(0.0, 1.0),
        Unit::Sign(Estimator::Progressive { tau }) => {
            let ramp = x.clone() / (1.0 - tau).max(LEAST_WIDTH);
            straight_through(ramp.clamp(-1.0, 1.0), x.clone())
        }
        Unit::Sign(estimator) => straight_through(sign(), carrier(&x, estimator)),
        Unit::Stochastic { seed } => {
            let below =
                host(&x, |i| drawn(seed, i)).lower(((x.clone() + 1.0) * 0.5).clamp(0.0, 1.0));
            straight_through(below.float() * 2.0 - 1.0, x.clone() * window(1.0))
        }
        Unit::Heaviside { clip } => {
            let step = x.clone().greater_elem(0.0).float();
            straight_through(step, x.clone() * window(clip))
        }
        Unit::Levels { bits } => {
            let scaled = x.clone().clamp(0.0, 1.0) * top_level(bits);
            let inside = (x.clone() - 0.5).abs().lower_equal_elem(0.5).float();
            let code = (scaled + 0.5).floor();
            straight_through(code, x.clone() * inside * top_level(bits))
        }
    };
    if dropout.rate == 0.0 {
        return out;
    }
    out * host(&x, |i| f32::from(u8::from(dropout.keeps(i))))
}

/// `value` with the derivative of `carrier`.
fn straight_through(value: Tensor<2>, carrier: Tensor<2>) -> Tensor<2> {
    value.detach() + (carrier.clone() - carrier.detach())
}

/// A function with the estimator's derivative.
fn carrier(x: &Tensor<2>, estimator: Estimator) -> Tensor<2> {
    let x = x.clone();
    match estimator {
        Estimator::Identity | Estimator::Progressive { .. } => x,
        Estimator::Tanh => x.tanh(),
        Estimator::Clipped { clip } => x.clamp(-clip, clip),
        Estimator::ApproxSign => {
            let d = (x.clone().abs() * -2.0 + 2.0).clamp_min(0.0);
            x * d.detach()
        }
        Estimator::SwishSign { beta } => {
            let y = (x.clone() * beta).clamp(-18.0, 18.0);
            let d = (y.clone() * (y.clone() * 0.5).tanh() * -1.0 + 2.0) / (y.cosh() + 1.0) * beta;
            x * d.detach()
        }
        Estimator::Ede { t } => (x * t).tanh() * (ede_factor(t) / t),
        Estimator::Reste { o } => {
            let exponent = (1.0 - o) / o;
            let magnitude = x.clone().abs().detach();
            let outer = magnitude.clone().powf_scalar(exponent) / o;
            let inner = magnitude.clone().lower_equal_elem(RESTE_RANGE.0);
            let d = outer.mask_fill(inner, RESTE_RANGE.0.powf(exponent));
            x * d * magnitude.lower_equal_elem(RESTE_RANGE.1).float()
        }
    }
}

/// A tensor of `x`'s shape with `f(index)` as its elements.
fn host(x: &Tensor<2>, f: impl Fn(u32) -> f32) -> Tensor<2> {
    let [rows, cols] = x.dims();
    let values: Vec<f32> = (0..rows * cols).map(|i| f(i as u32)).collect();
    Tensor::<2>::from_data(TensorData::new(values, [rows, cols]), &x.device())
}

#[cfg(test)]
#[path = "activate_tests.rs"]
mod tests;
