//! One random op after another, whatever its operand is.

use onebit_model::program::{
    Conv2d, Cuts, GroupNorm, Kind, Op, ThresholdValues, Thresholds, ValueId, Window,
};
use onebit_model::weights::{BitMatrix, BitPlanes, Matrix, Weights};

use super::inputs::MAX_WIDTH;
use super::sketch::Sketch;
use crate::random::Random;

/// Most elements of a value that concats and planes make.
const MAX_JOINED: usize = 9000;

/// How often another op is tried where one does not fit the operand.
const N_ATTEMPTS: usize = 40;

/// Appends a random op that reads `x`, or nothing if none is found.
pub(super) fn append(sketch: &mut Sketch, x: ValueId, is_last: bool) {
    for _ in 0..N_ATTEMPTS {
        let name = pick_name(sketch, x, is_last);
        let Some((op, inputs)) = candidate(sketch, name, x) else {
            continue;
        };
        if sketch.try_push(name, op, &inputs).is_some() {
            return;
        }
    }
}

/// An op that may fit; those that are specific to the operand come up more often.
fn pick_name(sketch: &mut Sketch, x: ValueId, is_last: bool) -> &'static str {
    let ty = sketch.ty(x).clone();
    let is_image = ty.shape.len() == 3;
    let random = &mut sketch.random;
    if is_image && random.once_in(2) {
        return random.pick(&[
            "conv2d",
            "conv2d",
            "conv2d",
            "conv2d",
            "max_pool",
            "max_pool",
            "avg_pool",
            "global_avg_pool",
        ]);
    }
    if random.once_in(8) {
        return random.pick(&["slice", "reshape", "transpose", "concat_channels", "affine"]);
    }
    match ty.kind {
        Kind::Bits => random.pick(&["dense", "dense", "dense", "dense", "concat", "quantize"]),
        Kind::Levels(_) => random.pick(&[
            "quantize",
            "planes",
            "threshold",
            "threshold",
            "dense",
            "dense",
        ]),
        Kind::Int | Kind::Real if is_last && ty.shape.len() == 1 && random.once_in(3) => "argmax",
        Kind::Int if random.once_in(6) || (is_last && random.once_in(2)) => "affine",
        Kind::Int => random.pick(&[
            "threshold",
            "threshold",
            "threshold",
            "quantize",
            "relu",
            "add",
            "dense",
        ]),
        Kind::Real => random.pick(&[
            "threshold",
            "threshold",
            "threshold",
            "quantize",
            "relu",
            "clip",
            "prelu",
            "rprelu",
            "add",
            "mul",
            "group_norm",
            "softmax",
            "dense",
        ]),
    }
}

/// The op of this name with random numbers, and its operands; it may still not fit.
fn candidate(sketch: &mut Sketch, name: &str, x: ValueId) -> Option<(Op, Vec<ValueId>)> {
    let ty = sketch.ty(x).clone();
    let n_channels = ty.shape[ty.shape.len() - 1];
    let random = &mut sketch.random;
    let mut inputs = vec![x];
    let op = match name {
        "dense" => dense(sketch, x)?,
        "conv2d" => conv2d(sketch, x)?,
        "threshold" => Op::Threshold(threshold(sketch, x)),
        "quantize" => quantize(sketch, x),
        "planes" => Op::Planes,
        "affine" => Op::Affine {
            scale: factors(random, n_channels),
            shift: factors(random, n_channels),
        },
        "relu" => Op::Relu,
        "clip" => {
            let (a, b) = (cut_real(random), cut_real(random));
            let (min, max) = if a < b { (a, b) } else { (b, a) };
            Op::Clip { min, max }
        }
        "prelu" => Op::Prelu {
            slope: factors(random, n_channels),
        },
        "rprelu" => Op::Rprelu {
            before: factors(random, n_channels),
            slope: factors(random, n_channels),
            after: factors(random, n_channels),
        },
        "group_norm" => Op::GroupNorm(group_norm(random, n_channels)),
        "add" | "mul" => {
            let alike = sketch.values_where(|other| *other == ty);
            inputs.push(sketch.random.pick(&alike));
            if name == "add" { Op::Add } else { Op::Mul }
        }
        "concat" | "concat_channels" => {
            inputs = join(sketch, x, name)?;
            match name {
                "concat" => Op::Concat,
                _ => Op::ConcatChannels,
            }
        }
        "slice" => slice(random, &ty.shape),
        "reshape" => Op::Reshape {
            shape: factorization(random, ty.n_elements()),
        },
        "transpose" => Op::Transpose {
            perm: permutation(random, ty.shape.len()),
        },
        "max_pool" => Op::MaxPool(window(random)),
        "avg_pool" => Op::AvgPool {
            window: window(random),
            count_pads: random.once_in(2),
        },
        "global_avg_pool" => Op::GlobalAvgPool,
        "softmax" => Op::Softmax,
        _ => Op::Argmax,
    };
    Some((op, inputs))
}

