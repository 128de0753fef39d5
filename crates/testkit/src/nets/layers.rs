//! One random layer after another, whatever its operand is.

use onebit_model::net::LayerOp;
use onebit_model::program::{Conv2d, Kind, Type, ValueId};
use onebit_model::weights::Weights;

use super::random_norm;
use super::sketch::NetSketch;
use crate::programs::{factors, group_norm, random_binary_weights, random_weights, window};
use crate::random::Random;

/// Most elements of a value that joins make.
const MAX_JOINED: usize = 3000;

/// How often another layer is tried where one does not fit the operand.
const N_ATTEMPTS: usize = 30;

/// Appends a random layer that reads `x`, or nothing if none is found.
pub(super) fn append(sketch: &mut NetSketch, x: ValueId) {
    for _ in 0..N_ATTEMPTS {
        let name = pick_name(sketch, x);
        let Some((op, inputs)) = candidate(sketch, name, x) else {
            continue;
        };
        if sketch.try_push(&sketch.name(name), op, &inputs).is_some() {
            return;
        }
    }
}

/// Ends the Net with scores: a dense of the last value, often with a norm.
pub(super) fn head(sketch: &mut NetSketch) {
    let x = sketch.last_value();
    let n_cols = sketch.ty(x).n_elements();
    let n_rows = sketch.random.size(12);
    let weights = random_binary_weights(&mut sketch.random, n_rows, n_cols);
    let (bias, inputs) = (None, [x]);
    let op = LayerOp::Dense { weights, bias };
    // The sums of large integers may not be exact, their signs always are.
    let scores = match sketch.try_push("scores", op.clone(), &inputs) {
        Some(scores) => scores,
        None => {
            let bits = sketch.push("scores.operand", LayerOp::Sign, &inputs);
            sketch.push("scores", op, &[bits])
        }
    };
    if sketch.random.once_in(2) {
        let norm = random_norm(&mut sketch.random, n_rows, n_cols);
        sketch.push("scores.norm", LayerOp::Norm(norm), &[scores]);
    }
}

/// A layer that may fit; those that are usual after the operand come up more often.
fn pick_name(sketch: &mut NetSketch, x: ValueId) -> &'static str {
    let Type { kind, shape } = sketch.ty(x).clone();
    let random = &mut sketch.random;
    if shape.len() == 3 && random.once_in(3) {
        return random.pick(&["conv", "conv", "conv", "pool", "mean", "global"]);
    }
    if random.once_in(6) {
        return random.pick(&["affine", "join", "norm", "mean", "global", "dense"]);
    }
    match kind {
        Kind::Bits if shape.len() == 3 => random.pick(&["conv", "conv", "conv", "pool"]),
        Kind::Bits => "dense",
        Kind::Levels(_) => random.pick(&["dense", "conv", "conv", "sign", "step", "affine"]),
        Kind::Int => random.pick(&[
            "norm", "norm", "norm", "sign", "step", "relu", "add", "pool",
        ]),
        Kind::Real => random.pick(&[
            "sign", "sign", "codes", "codes", "step", "relu", "clip", "prelu", "rprelu", "add",
            "mul", "groups", "norm", "pool",
        ]),
    }
}

/// The layer of this name with random numbers, and its operands; it may still not fit.
fn candidate(sketch: &mut NetSketch, name: &str, x: ValueId) -> Option<(LayerOp, Vec<ValueId>)> {
    let ty = sketch.ty(x).clone();
    let n_channels = ty.shape[ty.shape.len() - 1];
    let mut inputs = vec![x];
    let random = &mut sketch.random;
    let op = match name {
        "dense" => dense(sketch, &ty)?,
        "conv" => conv(sketch, &ty)?,
        "affine" => LayerOp::Affine {
            scale: ordinary(random, n_channels, 4.0),
            shift: ordinary(random, n_channels, 2.0),
        },
        "norm" => LayerOp::Norm(random_norm(random, n_channels, 9 * n_channels)),
        "groups" => LayerOp::GroupNorm(group_norm(random, n_channels)),
        "sign" => LayerOp::Sign,
        "step" => LayerOp::Heaviside,
        "codes" => LayerOp::Quantize {
            bits: random.pick(&[1, 2, 2, 3, 4, 8]),
        },
        "relu" => LayerOp::Relu,
        "clip" => LayerOp::Clip {
            min: random.pick(&[-1.0, 0.0, f32::NEG_INFINITY]),
            max: random.pick(&[1.0, 2.5, f32::INFINITY]),
        },
        "prelu" => LayerOp::Prelu {
            slope: slopes(random, n_channels),
        },
        "rprelu" => LayerOp::Rprelu {
            before: ordinary(random, n_channels, 2.0),
            slope: slopes(random, n_channels),
            after: ordinary(random, n_channels, 2.0),
        },
        "add" | "mul" => {
            let alike = sketch.values_where(|other| *other == ty);
            inputs.push(sketch.random.pick(&alike));
            match name {
                "add" => LayerOp::Add,
                _ => LayerOp::Mul,
            }
        }
        "join" => {
            let outer = ty.shape.len() - 1;
            let alike = sketch.values_where(|other| {
                other.kind == ty.kind
                    && other.shape.len() == outer + 1
                    && other.shape[..outer] == ty.shape[..outer]
            });
            inputs.push(sketch.random.pick(&alike));
            let n: usize = inputs.iter().map(|id| sketch.ty(*id).n_elements()).sum();
            (n <= MAX_JOINED).then_some(LayerOp::ConcatChannels)?
        }
        "pool" => LayerOp::MaxPool(window(random)),
        "mean" => LayerOp::AvgPool {
            window: window(random),
            count_pads: random.once_in(2),
        },
        _ => LayerOp::GlobalAvgPool,
    };
    Some((op, inputs))
}

