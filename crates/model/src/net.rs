//! The Net: a trained network as a plain description with float parameters.
//!
//! `train` writes it, `compile` lowers it. Its evaluation in binary32, exactly as training evaluates
//! it, is in `evaluate`. Weights are held as training's forward pass used them (after
//! binarisation); the real-valued copies that training keeps live in its checkpoints only.

use alloc::string::String;
use alloc::vec::Vec;

use crate::program::{Conv2d, Op, Type, ValueId, Window};
use crate::weights::Weights;

pub use crate::program::GroupNorm;

/// A trained network.
#[derive(Clone, Debug, PartialEq)]
pub struct Net {
    /// A short name for people.
    pub name: String,
    /// Type of what goes in: `levels(8)` pixels of rank 1 or 3, or `real` features of rank 1.
    pub input: Type,
    /// How the input becomes the first layer's operand.
    pub encoder: Encoder,
    /// The layers, each after those it reads; the last one gives the scores, int or real.
    pub layers: Vec<Layer>,
    /// Free-form notes, such as the data set and the class names, in key order.
    pub notes: Vec<(String, String)>,
}

/// How an input becomes the first layers' operand. `Sign`, `ZeroOne`, `Levels` and `ChannelThermometer` keep the
/// rows and columns of an image; the others flatten it.
#[derive(Clone, Debug, PartialEq)]
pub enum Encoder {
    /// `levels(8)[n]` to `bits[n]`: +1 where the pixel is at least `at`, else -1.
    Sign {
        /// The least pixel that counts as +1.
        at: u8,
    },
    /// `levels(8)[n]` to `levels(1)[n]`: 1 where the pixel is at least `at`, else 0.
    ZeroOne {
        /// The least pixel that counts as 1.
        at: u8,
    },
    /// `levels(8)[n]` to `bits[n * bits]`: the `bits` most significant bits of each pixel, each a
    /// bipolar input of its own, in the order of the Program op `planes`.
    FixedPoint {
        /// How many of the most significant bits are kept, 1 to 8.
        bits: u8,
    },
    /// `levels(8)[n]` to `bits[n * cuts]`: for each cut in order, all pixels compared `>= cut`.
    Thermometer {
        /// Ascending cuts.
        cuts: Vec<u8>,
    },
    /// `real[n]` to `bits[n * m]`: for each `j < m`, all features compared `x[i] >= cuts[j][i]`.
    RealThermometer {
        /// `[m][n]` cuts, ascending in `j` for every feature; never NaN.
        cuts: Vec<Vec<f32>>,
    },
    /// `levels(8)[h, w, c]` to `bits[h, w, c * cuts]`: at each position, for each cut in order, all channels
    /// compared `>= cut` (FracBNN's binary input layer, Zhang et al. 2021).
    ChannelThermometer {
        /// Ascending cuts.
        cuts: Vec<u8>,
    },
    /// `levels(8)` as it is.
    Levels,
}

impl Encoder {
    /// Number of elements the first layer sees, for an input of `n` elements.
    pub fn n_outputs(&self, n: usize) -> usize {
        match self {
            Encoder::Sign { .. } | Encoder::ZeroOne { .. } | Encoder::Levels => n,
            Encoder::FixedPoint { bits } => n * usize::from(*bits),
            Encoder::Thermometer { cuts } | Encoder::ChannelThermometer { cuts } => n * cuts.len(),
            Encoder::RealThermometer { cuts } => n * cuts.len(),
        }
    }
}

/// One step of a Net.
///
/// All arithmetic is binary32, one rounding per operation, and means what the Program op of the same
/// name means (FORMAT.md). A product of codes with integer weights is an integer below 2^24 and
/// therefore exact; every other sum is taken from +0.0 in index order.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Unique name: letters, digits, `_`, `.` and `-`; the Program's nodes have the same names.
    pub name: String,
    /// What is computed.
    pub op: LayerOp,
    /// The operands: 0 is the encoded input, `i + 1` is what layer `i` computes; each an earlier value.
    pub inputs: Vec<ValueId>,
}