/// Any number of groups that fits; now and then nothing is added to the variance.
pub(crate) fn group_norm(random: &mut Random, n_channels: usize) -> GroupNorm {
    let divisors: Vec<usize> = (1..=n_channels)
        .filter(|n| n_channels.is_multiple_of(*n))
        .collect();
    GroupNorm {
        groups: random.pick(&divisors),
        gamma: factors(random, n_channels),
        beta: factors(random, n_channels),
        eps: random.pick(&[1e-5, 1e-5, 0.5, 0.0]),
    }
}

fn dense(sketch: &mut Sketch, x: ValueId) -> Option<Op> {
    let n_cols = sketch.ty(x).n_elements();
    let is_real = sketch.ty(x).kind == Kind::Real;
    let most_rows = (sketch.cost_of_one() / n_cols).min(MAX_WIDTH);
    if most_rows == 0 {
        return None;
    }
    let n_rows = sketch.random.size(most_rows);
    sketch.spend(n_rows * n_cols);
    let weights = random_weights(&mut sketch.random, n_rows, n_cols);
    let bias = bias(&mut sketch.random, &weights, is_real);
    Some(Op::Dense { weights, bias })
}

/// A bias now and then, where the sums are integers.
pub(super) fn bias(random: &mut Random, weights: &Weights, is_real: bool) -> Option<Vec<i32>> {
    if is_real || weights.is_real() || random.once_in(2) {
        return None;
    }
    let reach = random.pick(&[1, 5, 70_000]);
    let entries = (0..weights.n_rows()).map(|_| random.int(-reach, reach) as i32);
    Some(entries.collect())
}

fn conv2d(sketch: &mut Sketch, x: ValueId) -> Option<Op> {
    let ty = sketch.ty(x).clone();
    let [height, width, n_channels] = <[usize; 3]>::try_from(ty.shape.clone()).ok()?;
    let (most, random) = (sketch.cost_of_one(), &mut sketch.random);
    let window = window(random);
    let [out_height, out_width] = window.output([height, width])?;
    let divisors: Vec<usize> = (1..=n_channels).filter(|n| n_channels % n == 0).collect();
    let groups = match random.below(6) {
        0 => n_channels,
        1 => random.pick(&divisors),
        _ => 1,
    };
    let n_cols = window.kernel[0] * window.kernel[1] * (n_channels / groups);
    let cost_of_row = out_height * out_width * n_cols;
    let most_per_group = (most / (cost_of_row * groups)).min(130 / groups.min(130));
    if most_per_group == 0 {
        return None;
    }
    let n_rows = groups * random.size(most_per_group);
    let weights = random_weights(random, n_rows, n_cols);
    let pad = match ty.kind {
        Kind::Bits => random.int(-1, 1),
        Kind::Levels(bits) => random.pick(&[0, (1 << bits) - 1, (1 << bits) / 2]),
        Kind::Int | Kind::Real => random.pick(&[0, 0, 1, -3, 1 << 24]),
    };
    let bias = bias(random, &weights, ty.kind == Kind::Real);
    sketch.spend(cost_of_row * n_rows);
    Some(Op::Conv2d(Conv2d {
        weights,
        bias,
        window,
        groups,
        pad: pad as i32,
    }))
}