/// Numbers of this magnitude, now and then extreme ones.
fn ordinary(random: &mut Random, n: usize, magnitude: f32) -> Vec<f32> {
    if random.once_in(8) {
        return factors(random, n);
    }
    (0..n).map(|_| random.real() / 32.0 * magnitude).collect()
}

/// Slopes, mostly small and positive as PReLU's are.
fn slopes(random: &mut Random, n: usize) -> Vec<f32> {
    let most_turn = random.once_in(6);
    let mut slope = || match most_turn && random.once_in(3) {
        true => -0.125,
        false => random.int(0, 40) as f32 / 80.0,
    };
    (0..n).map(|_| slope()).collect()
}

fn weights(random: &mut Random, n_rows: usize, n_cols: usize) -> Weights {
    match random.once_in(3) {
        true => random_weights(random, n_rows, n_cols),
        false => random_binary_weights(random, n_rows, n_cols),
    }
}

/// A bias now and then, where the sums are integers.
fn bias(random: &mut Random, weights: &Weights, kind: Kind) -> Option<Vec<i32>> {
    if kind == Kind::Real || weights.is_real() || random.once_in(2) {
        return None;
    }
    let entries = (0..weights.n_rows()).map(|_| random.int(-5, 5) as i32);
    Some(entries.collect())
}

fn dense(sketch: &mut NetSketch, ty: &Type) -> Option<LayerOp> {
    let n_cols = ty.n_elements();
    let most_rows = (sketch.cost_left / 3 / n_cols).min(100);
    if most_rows == 0 {
        return None;
    }
    let n_rows = sketch.random.size(most_rows);
    sketch.cost_left -= n_rows * n_cols;
    let random = &mut sketch.random;
    let weights = weights(random, n_rows, n_cols);
    let bias = bias(random, &weights, ty.kind);
    Some(LayerOp::Dense { weights, bias })
}

fn conv(sketch: &mut NetSketch, ty: &Type) -> Option<LayerOp> {
    let [height, width, n_channels] = <[usize; 3]>::try_from(ty.shape.clone()).ok()?;
    let random = &mut sketch.random;
    let window = window(random);
    let [out_height, out_width] = window.output([height, width])?;
    let groups = match random.below(6) {
        0 => n_channels,
        1 if n_channels.is_multiple_of(2) => 2,
        _ => 1,
    };
    let n_cols = window.kernel[0] * window.kernel[1] * (n_channels / groups);
    let cost_of_row = out_height * out_width * n_cols;
    let most_per_group = (sketch.cost_left / 3 / (cost_of_row * groups)).min(70 / groups.min(70));
    if most_per_group == 0 {
        return None;
    }
    let n_rows = groups * random.size(most_per_group);
    sketch.cost_left -= cost_of_row * n_rows;
    let weights = weights(random, n_rows, n_cols);
    let pad = match ty.kind {
        Kind::Bits => random.int(-1, 1),
        Kind::Levels(bits) => random.pick(&[0, 0, (1 << bits) - 1]),
        Kind::Int | Kind::Real => random.pick(&[0, 0, 1, -3]),
    };
    let bias = bias(random, &weights, ty.kind);
    Some(LayerOp::Conv2d(Conv2d {
        weights,
        bias,
        window,
        groups,
        pad: pad as i32,
    }))
}
