//! Hidden units: sign with a choice of derivative (the straight-through estimators), tanh, ReLU, each with
//! dropout folded into the same pass.

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
use crate::simd::{CHUNK, hash32, tanh, vectorized};

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
}

/// The function of a hidden unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unit {
    /// +1 where the value is >= 0, else -1.
    Sign(Estimator),
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

/// The forward values of [`activate`] without dropout.
pub fn unit_values(x: &[f32], unit: Unit) -> Vec<f32> {
    dropped_values(x, unit, Dropout::NONE)
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

fn dropped_values(x: &[f32], unit: Unit, dropout: Dropout) -> Vec<f32> {
    match unit {
        Unit::Sign(_) => map(x, dropout, |v| if v >= 0.0 { 1.0 } else { -1.0 }),
        Unit::Tanh => map(x, dropout, tanh),
        // Written so that NaN goes through and is noticed in the loss.
        Unit::Relu => map(x, dropout, |v| if v < 0.0 { 0.0 } else { v }),
    }
}

fn map(x: &[f32], dropout: Dropout, f: impl Fn(f32) -> f32 + Sync + Copy) -> Vec<f32> {
    let mut out = vec![0.0f32; x.len()];
    out.par_chunks_mut(CHUNK)
        .zip(x.par_chunks(CHUNK))
        .enumerate()
        .for_each(|(chunk, (out, x))| {
            vectorized(
                #[inline(always)]
                || {
                    for (o, &v) in out.iter_mut().zip(x) {
                        *o = f(v);
                    }
                    drop_out(out, dropout, (chunk * CHUNK) as u32);
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
    match unit {
        Unit::Sign(Estimator::Identity) => zip(g, x, dropout, |g, _| g),
        Unit::Sign(Estimator::Clipped { clip }) => {
            zip(g, x, dropout, |g, v| if v.abs() <= clip { g } else { 0.0 });
        }
        Unit::Sign(Estimator::Tanh) | Unit::Tanh => zip(g, x, dropout, |g, v| {
            let t = tanh(v);
            g * (1.0 - t * t)
        }),
        Unit::Relu => zip(g, x, dropout, |g, v| if v > 0.0 { g } else { 0.0 }),
    }
}

fn zip(g: &mut [f32], x: &[f32], dropout: Dropout, f: impl Fn(f32, f32) -> f32 + Sync + Copy) {
    g.par_chunks_mut(CHUNK)
        .zip(x.par_chunks(CHUNK))
        .enumerate()
        .for_each(|(chunk, (g, x))| {
            vectorized(
                #[inline(always)]
                || {
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
    let out = match unit {
        Unit::Tanh => x.clone().tanh(),
        Unit::Relu => burn::tensor::activation::relu(x.clone()),
        Unit::Sign(estimator) => {
            let sign = x.clone().greater_equal_elem(0.0).float() * 2.0 - 1.0;
            let carrier = match estimator {
                Estimator::Identity => x.clone(),
                Estimator::Tanh => x.clone().tanh(),
                Estimator::Clipped { clip } => x.clone().clamp(-clip, clip),
            };
            sign.detach() + carrier.clone() - carrier.detach()
        }
    };
    if dropout.rate == 0.0 {
        return out;
    }
    let [rows, cols] = x.dims();
    let mask: Vec<f32> = (0..rows * cols)
        .map(|i| f32::from(u8::from(dropout.keeps(i as u32))))
        .collect();
    let mask = Tensor::<2>::from_data(TensorData::new(mask, [rows, cols]), &x.device());
    out * mask
}