/// A window of up to 5 by 5 taps, mostly a square one.
pub(crate) fn window(random: &mut Random) -> Window {
    let square = random.int(1, 5) as usize;
    let mut pair = |square: usize, most: i64| match random.once_in(3) {
        true => [random.int(1, most) as usize, random.int(1, most) as usize],
        false => [square, square],
    };
    let kernel = pair(square, 5);
    let stride = pair(1, 3);
    let dilation = pair(1, 2);
    let same = random.int(0, 2) as usize;
    let pads = match random.once_in(3) {
        true => [0; 4].map(|_: usize| random.int(0, 3) as usize),
        false => [same; 4],
    };
    Window {
        kernel,
        stride,
        dilation,
        pads,
    }
}

/// Weights of any kind.
pub(crate) fn random_weights(random: &mut Random, n_rows: usize, n_cols: usize) -> Weights {
    match random.below(7) {
        0 => int8_weights(random, n_rows, n_cols),
        6 => planes_of_weights(random, n_rows, n_cols),
        1 => real_weights(random, n_rows, n_cols),
        _ => random_binary_weights(random, n_rows, n_cols),
    }
}

/// 8-bit weights, small ones or any.
pub(super) fn int8_weights(random: &mut Random, n_rows: usize, n_cols: usize) -> Weights {
    let most = random.pick(&[1, 3, 127]);
    let least = if most == 127 { -128 } else { -most };
    let entry = |_, _| random.int(least, most) as i8;
    Weights::Int8(Matrix::from_fn(n_rows, n_cols, entry))
}

/// Odd weights of 2 to 7 bits.
fn planes_of_weights(random: &mut Random, n_rows: usize, n_cols: usize) -> Weights {
    let n_planes = random.pick(&[2, 2, 3, 7]);
    let planes =
        (0..n_planes).map(|_| BitMatrix::from_fn(n_rows, n_cols, |_, _| random.once_in(2)));
    let planes = BitPlanes::new(planes.collect());
    Weights::Planes(planes.expect("2 to 7 planes of one size"))
}

/// Real weights, of which sums can round.
pub(super) fn real_weights(random: &mut Random, n_rows: usize, n_cols: usize) -> Weights {
    let scale = random.pick(&[1.0, 0.1, 0.001]);
    let entry = |_, _| random.real() * scale;
    Weights::Real(Matrix::from_fn(n_rows, n_cols, entry))
}

/// Bits or ternary weights of any density, among them rows of nothing but zeros.
pub(crate) fn random_binary_weights(random: &mut Random, n_rows: usize, n_cols: usize) -> Weights {
    let dense_bits =
        |random: &mut Random| BitMatrix::from_fn(n_rows, n_cols, |_, _| random.bits() >> 63 == 1);
    if !random.once_in(3) {
        return Weights::Bits(dense_bits(random));
    }
    let density = random.pick(&[1, 2, 4, 50]);
    let empty_row = random.below(n_rows * 2);
    let mask = BitMatrix::from_fn(n_rows, n_cols, |row, _| {
        random.once_in(density) && row != empty_row
    });
    let signs = dense_bits(random);
    let sign = BitMatrix::from_fn(n_rows, n_cols, |row, col| {
        signs.get(row, col) && mask.get(row, col)
    });
    Weights::Ternary { sign, mask }
}

/// Thresholds about where the operand's elements lie, some of them constant.
pub(super) fn threshold(sketch: &mut Sketch, x: ValueId) -> Thresholds {
    let ty = sketch.ty(x);
    let (is_real, n_channels) = (ty.kind == Kind::Real, ty.shape[ty.shape.len() - 1]);
    let spread = sketch.spread(x);
    let random = &mut sketch.random;
    let has_flip = random.once_in(2);
    let mut flip: Vec<bool> = (0..n_channels)
        .map(|_| has_flip && random.once_in(2))
        .collect();
    let at = if is_real {
        ThresholdValues::Real((0..n_channels).map(|_| cut_real(random)).collect())
    } else {
        let has_constant = random.once_in(3);
        let mut at = Vec::with_capacity(n_channels);
        for flip in &mut flip {
            let special = has_constant && random.once_in(6);
            if special {
                *flip = random.once_in(2);
                at.push(random.pick(&[i32::MIN, i32::MIN, i32::MAX, 128, -128]));
            } else {
                at.push(cut_int(random, spread));
            }
        }
        ThresholdValues::Int(at)
    };
    Thresholds { at, flip }
}

