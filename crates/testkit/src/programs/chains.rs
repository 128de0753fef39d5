//! Random Programs that look like the binary networks people train, so that an engine's fusions fire.
//!
//! A stem over pixels, blocks of a binary convolution with what surrounds it, and a dense head, as in
//! QuickNet, ReActNet and FINN's CNV; the numbers are random.

use onebit_model::program::{
    Conv2d, Kind, Op, Program, ThresholdValues, Thresholds, Type, ValueId, Window,
};
use onebit_model::weights::Weights;

use super::ops;
use super::sketch::Sketch;
use crate::random::Random;

/// Which family a block belongs to.
#[derive(Clone, Copy)]
enum Family {
    /// Real values between blocks: sign, convolution, relu, norm, residual (QuickNet).
    Residual,
    /// As `Residual` with rprelu after the residual (ReActNet).
    Shifted,
    /// Bits or codes between blocks: convolution, norm, sign, pool (CNV).
    Plain,
}

/// A random chain of convolutions over an image of pixels; the same for the same seed.
pub fn random_conv_program(seed: u64) -> Program {
    let mut random = Random::new(seed ^ 0x0063_6f6e_7673);
    let side = |random: &mut Random| random.int(5, 10) as usize;
    let kind = match random.once_in(5) {
        true => Kind::Real,
        false => Kind::Levels(8),
    };
    let input = Type {
        kind,
        shape: vec![
            side(&mut random),
            side(&mut random),
            random.pick(&[1, 3, 3]),
        ],
    };
    let family = random.pick(&[Family::Residual, Family::Shifted, Family::Plain]);
    let mut sketch = Sketch::new(&format!("chain {seed}"), &input, random);
    sketch.note_seed(seed);
    let mut x = stem(&mut sketch);
    for _ in 0..sketch.random.int(1, 4) {
        if sketch.cost_of_one() == 0 {
            break;
        }
        x = match family {
            Family::Plain => plain_block(&mut sketch, x),
            Family::Residual | Family::Shifted => residual_block(&mut sketch, x, family),
        };
    }
    head(&mut sketch, x);
    sketch.finish()
}

fn shape(sketch: &Sketch, x: ValueId) -> [usize; 3] {
    let shape = sketch.ty(x).shape.clone();
    shape.try_into().expect("chains are of images")
}

/// Most multiplications of one convolution of 3 by 3.
const MAX_CONV_COST: usize = 1_200_000;

/// A number of channels, mostly one that leaves a tail in a word, such that a convolution from
/// `n_operand(channels)` channels at so many positions is cheap.
fn width(random: &mut Random, n_positions: usize, n_operand: impl Fn(usize) -> usize) -> usize {
    let is_cheap = |n: &usize| 9 * n_positions * n * n_operand(*n) <= MAX_CONV_COST;
    let widths = [8, 16, 31, 32, 33, 63, 64, 65, 96].into_iter();
    let cheap: Vec<usize> = widths.filter(is_cheap).collect();
    match cheap.is_empty() {
        true => 8,
        false => random.pick(&cheap),
    }
}

/// A convolution with integer or real weights over the pixels, with its norm.
fn stem(sketch: &mut Sketch) -> ValueId {
    let x = ValueId(0);
    let [height, image_width, n_channels] = shape(sketch, x);
    let stride = sketch.random.int(1, 2) as usize;
    let n_positions = height.div_ceil(stride) * image_width.div_ceil(stride);
    // The blocks after it keep the width.
    let n_rows = width(&mut sketch.random, n_positions, |n| n);
    let n_cols = 9 * n_channels;
    let random = &mut sketch.random;
    let weights = match random.below(4) {
        0 => ops::real_weights(random, n_rows, n_cols),
        1 => ops::random_binary_weights(random, n_rows, n_cols),
        _ => ops::int8_weights(random, n_rows, n_cols),
    };
    let window = Window {
        stride: [stride; 2],
        pads: [1; 4],
        ..Window::new([3, 3])
    };
    let sums = conv(sketch, x, weights, window, 1, 0);
    norm(sketch, sums)
}