/// What a layer computes. Kinds and shapes follow the Program ops of the same names.
#[derive(Clone, Debug, PartialEq)]
pub enum LayerOp {
    /// `weights . x + bias` over the flattened operand; `bias` only where the result is int.
    Dense {
        /// One row per output.
        weights: Weights,
        /// One integer per output (Kim & Smaragdis: -1, 0 or +1).
        bias: Option<Vec<i32>>,
    },
    /// The same product at every position of a window.
    Conv2d(Conv2d),
    /// Any kind to real: `scale[c] * x + shift[c]` (XNOR-Net's and learned scales, RSign's shifts).
    Affine {
        /// One factor per channel.
        scale: Vec<f32>,
        /// One addend per channel.
        shift: Vec<f32>,
    },
    /// Any kind to real: batch normalisation in evaluation mode.
    Norm(BatchNorm),
    /// Real `[.., c]` to real: group normalisation (Wu & He 2018) of each example.
    GroupNorm(GroupNorm),
    /// Any kind but bits, to bits: +1 where the value is >= 0 (so -0 and +0 both give +1), else -1.
    Sign,
    /// Any kind but bits, to `levels(1)`: 1 where the value is > 0, else 0.
    Heaviside,
    /// Real to `levels(bits)`: DoReFa's `round((2^bits - 1) * clip(x, 0, 1))`, computed as
    /// `t = if x > 0 {x} else {0}; t = if t < 1 {t} else {1}; trunc(t * (2^bits - 1) + 0.5)`.
    Quantize {
        /// Width of the codes, 1 to 8.
        bits: u8,
    },
    /// Int or real to the same.
    Relu,
    /// Real to real.
    Clip {
        /// Least result.
        min: f32,
        /// Greatest result.
        max: f32,
    },
    /// Real to real.
    Prelu {
        /// One slope per channel.
        slope: Vec<f32>,
    },
    /// Real to real.
    Rprelu {
        /// One addend per channel, before the slope.
        before: Vec<f32>,
        /// One slope per channel.
        slope: Vec<f32>,
        /// One addend per channel, after the slope.
        after: Vec<f32>,
    },
    /// Two values of one type.
    Add,
    /// Two real values of one type.
    Mul,
    /// Values of one kind that differ in channels only.
    ConcatChannels,
    /// Any kind.
    MaxPool(Window),
    /// Any kind to real.
    AvgPool {
        /// Where it looks.
        window: Window,
        /// Whether padded positions count in the divisor.
        count_pads: bool,
    },
    /// Any kind `[h, w, c]` to `real[c]`.
    GlobalAvgPool,
}

impl LayerOp {
    /// The Program op of the same name and meaning; `None` for norm, sign, heaviside and quantize, which a
    /// Program computes with other ops.
    pub fn program_op(&self) -> Option<Op> {
        Some(match self.clone() {
            LayerOp::Dense { weights, bias } => Op::Dense { weights, bias },
            LayerOp::Conv2d(conv) => Op::Conv2d(conv),
            LayerOp::Affine { scale, shift } => Op::Affine { scale, shift },
            LayerOp::GroupNorm(norm) => Op::GroupNorm(norm),
            LayerOp::Relu => Op::Relu,
            LayerOp::Clip { min, max } => Op::Clip { min, max },
            LayerOp::Prelu { slope } => Op::Prelu { slope },
            LayerOp::Rprelu {
                before,
                slope,
                after,
            } => Op::Rprelu {
                before,
                slope,
                after,
            },
            LayerOp::Add => Op::Add,
            LayerOp::Mul => Op::Mul,
            LayerOp::ConcatChannels => Op::ConcatChannels,
            LayerOp::MaxPool(window) => Op::MaxPool(window),
            LayerOp::AvgPool { window, count_pads } => Op::AvgPool { window, count_pads },
            LayerOp::GlobalAvgPool => Op::GlobalAvgPool,
            LayerOp::Norm(_) | LayerOp::Sign | LayerOp::Heaviside | LayerOp::Quantize { .. } => {
                return None;
            }
        })
    }

    /// The layer of the same name and meaning as a Program op, if there is one.
    pub fn of_program_op(op: Op) -> Option<LayerOp> {
        Some(match op {
            Op::Dense { weights, bias } => LayerOp::Dense { weights, bias },
            Op::Conv2d(conv) => LayerOp::Conv2d(conv),
            Op::Affine { scale, shift } => LayerOp::Affine { scale, shift },
            Op::GroupNorm(norm) => LayerOp::GroupNorm(norm),
            Op::Relu => LayerOp::Relu,
            Op::Clip { min, max } => LayerOp::Clip { min, max },
            Op::Prelu { slope } => LayerOp::Prelu { slope },
            Op::Rprelu {
                before,
                slope,
                after,
            } => LayerOp::Rprelu {
                before,
                slope,
                after,
            },
            Op::Add => LayerOp::Add,
            Op::Mul => LayerOp::Mul,
            Op::ConcatChannels => LayerOp::ConcatChannels,
            Op::MaxPool(window) => LayerOp::MaxPool(window),
            Op::AvgPool { window, count_pads } => LayerOp::AvgPool { window, count_pads },
            Op::GlobalAvgPool => LayerOp::GlobalAvgPool,
            Op::Threshold(_)
            | Op::Quantize { .. }
            | Op::Planes
            | Op::Concat
            | Op::Slice { .. }
            | Op::Reshape { .. }
            | Op::Transpose { .. }
            | Op::Softmax
            | Op::Argmax => return None,
        })
    }
}

/// Batch normalisation with fixed statistics, one entry of each per output.
///
/// `scale = gamma / sqrt(var + eps)`, `shift = beta - mean * scale`, `y = acc * scale + shift`:
/// each `/ sqrt + - *` is one binary32 operation, rounded once.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNorm {
    /// Gain.
    pub gamma: Vec<f32>,
    /// Offset.
    pub beta: Vec<f32>,
    /// Running mean.
    pub mean: Vec<f32>,
    /// Running variance, not negative.
    pub var: Vec<f32>,
    /// Added to the variance.
    pub eps: f32,
}

impl BatchNorm {
    /// The factor and addend of one channel, as evaluation computes them.
    ///
    /// `sqrt` is the host's correctly rounded square root, handed in because `core` has none.
    pub fn scale_shift(&self, channel: usize, sqrt: fn(f32) -> f32) -> (f32, f32) {
        let scale = self.gamma[channel] / sqrt(self.var[channel] + self.eps);
        let shift = self.beta[channel] - self.mean[channel] * scale;
        (scale, shift)
    }
}