fn cut_int(random: &mut Random, (middle, spread): (i64, i64)) -> i32 {
    let cut = random.int(middle - spread, middle + spread);
    cut.clamp(i32::MIN.into(), i32::MAX.into()) as i32
}

fn cut_real(random: &mut Random) -> f32 {
    match random.once_in(16) {
        true => random.pick(&[f32::NEG_INFINITY, f32::INFINITY, 0.0, -0.0, f32::MAX]),
        false => random.real(),
    }
}

/// Cuts that all channels share, or some for each.
pub(super) fn quantize(sketch: &mut Sketch, x: ValueId) -> Op {
    let bits = sketch.random.pick(&[1, 2, 2, 3, 4, 8]);
    let n_cuts = (1usize << bits) - 1;
    let ty = sketch.ty(x);
    let (is_real, n_channels) = (ty.kind == Kind::Real, ty.shape[ty.shape.len() - 1]);
    let spread = sketch.spread(x);
    let random = &mut sketch.random;
    let n_lists = match random.once_in(2) {
        true => n_channels,
        false => 1,
    };
    let cuts = if is_real {
        let mut list = || {
            let mut cuts: Vec<f32> = (0..n_cuts).map(|_| cut_real(random)).collect();
            cuts.sort_by(|a, b| a.partial_cmp(b).expect("cuts are never NaN"));
            cuts
        };
        Cuts::Real((0..n_lists).flat_map(|_| list()).collect())
    } else {
        let mut list = || {
            let mut cuts: Vec<i32> = (0..n_cuts).map(|_| cut_int(random, spread)).collect();
            cuts.sort_unstable();
            cuts
        };
        Cuts::Int((0..n_lists).flat_map(|_| list()).collect())
    };
    Op::Quantize { bits, cuts }
}

/// Finite numbers for affines and slopes, some of them extreme.
pub(crate) fn factors(random: &mut Random, n: usize) -> Vec<f32> {
    let specials = [0.0, -0.0, 1e-30, 1e30, f32::MAX, f32::MIN_POSITIVE, 0.1];
    let mut number = || match random.once_in(10) {
        true => random.pick(&specials),
        false => random.real() * 0.3,
    };
    (0..n).map(|_| number()).collect()
}

/// `x` with other values that it can be joined with, itself included.
fn join(sketch: &mut Sketch, x: ValueId, name: &str) -> Option<Vec<ValueId>> {
    let ty = sketch.ty(x).clone();
    let rank = ty.shape.len();
    let others = sketch.values_where(|other| {
        let is_alike = match name {
            "concat" => other.kind == Kind::Bits,
            _ => {
                other.kind == ty.kind
                    && other.shape.len() == rank
                    && other.shape[..rank - 1] == ty.shape[..rank - 1]
            }
        };
        is_alike && other.n_elements() <= 2 * MAX_WIDTH
    });
    let mut joined = vec![x];
    if !others.is_empty() {
        let n_others = sketch.random.below(4);
        joined.extend((0..n_others).map(|_| sketch.random.pick(&others)));
    }
    let n: usize = joined.iter().map(|id| sketch.ty(*id).n_elements()).sum();
    (n <= MAX_JOINED).then_some(joined)
}

fn slice(random: &mut Random, shape: &[usize]) -> Op {
    let (mut start, mut size) = (Vec::new(), Vec::new());
    for &axis in shape {
        let n = match random.once_in(2) {
            true => axis,
            false => random.int(1, axis as i64) as usize,
        };
        start.push(random.below(axis - n + 1));
        size.push(n);
    }
    Op::Slice { start, size }
}

/// One to four sizes whose product is `n`.
fn factorization(random: &mut Random, n: usize) -> Vec<usize> {
    let mut shape = vec![n];
    for _ in 0..random.below(4) {
        let axis = random.below(shape.len());
        let whole = shape[axis];
        let divisors: Vec<usize> = (1..=whole).filter(|n| whole % n == 0).collect();
        let divisor = random.pick(&divisors);
        shape[axis] = whole / divisor;
        shape.insert(axis, divisor);
    }
    shape
}

fn permutation(random: &mut Random, rank: usize) -> Vec<usize> {
    let mut perm: Vec<usize> = (0..rank).collect();
    for axis in (1..rank).rev() {
        perm.swap(axis, random.below(axis + 1));
    }
    perm
}