fn conv(
    sketch: &mut Sketch,
    x: ValueId,
    weights: Weights,
    window: Window,
    groups: usize,
    pad: i32,
) -> ValueId {
    let is_real = sketch.ty(x).kind == Kind::Real;
    let bias = ops::bias(&mut sketch.random, &weights, is_real);
    let conv = Conv2d {
        weights,
        bias,
        window,
        groups,
        pad,
    };
    sketch.push("conv", Op::Conv2d(conv), &[x])
}

/// Batch normalisation: the gain brings the values near 1, now and then from below.
fn norm(sketch: &mut Sketch, x: ValueId) -> ValueId {
    let [_, _, n_channels] = shape(sketch, x);
    let (middle, spread) = sketch.spread(x);
    let random = &mut sketch.random;
    let sign_period = random.pick(&[1000, 3]);
    let mut gain = || {
        let gain = random.int(1, 400) as f32 / (100.0 * spread as f32);
        if random.once_in(sign_period) {
            -gain
        } else {
            gain
        }
    };
    let scale: Vec<f32> = (0..n_channels).map(|_| gain()).collect();
    let shift = scale
        .iter()
        .map(|gain| random.real() / 16.0 - gain * middle as f32)
        .collect();
    sketch.push("norm", Op::Affine { scale, shift }, &[x])
}

/// A binary or ternary convolution that keeps the size or halves it.
fn binary_conv(sketch: &mut Sketch, x: ValueId, n_rows: usize, stride: usize) -> ValueId {
    let [height, width, n_channels] = shape(sketch, x);
    let random = &mut sketch.random;
    let kernel = if random.once_in(5) { 1 } else { 3 };
    let pads = match kernel {
        3 => 1,
        _ => 0,
    };
    let window = Window {
        stride: [stride; 2],
        pads: [pads; 4],
        ..Window::new([kernel, kernel])
    };
    let is_grouped = n_channels.is_multiple_of(2) && n_rows.is_multiple_of(2) && random.once_in(6);
    let groups = if is_grouped { 2 } else { 1 };
    let n_cols = kernel * kernel * n_channels / groups;
    let weights = match random.once_in(5) {
        true => ops::random_binary_weights(random, n_rows, n_cols),
        false => bits(random, n_rows, n_cols),
    };
    let pad = random.pick(&[0, 0, 1, -1]);
    let pad = match sketch.ty(x).kind {
        Kind::Bits => pad,
        _ => pad.max(0),
    };
    sketch.spend(height * width * n_rows * n_cols);
    conv(sketch, x, weights, window, groups, pad)
}

fn bits(random: &mut Random, n_rows: usize, n_cols: usize) -> Weights {
    let mut weights = ops::random_binary_weights(random, n_rows, n_cols);
    while !matches!(weights, Weights::Bits(_)) {
        weights = ops::random_binary_weights(random, n_rows, n_cols);
    }
    weights
}

fn sign(sketch: &mut Sketch, x: ValueId) -> ValueId {
    let [_, _, n_channels] = shape(sketch, x);
    let random = &mut sketch.random;
    let at = match random.once_in(2) {
        true => vec![0.0; n_channels],
        false => (0..n_channels).map(|_| random.real() / 16.0).collect(),
    };
    let thresholds = Thresholds {
        at: ThresholdValues::Real(at),
        flip: vec![false; n_channels],
    };
    sketch.push("sign", Op::Threshold(thresholds), &[x])
}

/// A max pool of 2 by 2 or 3 by 3 if the image is large enough, else `x`.
fn max_pool(sketch: &mut Sketch, x: ValueId) -> ValueId {
    let window = match sketch.random.once_in(3) {
        true => Window {
            stride: [2; 2],
            pads: [1; 4],
            ..Window::new([3, 3])
        },
        false => Window {
            stride: [2; 2],
            ..Window::new([2, 2])
        },
    };
    let pooled = sketch.try_push("pool", Op::MaxPool(window), &[x]);
    pooled.unwrap_or(x)
}

/// Slopes, mostly small and positive as PReLU's are.
fn slopes(random: &mut Random, n: usize) -> Vec<f32> {
    let mut slope = || match random.once_in(10) {
        true => -0.125,
        false => random.int(0, 40) as f32 / 80.0,
    };
    (0..n).map(|_| slope()).collect()
}

