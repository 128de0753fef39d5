//! Ops on single elements, softmax and argmax.

use alloc::vec::Vec;

use super::{integers, reals};
use crate::program::{Cuts, GroupNorm, ThresholdValues, Thresholds};
use crate::scalar;
use crate::tensor::Tensor;

/// `(x >= at[c]) != flip[c]`, where `c` is the element's index on the last axis.
pub(super) fn threshold(thresholds: &Thresholds, n_channels: usize, x: &Tensor) -> Tensor {
    let decide = |idx: usize| {
        let channel = idx % n_channels;
        let at_least = match (x, &thresholds.at) {
            (Tensor::Int(x), ThresholdValues::Int(at)) => x[idx] >= at[channel],
            (Tensor::Levels(x), ThresholdValues::Int(at)) => i32::from(x[idx]) >= at[channel],
            (Tensor::Real(x), ThresholdValues::Real(at)) => x[idx] >= at[channel],
            _ => unreachable!("verify: thresholds are of the operand's kind"),
        };
        at_least != thresholds.flip[channel]
    };
    Tensor::Bits((0..x.len()).map(decide).collect())
}

/// The number of cuts of the element's channel that the element is at least as large as.
pub(super) fn quantize(bits: u8, cuts: &Cuts, n_channels: usize, x: &Tensor) -> Tensor {
    let n_cuts = (1usize << bits) - 1;
    Tensor::Levels(match (cuts, integers(x), x) {
        (Cuts::Int(cuts), Some(x), _) => codes(cuts, n_cuts, n_channels, &x),
        (Cuts::Real(cuts), _, Tensor::Real(x)) => codes(cuts, n_cuts, n_channels, x),
        _ => unreachable!("verify: cuts are of the operand's kind"),
    })
}

fn codes<T: Copy + PartialOrd>(cuts: &[T], n_cuts: usize, n_channels: usize, x: &[T]) -> Vec<u8> {
    let is_shared = cuts.len() == n_cuts;
    let code = |(idx, &x): (usize, &T)| {
        let list = if is_shared { 0 } else { idx % n_channels };
        let cuts = &cuts[list * n_cuts..(list + 1) * n_cuts];
        let n = cuts.iter().filter(|&&cut| x >= cut).count();
        u8::try_from(n).expect("verify: at most 255 cuts")
    };
    x.iter().enumerate().map(code).collect()
}

/// `scale[c] * (x as f32) + shift[c]`: the conversion, the product and the sum round once each.
pub(crate) fn affine(scale: &[f32], shift: &[f32], x: &Tensor) -> Tensor {
    let x = reals(x);
    let value = |(idx, &x): (usize, &f32)| {
        let channel = idx % scale.len();
        scalar::affine(x, scale[channel], shift[channel])
    };
    Tensor::Real(x.iter().enumerate().map(value).collect())
}

/// `x` where `x > 0`, else 0.
pub(crate) fn relu(x: &Tensor) -> Tensor {
    match x {
        Tensor::Int(x) => Tensor::Int(x.iter().map(|&x| x.max(0)).collect()),
        Tensor::Real(x) => Tensor::Real(x.iter().map(|&x| scalar::relu(x)).collect()),
        _ => unreachable!("verify: relu reads int or real"),
    }
}

fn real_elements(x: &Tensor) -> &[f32] {
    let Tensor::Real(x) = x else {
        unreachable!("verify: the op reads reals")
    };
    x
}

/// `x` held between `min` and `max`.
pub(crate) fn clip(min: f32, max: f32, x: &Tensor) -> Tensor {
    let x = real_elements(x).iter();
    Tensor::Real(x.map(|&x| scalar::clip(x, min, max)).collect())
}

/// `x` where `x >= 0`, else `slope[c] * x`.
pub(crate) fn prelu(slope: &[f32], x: &Tensor) -> Tensor {
    let x = real_elements(x).iter().enumerate();
    let value = |(idx, &x): (usize, &f32)| scalar::prelu(x, slope[idx % slope.len()]);
    Tensor::Real(x.map(value).collect())
}

/// `prelu(x + before[c]) + after[c]`.
pub(crate) fn rprelu(before: &[f32], slope: &[f32], after: &[f32], x: &Tensor) -> Tensor {
    let x = real_elements(x).iter().enumerate();
    let value = |(idx, &x): (usize, &f32)| {
        let channel = idx % slope.len();
        scalar::rprelu(x, before[channel], slope[channel], after[channel])
    };
    Tensor::Real(x.map(value).collect())
}

/// The deviation from the group's mean, divided by the root of its variance, then gained and offset.
pub(crate) fn group_norm(norm: &GroupNorm, x: &Tensor) -> Tensor {
    let x = real_elements(x);
    let n_channels = norm.gamma.len();
    let n_group = n_channels / norm.groups;
    let group_of = |idx: usize| idx % n_channels / n_group;
    let mut y = x.to_vec();
    for group in 0..norm.groups {
        let members = || (0..x.len()).filter(move |&idx| group_of(idx) == group);
        let n = members().count() as f32;
        let mean = members().fold(0.0, |sum, idx| sum + x[idx]) / n;
        let square = |idx: usize| (x[idx] - mean) * (x[idx] - mean);
        let var = members().fold(0.0, |sum, idx| sum + square(idx)) / n;
        let deviation = scalar::sqrt(var + norm.eps);
        for idx in members() {
            let channel = idx % n_channels;
            let normed = (x[idx] - mean) / deviation;
            y[idx] = scalar::affine(normed, norm.gamma[channel], norm.beta[channel]);
        }
    }
    Tensor::Real(y)
}

/// The sum, element by element.
pub(crate) fn add(a: &Tensor, b: &Tensor) -> Tensor {
    match (a, b) {
        (Tensor::Int(a), Tensor::Int(b)) => {
            Tensor::Int(a.iter().zip(b).map(|(a, b)| a + b).collect())
        }
        (Tensor::Real(a), Tensor::Real(b)) => {
            Tensor::Real(a.iter().zip(b).map(|(a, b)| a + b).collect())
        }
        _ => unreachable!("verify: add reads two of one kind, int or real"),
    }
}

/// The product, element by element.
pub(crate) fn mul(a: &Tensor, b: &Tensor) -> Tensor {
    let pairs = real_elements(a).iter().zip(real_elements(b));
    Tensor::Real(pairs.map(|(a, b)| a * b).collect())
}

/// The softmax of every run of `n_channels` elements.
pub(super) fn softmax(n_channels: usize, x: &Tensor) -> Tensor {
    let mut out = Vec::with_capacity(x.len());
    for run in real_elements(x).chunks(n_channels) {
        let greatest = run.iter().fold(run[0], |m, &x| if x > m { x } else { m });
        let powers: Vec<f32> = run.iter().map(|&x| scalar::exp(x - greatest)).collect();
        let sum = powers.iter().fold(0.0, |sum, power| sum + power);
        out.extend(powers.iter().map(|power| power / sum));
    }
    Tensor::Real(out)
}

/// The index of the greatest element: a later one wins only if it is strictly greater.
pub(super) fn argmax(x: &Tensor) -> Tensor {
    let best = match x {
        Tensor::Int(x) => first_greatest(x),
        Tensor::Real(x) => first_greatest(x),
        _ => unreachable!("verify: argmax reads int or real"),
    };
    let best = i32::try_from(best).expect("limits: an index is below 2^24");
    Tensor::Int(Vec::from([best]))
}

fn first_greatest<T: PartialOrd>(x: &[T]) -> usize {
    (1..x.len()).fold(0, |best, idx| if x[idx] > x[best] { idx } else { best })
}