fn reals(random: &mut Random, n: usize) -> Vec<f32> {
    (0..n).map(|_| random.real() / 16.0).collect()
}

/// `x + norm(conv(sign(x)))` with an activation, or the same without the residual where sizes change.
fn residual_block(sketch: &mut Sketch, x: ValueId, family: Family) -> ValueId {
    let [height, image_width, n_channels] = shape(sketch, x);
    let is_wider = sketch.random.once_in(4);
    let is_smaller = height > 4 && sketch.random.once_in(4);
    let n_rows = match is_wider {
        true => width(&mut sketch.random, height * image_width, |_| n_channels),
        false => n_channels,
    };
    // The pool before a block may come before or after the sign.
    let pool_at = if is_smaller {
        sketch.random.below(3)
    } else {
        3
    };
    let x = if pool_at == 0 { max_pool(sketch, x) } else { x };
    let mut operand = sign(sketch, x);
    if pool_at == 1 {
        operand = max_pool(sketch, operand);
    }
    let stride = if pool_at == 2 { 2 } else { 1 };
    let mut y = binary_conv(sketch, operand, n_rows, stride);
    if matches!(family, Family::Residual) && sketch.random.once_in(2) {
        y = sketch.push("relu", Op::Relu, &[y]);
    }
    y = norm(sketch, y);
    if sketch.ty(x) == sketch.ty(y) {
        y = sketch.push("residual", Op::Add, &[y, x]);
    }
    let random = &mut sketch.random;
    match family {
        Family::Shifted => {
            let op = Op::Rprelu {
                before: reals(random, n_rows),
                slope: slopes(random, n_rows),
                after: reals(random, n_rows),
            };
            sketch.push("act", op, &[y])
        }
        _ if random.once_in(3) => {
            let slope = slopes(random, n_rows);
            sketch.push("act", Op::Prelu { slope }, &[y])
        }
        _ if random.once_in(4) => {
            let (min, max) = (-1.0, 1.0);
            sketch.push("act", Op::Clip { min, max }, &[y])
        }
        _ => y,
    }
}

/// Sign or codes, a convolution and its norm, with a pool before or after the sign.
fn plain_block(sketch: &mut Sketch, x: ValueId) -> ValueId {
    let [height, image_width, n_channels] = shape(sketch, x);
    let pool_at = if height > 3 {
        sketch.random.below(3)
    } else {
        2
    };
    let x = if pool_at == 0 { max_pool(sketch, x) } else { x };
    let mut operand = match sketch.random.once_in(4) {
        true => {
            let op = ops::quantize(sketch, x);
            sketch.push("codes", op, &[x])
        }
        false => sign(sketch, x),
    };
    if pool_at == 1 {
        operand = max_pool(sketch, operand);
    }
    let n_rows = width(&mut sketch.random, height * image_width, |_| n_channels);
    let sums = binary_conv(sketch, operand, n_rows, 1);
    norm(sketch, sums)
}

/// Average or flattened values into scores.
fn head(sketch: &mut Sketch, x: ValueId) {
    let x = match sketch.random.below(3) {
        0 => sign(sketch, x),
        1 => sketch.push("mean", Op::GlobalAvgPool, &[x]),
        _ => x,
    };
    let n_cols = sketch.ty(x).n_elements();
    let is_real = sketch.ty(x).kind == Kind::Real;
    let random = &mut sketch.random;
    let weights = match is_real {
        true => ops::real_weights(random, 10, n_cols),
        false => ops::random_binary_weights(random, 10, n_cols),
    };
    let bias = ops::bias(random, &weights, is_real);
    let scores = sketch.push("fc", Op::Dense { weights, bias }, &[x]);
    let (scale, shift) = (
        slopes(&mut sketch.random, 10),
        reals(&mut sketch.random, 10),
    );
    let scores = sketch.push("scores", Op::Affine { scale, shift }, &[scores]);
    match sketch.random.below(3) {
        0 => {
            sketch.push("softmax", Op::Softmax, &[scores]);
        }
        1 => {
            sketch.push("best", Op::Argmax, &[scores]);
        }
        _ => {}
    }
}
